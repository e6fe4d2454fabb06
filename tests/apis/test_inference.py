"""A checkpoint alone is enough: the same model comes back, or a clear error."""

import pytest
import torch
from torch.testing import assert_close

from mmbeitv2.apis import extract_features, load_pretrained, load_tokenizer, tokenize
from mmbeitv2.models import VQKD, BEiTV2


@pytest.fixture
def vqkd_file(vqkd, make_runner, tmp_path):
    """Training checkpoint as the runner writes it: optimiser, message hub and all."""
    make_runner(vqkd, work_dir=tmp_path / 'vqkd').train()
    return tmp_path / 'vqkd/epoch_1.pth'


@pytest.fixture
def pretrained_file(beitv2, make_runner, tmp_path):
    make_runner(beitv2, work_dir=tmp_path / 'beitv2').train()
    return tmp_path / 'beitv2/epoch_1.pth'


def test_tokenizer_of_a_training_run(vqkd, vqkd_file, images):
    tokenizer = load_tokenizer(str(vqkd_file), num_heads=4)
    assert not tokenizer.training
    codes = tokenize(tokenizer, images)
    assert codes.shape == (2, 4, 4)
    assert torch.equal(codes, vqkd.eval()(images, mode='tensor'))


def test_pretrained_model_of_a_training_run(beitv2, pretrained_file, images, mask):
    model = load_pretrained(str(pretrained_file), num_heads=4)
    assert not model.training
    assert model.neck.layer == beitv2.neck.layer
    positions = mask.nonzero()[:, 1].view(2, -1)
    with torch.no_grad():
        found = model.predict_codes(images, mask, positions)
        expected = beitv2.eval().predict_codes(images, mask, positions)
    for name in ('mim', 'cls'):
        assert_close(found[name], expected[name], atol=1e-6, rtol=1e-6)
    assert torch.equal(
        model.target_generator.tokenize(images), beitv2.target_generator.tokenize(images)
    )


def test_features_are_the_normalised_tokens(beitv2, pretrained_file, images):
    model = load_pretrained(str(pretrained_file), num_heads=4)
    features = extract_features(model, images)
    assert features['cls_token'].shape == (2, 48)
    assert features['patch_tokens'].shape == (2, 16, 48)
    backbone = beitv2.backbone.eval()
    backbone.out_type = 'raw'
    (tokens,) = backbone(images)
    assert_close(features['cls_token'], tokens[:, 0], atol=1e-6, rtol=1e-6)
    assert_close(features['patch_tokens'], tokens[:, 1:], atol=1e-6, rtol=1e-6)
    assert extract_features(model, torch.rand(1, 3, 96, 80) - 0.5)['patch_tokens'].shape[1] == 30


@pytest.mark.parametrize('variant', ['separate head', 'no aggregation'])
def test_variants_of_pretraining(variant, beitv2_config, tmp_path, images, mask):
    if variant == 'separate head':
        beitv2_config['neck'].update(shared_norm=False, layer=2, depth=1)
        beitv2_config['head']['shared'] = False
    else:
        beitv2_config['neck'] = None
    model = BEiTV2(**beitv2_config)
    model.init_weights()
    torch.save(model.state_dict(), tmp_path / 'model.pth')
    loaded = load_pretrained(str(tmp_path / 'model.pth'), num_heads=4)
    positions = mask.nonzero()[:, 1].view(2, -1)
    expected = model.eval().predict_codes(images, mask, positions)
    found = loaded.predict_codes(images, mask, positions)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(found[name], value, atol=1e-6, rtol=1e-6)


def test_heads_of_64_need_no_argument(vqkd_config, tmp_path, images):
    vqkd_config['encoder'].update(embed_dim=128, num_heads=2)
    model = VQKD(**vqkd_config)
    model.init_weights()
    model.quantize.init_codebook(torch.nn.functional.normalize(torch.randn(200, 8)))
    torch.save(model.state_dict(), tmp_path / 'vqkd.pth')
    tokenizer = load_tokenizer(str(tmp_path / 'vqkd.pth'))
    assert torch.equal(tokenize(tokenizer, images), model.eval()(images, mode='tensor'))


def test_tokenizer_of_a_pretraining_run(beitv2, pretrained_file, images):
    tokenizer = load_tokenizer(str(pretrained_file), num_heads=4)
    assert torch.equal(tokenize(tokenizer, images), beitv2.target_generator.tokenize(images))


def test_tokenizer_file_is_no_pretrained_model(vqkd_file):
    with pytest.raises(
        ValueError, match=r'\(mmbeitv2 tokenizer\) is no pretraining checkpoint of BEiTV2'
    ):
        load_pretrained(str(vqkd_file))


@pytest.mark.parametrize('load', [load_tokenizer, load_pretrained])
def test_missing_file_is_named(load, tmp_path):
    with pytest.raises(FileNotFoundError, match='no checkpoint at'):
        load(str(tmp_path / 'none.pth'))


def test_wrong_number_of_heads_is_refused(vqkd_file):
    with pytest.raises(ValueError, match='trained with 4 heads, but num_heads is 7'):
        load_tokenizer(str(vqkd_file), num_heads=7)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda x: x * 127.5 + 127.5, r'allowed: RGB in \[−1, 1\]'),
        (lambda x: x - 0.5, r'images reach from -1\.\d+ to 0\.\d+, allowed'),
        (lambda x: x * float('nan'), r'images reach from nan'),
        (lambda x: x[0], r'shape \(3, 64, 64\), expected \(B, 3, H, W\)'),
        (lambda x: x[:, :1], r'shape \(2, 1, 64, 64\), expected'),
    ],
)
def test_images_of_another_range_or_shape_are_refused(spoil, message, tokenizer, images):
    with pytest.raises(ValueError, match=message):
        tokenize(tokenizer, spoil(images))


NORMALISED = torch.rand(1, 3, 64, 64) - 0.5


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), 'of type torch.uint8, expected a float'),
        ([[0.0]], 'of type list, expected a float tensor'),
        (NORMALISED[0], r'shape \(3, 64, 64\), expected \(B, 3, H, W\)'),
        (NORMALISED[:0], r'shape \(0, 3, 64, 64\)'),
        (NORMALISED * 255, 'reach from -127 to 127, allowed: RGB in'),
        (NORMALISED / 0, 'reach from -inf to inf'),
        (NORMALISED.log(), 'reach from nan to nan'),
    ],
    ids=['integers', 'list', 'no batch', 'empty', '255', 'infinite', 'no numbers'],
)
@pytest.mark.parametrize('use', [tokenize, extract_features])
def test_images_that_no_model_takes_are_refused(use, images, message, beitv2):
    with pytest.raises(ValueError, match=message):
        use(beitv2.target_generator if use is tokenize else beitv2, images)


@pytest.mark.parametrize('use', [tokenize, extract_features])
def test_images_in_0_to_1_get_a_warning(use, beitv2, images):
    model = beitv2.eval() if use is extract_features else beitv2.target_generator
    with pytest.warns(UserWarning, match=r'images \* 2 − 1|not normalised'):
        use(model, torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize('precision', [torch.float64, torch.float16], ids=str)
def test_images_of_another_precision_are_converted(precision, beitv2):
    images = NORMALISED.to(precision)
    features = extract_features(beitv2.eval(), images)
    assert_close(features, extract_features(beitv2, images.float()))
    codes = tokenize(beitv2.target_generator, images)
    assert torch.equal(codes, tokenize(beitv2.target_generator, images.float()))
