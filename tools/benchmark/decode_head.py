"""What the decode head of VQ-KD changes in bfloat16: float32, as here, or under autocast.

    python tools/benchmark/decode_head.py data/demo/imagenet

Trains the demo's tokenizer for some steps in float32, then compares loss and gradients of one batch
in bfloat16, with the head in either precision, with those in float32. All three see the same codes,
so that the decoder alone differs.
"""

import argparse
from pathlib import Path

import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import Tensor

from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.models import VQKD

CONFIG = Path(__file__).resolve().parents[2] / 'configs/demo/vqkd_demo.py'
PARTS = {'decode head': 'decode_task_layer.', 'decoder': 'decoder.', 'quantized vectors': 'z_q'}


class AutocastHead(VQKD):
    """VQ-KD whose decode head runs under autocast, as the official one."""

    def decode(self, z_q: Tensor) -> Tensor:
        """Reconstruct teacher features."""
        x, _ = self.decoder.patch_tokens(z_q)
        return self.decode_task_layer(x)


def gradients(
    model: VQKD, z_q: Tensor, target: Tensor, bfloat16: bool
) -> tuple[float, dict[str, Tensor]]:
    """Reconstruction loss, and its gradients by name; ``z_q`` is what the encoder receives."""
    model.zero_grad()
    z_q = z_q.detach().clone().requires_grad_()
    with torch.autocast(z_q.device.type, torch.bfloat16, enabled=bfloat16):
        loss = model.reconstruction_loss(model.decode(z_q).float(), target).mean()
    loss.backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss.item(), {**found, 'z_q': z_q.grad}


def relative_error(found: dict[str, Tensor], exact: dict[str, Tensor], prefix: str) -> float:
    """Norm of the difference over the norm, of all gradients of a part together."""
    names = [name for name in exact if name.startswith(prefix)]
    error = sum((found[n] - exact[n]).double().square().sum() for n in names)
    return (error / sum(exact[n].double().square().sum() for n in names)).sqrt().item()


def train(data: Path, steps: int, seed: int) -> tuple[VQKD, Tensor, Tensor]:
    """A tokenizer after some steps; quantized vectors and teacher features of one more batch."""
    cfg = load_config(CONFIG, {'train_dataloader.dataset.data_root': str(data)})
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.optim_wrapper.optimizer.lr)
    step = 0
    while True:
        loader.sampler.set_epoch(step)
        for batch in loader:
            images = model.data_preprocessor(batch, training=True)['inputs']
            if step == steps:
                with torch.no_grad():
                    z_q, codes, _ = model.eval().quantized(images)
                    return model, z_q, model.teacher(images, codes.shape[1:])
            losses = model(images, mode='loss')
            optimizer.zero_grad()
            (losses['loss_rec'] + losses['loss_commit']).backward()
            optimizer.step()
            step += 1


def main() -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data', type=Path, help="the demo's data, a folder with the folder train")
    parser.add_argument('--steps', type=int, default=40)
    parser.add_argument('--seeds', type=int, default=3)
    args = parser.parse_args()
    for seed in range(args.seeds):
        model, z_q, target = train(args.data, args.steps, seed)
        loss, exact = gradients(model, z_q, target, bfloat16=False)
        for name, kind in (('float32', VQKD), ('autocast', AutocastHead)):
            model.__class__ = kind
            found_loss, found = gradients(model, z_q, target, bfloat16=True)
            errors = ', '.join(
                f'{part} {relative_error(found, exact, prefix):.2%}'
                for part, prefix in PARTS.items()
            )
            print(
                f'seed {seed}, head in {name}: loss {loss:.4f} off by {found_loss - loss:+.1e}; '
                f'gradients off by: {errors}',
                flush=True,
            )


if __name__ == '__main__':
    with one_line_errors():
        main()
