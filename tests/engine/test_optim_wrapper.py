"""Training in bfloat16 on the CPU."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper


@pytest.fixture
def wrapper(beitv2):
    return build_optim_wrapper(
        beitv2,
        dict(type='mmbeitv2.BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
    )


def batch(samples):
    pixels = [torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in samples]
    return dict(inputs=pixels, data_samples=samples)


def test_layers_compute_in_bfloat16_and_weights_stay_float32(beitv2, wrapper, masked_samples):
    dtypes = {}
    layer = beitv2.backbone.blocks[0].attn.proj
    layer.register_forward_hook(lambda module, args, output: dtypes.update(output=output.dtype))
    beitv2.train_step(batch(masked_samples), wrapper)
    assert dtypes['output'] == torch.bfloat16
    assert {p.dtype for p in beitv2.parameters()} == {torch.float32}


def test_loss_is_that_of_float32_to_rounding(beitv2, wrapper, masked_samples):
    data = beitv2.data_preprocessor(batch(masked_samples), True)
    exact = beitv2(**data, mode='loss')
    with wrapper.optim_context(beitv2):
        rounded = beitv2(**data, mode='loss')
    for name in ('loss_mim', 'loss_cls'):
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], exact[name], rtol=2e-3, atol=0)
