"""Weights that a run on one's own photos starts from: what they settle, and that they arrive."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope

from mmbeitv2.datasets.survey import Photo, Survey
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.plan import Machine, Wishes
from mmbeitv2.launch.plan_configs import Data, own_tokenizer, pretraining_config
from mmbeitv2.launch.plan_rules import make_plan
from mmbeitv2.registry import MODELS

ROOT = Path(__file__).parents[2]
CPU = Machine('cpu', 1, 2, 'float32', 'a processor')
PHOTOS = Survey(Path('photos'), [Photo(f'{i}.jpg', 300, 'RGB', i) for i in range(300)])


@pytest.fixture
def sources(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    from own_start import sources

    return sources


@pytest.fixture
def saved(tmp_path, beitv2, tokenizer):
    """Files of a tokenizer, of a pretraining model without one, and of one with another."""
    tokenizer.quantize.init_codebook(torch.nn.functional.normalize(torch.randn(64, 8), dim=-1))
    with torch.no_grad():
        for parameter in beitv2.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    whole = beitv2.state_dict()
    bare = {k: v for k, v in whole.items() if not k.startswith('target_generator.')}
    files = dict(tokenizer=tokenizer.state_dict(), bare=bare, whole=whole)
    for name, state in files.items():
        torch.save(dict(state_dict=state), tmp_path / f'{name}.pth')
    return {name: str(tmp_path / f'{name}.pth') for name in files}


def config_of(given, tmp_path, **wishes):
    """The plan, and the config that a run would train."""
    plan = make_plan(PHOTOS, 270, 30, CPU, Wishes(**wishes), given.given)
    target = given.tokenizer or own_tokenizer(plan, str(tmp_path / 'tokenizer'))
    data = Data(tmp_path, tmp_path / 'train.txt', tmp_path / 'held_out.txt')
    path = tmp_path / 'pretraining.py'
    path.write_text(pretraining_config(plan, data, target, 0, given.start))
    return plan, load_config(str(path))


def built(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model


def test_a_given_tokenizer_settles_codes_and_image_size_and_is_the_one_that_is_used(
    sources, saved, tmp_path
):
    given = sources(saved['tokenizer'], None, tmp_path)
    plan, cfg = config_of(given, tmp_path)
    assert plan.tokenizer is None
    assert (plan.num_codes, plan.image_size, plan.size) == (64, 64, 'tiny')
    state = torch.load(saved['tokenizer'])['state_dict']
    found = built(cfg).target_generator.state_dict()
    assert torch.equal(found['quantize.embedding.weight'], state['quantize.embedding.weight'])


def test_a_backbone_goes_on_whole_with_its_tokenizer(sources, saved, tmp_path):
    given = sources(saved['tokenizer'], saved['bare'], tmp_path)
    plan, cfg = config_of(given, tmp_path)
    assert plan.size == 'given'
    assert (plan.shape.embed_dim, plan.shape.depth, plan.shape.layer) == (48, 5, 3)
    model = built(cfg)
    # As a runner loads it.
    model.load_state_dict(torch.load(cfg.load_from)['state_dict'], strict=True)
    before = torch.load(saved['bare'])['state_dict']
    after = model.state_dict()
    assert all(
        torch.equal(after[name], value) for name, value in before.items() if 'extra' not in name
    )


@pytest.mark.parametrize('codes', [None, 'tokenizer'])
def test_a_backbone_sees_photos_as_it_was_trained_to(sources, saved, tmp_path, codes):
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.2, 0.3]
    content = torch.load(saved['bare'])
    meta = dict(cfg=f'data_preprocessor = dict(mean={mean}, std={std})')
    torch.save({**content, 'meta': meta}, saved['bare'])
    _, cfg = config_of(sources(saved.get(codes), saved['bare'], tmp_path), tmp_path)
    preprocessor = MODELS.build({'_scope_': 'mmbeitv2', **cfg.data_preprocessor})
    assert preprocessor.mean.flatten().tolist() == pytest.approx(mean)
    assert preprocessor.std.flatten().tolist() == pytest.approx(std)


def test_with_a_new_tokenizer_the_backbone_goes_on_alone(sources, saved, tmp_path):
    given = sources(None, saved['bare'], tmp_path)
    plan, cfg = config_of(given, tmp_path, num_codes=32)
    assert plan.tokenizer is not None
    assert cfg.get('load_from') is None
    assert 'the codes are' in given.words
    cfg.model.target_generator.pop('init_cfg')
    model = built(cfg)
    before = torch.load(saved['bare'])['state_dict']
    name = 'backbone.blocks.4.mlp.fc1.weight'
    assert torch.equal(model.state_dict()[name], before[name])
    assert model.head.num_codes == 32


def test_a_file_that_holds_its_tokenizer_brings_it(sources, saved, tmp_path):
    given = sources(None, saved['whole'], tmp_path)
    plan, _ = config_of(given, tmp_path)
    assert plan.tokenizer is None
    assert given.start.whole is not None


def test_the_head_does_not_go_on_with_codes_of_another_tokenizer(sources, saved, tmp_path):
    given = sources(saved['tokenizer'], saved['whole'], tmp_path)
    assert given.start.whole is None


@pytest.mark.parametrize(
    ('wishes', 'message'),
    [
        (dict(num_codes=128), '--codes is 128, but the tokenizer that is given has 64'),
        (
            dict(image_size=96),
            '--image-size is 96, but the weights of --tokenizer take images',
        ),
        (dict(size='small'), "--size is 'small', but --from settles"),
    ],
)
def test_a_wish_against_the_weights_is_refused(sources, saved, tmp_path, wishes, message):
    given = sources(saved['tokenizer'], saved['bare'], tmp_path)
    with pytest.raises(ValueError, match=message):
        config_of(given, tmp_path, **wishes)


def test_a_tokenizer_is_no_backbone_to_go_on_from(sources, saved, tmp_path):
    with pytest.raises(ValueError, match='Give it to --tokenizer'):
        sources(None, saved['tokenizer'], tmp_path)
