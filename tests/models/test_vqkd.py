"""VQ-KD: trains what it should, and its checkpoint is the tokenizer's."""

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch.testing import assert_close

from mmbeitv2.models import VQKD, VQKDTokenizer
from mmbeitv2.models.quantizer import perplexity


@pytest.fixture
def with_real_teacher(vqkd_config, timm_teacher_config):
    model = VQKD(**{**vqkd_config, 'teacher': timm_teacher_config})
    model.init_weights()
    return model


def training_images(count=8):
    return torch.rand(count, 3, 64, 64) * 2 - 1


def test_loss_has_its_parts_and_statistics(vqkd, images):
    results = vqkd.train()(images, mode='loss')
    assert set(results) == {'loss_rec', 'loss_commit', 'batch_usage', 'batch_perplexity'}
    assert 0 <= results['loss_rec'] <= 2
    assert 0 < results['batch_usage'] <= 1
    assert 1 <= results['batch_perplexity'] <= 64


def test_statistics_are_those_of_the_codes(vqkd, images):
    codes = vqkd.eval()(images, mode='tensor')
    results = vqkd(images, mode='loss')
    counts = codes.flatten().bincount(minlength=64)
    assert results['batch_usage'] == len(codes.unique()) / 64
    assert_close(results['batch_perplexity'], perplexity(counts.float()))


def test_reconstruction_loss_is_one_minus_cosine(vqkd):
    target = torch.randn(2, 16, 24)
    assert_close(vqkd.reconstruction_loss(5 * target, target), torch.zeros(2, 16))
    assert_close(vqkd.reconstruction_loss(-target, target), torch.full((2, 16), 2.0))


def test_a_step_of_training_reaches_every_parameter(with_real_teacher):
    losses = with_real_teacher.train()(training_images(), mode='loss')
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    idle = [n for n, p in with_real_teacher.named_parameters() if p.grad is None]
    assert idle == []


def test_training_reduces_the_loss(with_real_teacher):
    model, images = with_real_teacher.train(), training_images()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    history = []
    for _ in range(12):
        losses = model(images, mode='loss')
        loss = losses['loss_rec'] + losses['loss_commit']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(losses['loss_rec'].item())
    assert history[-1] < 0.9 * history[0]


def test_teacher_is_not_part_of_the_model(with_real_teacher):
    assert not [name for name in with_real_teacher.state_dict() if 'teacher' in name]
    assert not [name for name, _ in with_real_teacher.named_parameters() if 'teacher' in name]
    with_real_teacher.train()
    assert not with_real_teacher.teacher.model.training


def test_checkpoint_is_the_tokenizers(vqkd, tokenizer_config, images, tmp_path):
    vqkd.train()(images, mode='loss')
    torch.save(dict(state_dict=vqkd.state_dict()), tmp_path / 'vqkd.pth')
    tokenizer_config['quantizer']['kmeans_init'] = True
    tokenizer = VQKDTokenizer(
        **tokenizer_config,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vqkd.pth')),
    )
    tokenizer.init_weights()
    assert torch.equal(tokenizer.tokenize(images), vqkd.eval()(images, mode='tensor'))
    assert set(tokenizer.state_dict()) < set(vqkd.state_dict())


def test_tokens_at_positions_equal_those_of_all(tokenizer, images):
    positions = torch.stack([torch.randperm(16)[:7] for _ in images])
    everything = tokenizer.tokenize(images)
    assert everything.shape == (2, 4, 4)
    assert everything.dtype == torch.int64
    assert torch.equal(
        tokenizer.tokenize_at(images, positions), everything.flatten(1).gather(1, positions)
    )


def test_tokenizer_serves_other_image_sizes(tokenizer):
    assert tokenizer.tokenize(torch.rand(1, 3, 96, 48)).shape == (1, 6, 3)


def test_tokenizer_is_frozen_for_good(tokenizer, images):
    tokenizer.train()
    assert not any(module.training for module in tokenizer.modules())
    assert not any(parameter.requires_grad for parameter in tokenizer.parameters())
    before = {name: value.clone() for name, value in tokenizer.state_dict().items()}
    tokenizer.tokenize(images)
    assert all(torch.equal(before[n], v) for n, v in tokenizer.state_dict().items())


def test_predict_reports_every_image_and_leaves_the_codebook(vqkd, images):
    vqkd.eval()
    before = {name: value.clone() for name, value in vqkd.state_dict().items()}
    samples = vqkd(images, [BaseDataElement(), BaseDataElement()], mode='predict')
    losses = vqkd(images, mode='loss')
    assert torch.equal(torch.stack([s.codes for s in samples]), vqkd(images, mode='tensor'))
    for field, name in (
        ('reconstruction_loss', 'loss_rec'),
        ('commitment_loss', 'loss_commit'),
    ):
        assert_close(torch.stack([s.get(field) for s in samples]).mean(), losses[name])
    assert all(torch.equal(before[n], v) for n, v in vqkd.state_dict().items())
    assert vqkd.quantize.code_counts.sum() == 0


def test_float32_decode_head_keeps_gradients_nearer_to_those_of_float32(vqkd, monkeypatch):
    """Of the quantized vectors, which the encoder receives, in bfloat16."""
    z_q = torch.nn.functional.normalize(torch.randn(8, 8, 4, 4), dim=1)
    target = torch.randn(8, 16, 24)

    def gradient(enabled):
        z = z_q.clone().requires_grad_()
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            loss = vqkd.reconstruction_loss(vqkd.decode(z).float(), target).mean()
        return torch.autograd.grad(loss, z)[0]

    exact = gradient(enabled=False)
    error = (gradient(enabled=True) - exact).norm()
    monkeypatch.setattr('mmbeitv2.models.vqkd.in_float32', lambda layer, x: layer(x))
    error_of_autocast_head = (gradient(enabled=True) - exact).norm()
    assert 0 < error < 0.75 * error_of_autocast_head


def test_heads_run_in_float32_under_autocast(vqkd, images):
    with torch.autocast('cpu', dtype=torch.bfloat16):
        z, _ = vqkd.encode(images)
        decoded = vqkd.decode(torch.randn(2, 8, 4, 4))
    assert z.dtype == decoded.dtype == torch.float32


def test_another_architecture_names_tensor_and_both_shapes(vqkd, tokenizer_config, tmp_path):
    torch.save(vqkd.state_dict(), tmp_path / 'vqkd.pth')
    tokenizer_config['quantizer']['num_codes'] = 32
    tokenizer = VQKDTokenizer(**tokenizer_config)
    with pytest.raises(
        ValueError, match=r'quantize\.embedding\.weight has shape \(64, 8\).*\(32, 8\)'
    ):
        tokenizer.load_checkpoint(str(tmp_path / 'vqkd.pth'))


def test_missing_tokenizer_is_named(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint at .*none\.pth'):
        tokenizer.load_checkpoint(str(tmp_path / 'none.pth'))


def test_unknown_mode_is_refused(vqkd, images):
    with pytest.raises(ValueError, match="mode is 'train', allowed: 'loss'"):
        vqkd(images, mode='train')


class TestPrecisionOfTheTokenizer:
    def build(self, vqkd_config, **options):
        parts = {name: vqkd_config[name] for name in ('encoder', 'quantizer')}
        parts['quantizer'] = {**parts['quantizer'], 'kmeans_init': False}
        return VQKDTokenizer(**parts, **options)

    def vectors(self, tokenizer, images):
        with torch.autocast('cpu', torch.bfloat16):
            return tokenizer.encode(images)[0]

    def test_on_cpus_mixed_precision_leaves_the_codes_alone(self, vqkd_config, images):
        tokenizer = self.build(vqkd_config)
        assert torch.equal(self.vectors(tokenizer, images), tokenizer.encode(images)[0])

    def test_bfloat16_is_an_option(self, vqkd_config, images):
        tokenizer = self.build(vqkd_config, mixed_precision='bfloat16')
        exact = tokenizer.encode(images)[0]
        rounded = self.vectors(tokenizer, images)
        assert not torch.equal(rounded, exact)
        assert_close(rounded, exact, atol=0.05 * exact.abs().max().item(), rtol=0)

    def test_training_keeps_its_own_precision_after_tokenizing(self, vqkd_config, images):
        tokenizer = self.build(vqkd_config)
        with torch.autocast('cpu', torch.bfloat16):
            tokenizer.tokenize(images)
            assert (images.flatten(2) @ images.flatten(2).mT).dtype == torch.bfloat16

    def test_another_precision_is_refused(self, vqkd_config):
        with pytest.raises(ValueError, match="'half', but must be one of 'float16', 'bfloat16'"):
            self.build(vqkd_config, mixed_precision='half')
