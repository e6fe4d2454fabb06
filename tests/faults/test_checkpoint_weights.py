"""Weights that are no numbers or another model's are neither loaded nor saved."""

import pytest
import timm
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.runner import CheckpointLoader
from torch import nn

from mmbeitv2.apis import load_pretrained, load_tokenizer
from mmbeitv2.checkpoints.soundness import is_finite
from mmbeitv2.errors import InputError, NonFiniteError
from mmbeitv2.launch import runner as launching
from mmbeitv2.models import VQKD, BEiTV2, VQKDTokenizer
from mmbeitv2.models.teachers import TimmTeacher


def first(count, number):
    """Put a number into the first elements of a tensor."""

    def spoil(value):
        value.view(-1)[:count] = number
        return value

    return spoil


SPOILS = {
    'NaN': (lambda value: value.fill_(float('nan')), 'NaN and 0 infinite among'),
    'one NaN': (first(1, float('nan')), '1 NaN and 0 infinite'),
    'infinity': (first(2, -float('inf')), '0 NaN and 2 infinite'),
    'integers': (lambda value: value.int(), 'is of int32, allowed: weights of real'),
    'bytes': (lambda value: value.byte(), 'is of uint8, allowed'),
    'truth values': (lambda value: value > 0, 'is of bool, allowed'),
    'complex numbers': (lambda value: value.to(torch.complex64), 'is of complex64, allowed'),
    'too large for float32': (
        lambda value: value.double().fill_(1e300),
        r'0 NaN and \d+ infinite among',
    ),
}
NAME = 'encoder.blocks.1.mlp.fc1.weight'


@pytest.fixture
def spoiled(vqkd, tmp_path):
    """File of a tokenizer one of whose tensors is spoiled."""

    def save(spoil, name=NAME):
        state = {n: value.clone() for n, value in vqkd.state_dict().items()}
        state[name] = spoil(state[name])
        # As a run saves it, so that it can be resumed as well.
        run = dict(meta=dict(epoch=0, iter=0), optimizer={})
        torch.save(dict(state_dict=state, **run), tmp_path / 'spoiled.pth')
        return str(tmp_path / 'spoiled.pth')

    return save


@pytest.fixture
def tool(make_runner, monkeypatch):
    """Build a runner as the tools do, of a small model instead of a config's."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    model = []
    monkeypatch.setattr(launching.Runner, 'from_cfg', lambda cfg: make_runner(*model, **cfg))

    def build(*models, **cfg):
        model[:] = models
        return launching.build_runner(ConfigDict(**cfg))

    return build


@pytest.mark.parametrize('name', SPOILS)
def test_tokenizer_of_no_numbers_is_refused(name, spoiled, tokenizer_config):
    spoil, message = SPOILS[name]
    path = spoiled(spoil)
    with pytest.raises(InputError, match=rf'spoiled\.pth .*{NAME} .*{message}') as error:
        load_tokenizer(path)
    assert '\n' not in str(error.value)
    tokenizer = VQKDTokenizer(**tokenizer_config, init_cfg=dict(type='Pretrained', checkpoint=path))
    before = tokenizer.encoder.cls_token.clone()
    with pytest.raises(InputError, match=message):
        tokenizer.init_weights()
    assert torch.equal(tokenizer.encoder.cls_token, before)


def test_codebook_of_no_numbers_is_refused(spoiled):
    path = spoiled(SPOILS['one NaN'][0], 'quantize.embedding.weight')
    with pytest.raises(InputError, match=r'quantize\.embedding\.weight has 1 NaN'):
        load_tokenizer(path)


def test_backbone_and_pretraining_model_of_no_numbers_are_refused(beitv2, tmp_path):
    state = beitv2.state_dict()
    state['backbone.rel_pos_bias.relative_position_bias_table'][0, 0] = float('inf')
    torch.save(dict(state_dict=state), tmp_path / 'file.pth')
    with pytest.raises(InputError, match='relative_position_bias_table has 0 NaN and 1 infinite'):
        load_pretrained(str(tmp_path / 'file.pth'))
    with pytest.raises(InputError, match='relative_position_bias_table has 0 NaN and 1 infinite'):
        beitv2.backbone.load_checkpoint(str(tmp_path / 'file.pth'))


def test_half_precision_weights_are_numbers(vqkd, tmp_path):
    state = {n: v.half() if v.is_floating_point() else v for n, v in vqkd.state_dict().items()}
    torch.save(state, tmp_path / 'half.pth')
    load_tokenizer(str(tmp_path / 'half.pth'))


def test_small_floats_are_looked_at():
    assert is_finite(torch.ones(3).to(torch.float8_e5m2))
    assert not is_finite(torch.full((3,), float('inf')).to(torch.float8_e5m2))
    assert is_finite(torch.ones(0))


def test_teacher_of_no_numbers_is_refused(tmp_path):
    state = timm.create_model('test_efficientnet').state_dict()
    state['conv_stem.weight'][0] = float('nan')
    torch.save(state, tmp_path / 'teacher.pth')
    with pytest.raises(InputError, match=r'teacher\.pth: conv_stem\.weight has \d+ NaN'):
        TimmTeacher('test_efficientnet', str(tmp_path / 'teacher.pth'))


@pytest.mark.parametrize('resume', [False, True])
@pytest.mark.parametrize('name', SPOILS)
def test_run_from_weights_of_no_numbers_is_refused(name, resume, spoiled, tool, vqkd):
    spoil, message = SPOILS[name]
    runner = tool(vqkd, load_from=spoiled(spoil), resume=resume)
    with pytest.raises(InputError, match=rf'spoiled\.pth.*{NAME} .*{message}'):
        runner.train()
    assert runner.iter == 0


class Spoil(Hook):
    """Make one weight infinite after an iteration whose loss was finite."""

    priority = 'HIGHEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            runner.model.decoder.blocks[1].attn.proj.weight.data[0, 0] = float('inf')


def test_weights_that_are_not_finite_are_not_saved(tool, vqkd, tmp_path):
    checkpoint = dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=2)
    runner = tool(vqkd, default_hooks=dict(checkpoint=checkpoint), hooks=[Spoil()])
    message = (
        r'iteration 3: decoder\.blocks\.1\.attn\.proj\.weight has 0 NaN and 1 infinite .*'
        r'--resume \S*iter_2\.pth'
    )
    with pytest.raises(NonFiniteError, match=message) as error:
        runner.train()
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'work/iter_3.pth').exists()
    load_tokenizer(str(tmp_path / 'work/iter_2.pth'))


class SpoilLoss(Hook):
    """Let an iteration end with a loss that is none."""

    priority = 'HIGHEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            outputs['loss'].fill_(float('nan'))


def test_loss_found_on_saving_names_the_checkpoint_before(tool, vqkd, tmp_path):
    hooks = dict(
        checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=1),
        finite_loss=dict(type='mmbeitv2.FiniteLossHook', interval=1),
    )
    runner = tool(vqkd, default_hooks=hooks, hooks=[SpoilLoss()])
    with pytest.raises(NonFiniteError, match=r'iteration 3.*--resume \S*iter_2\.pth'):
        runner.train()


def wider(config):
    config = ConfigDict(config)
    config.encoder.embed_dim = 24
    return config.to_dict()


OTHERS = {
    'wider': (wider, r'encoder\.cls_token has shape \(1, 1, 48\) .* but \(1, 1, 24\)'),
    'deeper': (
        lambda config: config | dict(encoder=config['encoder'] | dict(depth=4)),
        r'no tensor encoder\.blocks\.3\.',
    ),
    'shallower': (
        lambda config: config | dict(encoder=config['encoder'] | dict(depth=2)),
        r'no place for its encoder\.blocks\.2\.',
    ),
    'of other heads': (
        lambda config: config | dict(encoder=config['encoder'] | dict(num_heads=2)),
        'trained with 4 heads, but num_heads is 2',
    ),
    'of another grid': (
        lambda config: config | dict(encoder=config['encoder'] | dict(img_size=(32, 128))),
        r'for 4 × 4 patches, this model for 2 × 8',
    ),
}


@pytest.mark.parametrize('name', OTHERS)
@pytest.mark.parametrize('resume', [False, True])
def test_weights_of_another_architecture_are_refused(
    name, resume, vqkd, vqkd_config, tool, tmp_path
):
    tool(vqkd).train()
    change, message = OTHERS[name]
    path = str(tmp_path / 'work/epoch_1.pth')
    runner = tool(VQKD(**change(vqkd_config)), load_from=path, resume=resume, epochs=2)
    with pytest.raises(InputError, match=rf'epoch_1\.pth.*{message}') as error:
        runner.train()
    assert '\n' not in str(error.value)
    assert runner.iter == 0
    with pytest.raises(InputError, match=message):
        launching.load_weights(tool(VQKD(**change(vqkd_config))), path)


def test_weights_of_another_kind_of_model_are_refused(vqkd, beitv2, tool, tmp_path):
    torch.save(dict(state_dict=vqkd.state_dict()), tmp_path / 'vqkd.pth')
    runner = tool(beitv2, load_from=str(tmp_path / 'vqkd.pth'))
    with pytest.raises(InputError, match=r'vqkd\.pth is of another architecture.*use .*init_cfg'):
        runner.train()


@pytest.mark.parametrize('wrapper', ['', 'module.', '_orig_mod.'])
@pytest.mark.parametrize('key', ['state_dict', 'model', 'model_ema'])
def test_own_weights_are_evaluated_under_whatever_key_and_wrapper(
    wrapper, key, vqkd, vqkd_config, tool, tmp_path
):
    state = {f'{wrapper}{name}': value for name, value in vqkd.state_dict().items()}
    torch.save({key: state}, tmp_path / 'file.pth')
    other = VQKD(**vqkd_config)
    # The average of a run is of no use to its evaluation, and has not begun.
    hook = dict(type='mmbeitv2.EMAHook', momentum=0.1)
    launching.load_weights(tool(other, hooks=[hook]), str(tmp_path / 'file.pth'))
    given = vqkd.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in other.state_dict().items())


def test_own_weights_load_and_resume(vqkd, tool, tmp_path):
    tool(vqkd).train()
    trained = {name: value.clone() for name, value in vqkd.state_dict().items()}
    path = str(tmp_path / 'work/epoch_1.pth')
    for resume in (False, True):
        vqkd.encoder.init_weights()
        runner = tool(vqkd, load_from=path, resume=resume, epochs=1)
        runner.load_or_resume()
        assert all(torch.equal(value, trained[n]) for n, value in vqkd.state_dict().items())


@pytest.fixture
def constant(beitv2_config):
    """Pretraining model whose tokenizer always chooses one code."""
    model = BEiTV2(**beitv2_config)
    model.init_weights()
    tokenizer = model.target_generator
    tokenizer.quantize.init_codebook(nn.functional.normalize(torch.randn(64, 8), dim=-1))
    with torch.no_grad():
        tokenizer.encode_task_layer[-1].weight.zero_()
        tokenizer.encode_task_layer[-1].bias.fill_(1)
    return model


def test_pretraining_on_one_code_ends_in_the_first_steps(constant, tool):
    runner = tool(constant, num_images=80, default_hooks={})
    with pytest.raises(InputError, match=r'gives code \d+ to every patch of the first 10 batches'):
        runner.train()
    assert runner.iter < 10


def test_pretraining_on_one_code_for_blank_images_goes_on(constant, tool):
    runner = tool(constant, num_images=4)
    runner.train_dataloader.dataset.pixels.fill_(7)
    runner.train()
    assert runner.iter == 2


def test_pretraining_on_several_codes_goes_on(beitv2, tool):
    codebook = nn.functional.normalize(torch.randn(64, 8), dim=-1)
    beitv2.target_generator.quantize.init_codebook(codebook)
    runner = tool(beitv2, num_images=24)
    runner.train()
    assert runner.iter == 12
