"""A checkpoint is read back with the grid and the heads that it was trained with."""

import pytest
import torch
from safetensors.torch import save_file

from mmbeitv2.apis import load_pretrained, load_tokenizer
from mmbeitv2.checkpoints.translation import open_checkpoint
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.building import build_backbone
from mmbeitv2.exchange.conversion import convert
from mmbeitv2.models import BEiTV2, BEiTViT, VQKDTokenizer

ARCH = dict(embed_dim=32, depth=1, num_heads=2)
POSITIONS = {
    'absolute': dict(),
    'shared bias': dict(use_abs_pos_emb=False, use_shared_rel_pos_bias=True),
    'bias of every layer': dict(use_abs_pos_emb=False, use_rel_pos_bias=True),
    'both': dict(use_rel_pos_bias=True),
}


def randomize(model):
    generator = torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator) / 8)
    return model


def tokenizer_of(img_size, num_heads=2, **positions):
    encoder = dict(ARCH, num_heads=num_heads, img_size=img_size, **positions)
    tokenizer = VQKDTokenizer(encoder, dict(num_codes=16, code_dim=4, kmeans_init=False))
    return randomize(tokenizer)


def without_notes(state):
    """As this project wrote files before it noted grids, and others do."""
    return {name: value for name, value in state.items() if not name.endswith('_extra_state')}


@pytest.fixture
def save(tmp_path):
    def save(state, suffix='.pth'):
        path = tmp_path / f'file{suffix}'
        if suffix == '.pth':
            torch.save(dict(state_dict=state), path)
        else:
            save_file({name: value.clone() for name, value in state.items()}, path)
        return str(path)

    return save


@pytest.mark.parametrize('positions', POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_oblong_tokenizer_is_read_back_as_it_was(positions, suffix, save):
    tokenizer = tokenizer_of((144, 256), **positions)
    images = torch.rand(2, 3, 144, 256) * 2 - 1
    found = load_tokenizer(save(tokenizer.state_dict(), suffix))
    assert found.encoder.img_size == (144, 256)
    assert found.encoder.num_heads == 2
    assert torch.equal(found.tokenize(images), tokenizer.tokenize(images))


def test_oblong_pretraining_model_is_read_back_as_it_was(beitv2_config, save):
    beitv2_config['backbone'].update(img_size=(48, 96))
    beitv2_config['target_generator']['encoder'].update(img_size=(48, 96))
    model = randomize(BEiTV2(**beitv2_config))
    path = save(model.state_dict())
    found = load_pretrained(path)
    assert found.backbone.img_size == (48, 96)
    assert found.target_generator.encoder.img_size == (48, 96)
    assert found.target_generator.encoder.num_heads == 4
    images = torch.rand(1, 3, 48, 96) * 2 - 1
    expected = model.target_generator.tokenize(images)
    assert torch.equal(found.target_generator.tokenize(images), expected)
    assert build_backbone(open_checkpoint(path)).grid == (3, 6)


@pytest.mark.parametrize('positions', POSITIONS.values(), ids=POSITIONS)
def test_positions_of_another_grid_with_as_many_patches_are_resized(positions, save):
    square = randomize(BEiTViT(ARCH, img_size=224, **positions))
    oblong = BEiTViT(ARCH, img_size=(112, 448), **positions)
    oblong.load_checkpoint(save(square.state_dict()))
    back = oblong.resize_positions(square.state_dict())
    for name, value in oblong.state_dict().items():
        assert torch.equal(value, back[name])
    images = torch.rand(1, 3, 112, 448)
    # What the square model makes of such an image by resizing at run time.
    torch.testing.assert_close(oblong(images), square(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('positions', POSITIONS.values(), ids=POSITIONS)
def test_positions_of_another_grid_are_not_loaded_as_they_are(positions):
    state = BEiTViT(ARCH, img_size=(112, 448), **positions).state_dict()
    with pytest.raises(InputError, match=r'7 × 28 patches|in the file but'):
        BEiTViT(ARCH, img_size=224, **positions).load_state_dict(state)


def test_other_number_of_heads_is_refused(save):
    path = save(tokenizer_of(64).state_dict())
    with pytest.raises(InputError, match='trained with 2 heads, but num_heads is 4'):
        load_tokenizer(path, num_heads=4)
    with pytest.raises(InputError, match=r'file\.pth .*trained with 2 heads, but num_heads is 4'):
        tokenizer_of(64, num_heads=4).load_checkpoint(path)
    with pytest.raises(InputError, match='trained with 2 heads'):
        tokenizer_of(64, num_heads=4).load_state_dict(tokenizer_of(64).state_dict())


def test_older_files_load_as_square_ones(save):
    tokenizer = tokenizer_of(64)
    path = save(without_notes(tokenizer.state_dict()))
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    found = load_tokenizer(path, num_heads=2)
    assert torch.equal(found.tokenize(images), tokenizer.tokenize(images))
    tokenizer.load_state_dict(without_notes(tokenizer.state_dict()), strict=True)


@pytest.mark.parametrize('positions', POSITIONS.values(), ids=POSITIONS)
def test_older_oblong_file_asks_for_its_size_and_takes_it(positions, save, tmp_path):
    tokenizer = tokenizer_of((96, 128), **positions)
    path = save(without_notes(tokenizer.state_dict()))
    with pytest.raises(InputError, match=r'no square.*img_size=\(height, width\)') as error:
        load_tokenizer(path, num_heads=2)
    assert '\n' not in str(error.value)
    images = torch.rand(2, 3, 96, 128) * 2 - 1
    found = load_tokenizer(path, num_heads=2, img_size=(96, 128))
    assert torch.equal(found.tokenize(images), tokenizer.tokenize(images))
    target = tokenizer_of((96, 128), **positions)
    target.init_cfg = dict(type='Pretrained', checkpoint=path, img_size=(96, 128))
    target.init_weights()
    assert torch.equal(target.tokenize(images), tokenizer.tokenize(images))
    for wrong in ((64, 64), (100, 128), (0, 0)):
        with pytest.raises(InputError, match=r'img_size is|patches'):
            load_tokenizer(path, num_heads=2, img_size=wrong)


def test_size_other_than_the_noted_one_is_refused(save):
    path = save(tokenizer_of((96, 128)).state_dict())
    assert load_tokenizer(path, img_size=(96, 128)).encoder.img_size == (96, 128)
    with pytest.raises(InputError, match='trained with 96 × 128 pixels: leave img_size out'):
        load_tokenizer(path, img_size=112)


@pytest.mark.parametrize('note', [[8, 8], [0, 3, 2], [6, 8, -1], [5, 8, 2]])
def test_impossible_note_is_refused(note, save):
    state = tokenizer_of((96, 128)).state_dict()
    state['encoder._extra_state'] = torch.tensor(note)
    with pytest.raises(InputError, match=r'allowed: three integers|patches, for which'):
        load_tokenizer(save(state))


def test_conversion_keeps_the_grid_or_is_refused(save, tmp_path):
    path = save(tokenizer_of((96, 128)).state_dict())
    assert convert(path, tmp_path / 'ours.safetensors', 'safetensors').equal
    assert load_tokenizer(str(tmp_path / 'ours.safetensors')).encoder.grid == (6, 8)
    with pytest.raises(InputError, match=r'6 × 8 patches.*write it for mmbeitv2 or safetensors'):
        convert(path, tmp_path / 'theirs.pth', 'official')
    old = save(without_notes(tokenizer_of((96, 128)).state_dict()))
    found = convert(old, tmp_path / 'noted.pth', 'mmbeitv2', num_heads=2, img_size=(96, 128))
    assert found.equal
    assert load_tokenizer(str(tmp_path / 'noted.pth'), num_heads=2).encoder.grid == (6, 8)
