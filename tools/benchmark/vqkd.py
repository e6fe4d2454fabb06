"""Compare a VQ-KD training step with a composition of timm's ViT and vector-quantize-pytorch.

    python tools/benchmark/vqkd.py

ViT-B/16 encoder, K 8192, 3-layer decoder; the teacher's features are given, since both sides would
run the same teacher. A step is forward, backward and fused AdamW. Both losses must be equal before
anything is timed.
"""

import torch
from paired import compare, parser, report, same_result, start
from peers import TimmVQKD
from steps import TOKENIZER, autocast, random_images, train_step, vqkd_model

from mmbeitv2.apis.config import load_config


def main() -> None:
    """Run the tool."""
    args = parser(__doc__, batch=8, pairs=3).parse_args()
    start(args)
    cfg = load_config(TOKENIZER)
    ours = vqkd_model(cfg)
    theirs = TimmVQKD(ours).to(args.device).train()
    ours = ours.to(args.device)
    images = random_images(args.batch, args.device)
    target = ours.teacher(images, ours.encoder.grid)
    settings = {k: v for k, v in cfg.optim_wrapper.optimizer.items() if k != 'type'}
    optimizer = torch.optim.AdamW(theirs.parameters(), **settings)

    def their_step() -> torch.Tensor:
        with autocast(args.device, args.precision):
            loss, _ = theirs(images, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    steps = dict(
        ours=train_step(ours, cfg, images, None, args.precision),
        **{'timm, vector-quantize-pytorch': their_step},
    )
    first = {name: step() for name, step in steps.items()}
    tolerance = 1e-4 if args.precision == 'float32' else 2e-2
    difference = same_result('the loss', *first.values(), tolerance)
    print(f'losses of the first step differ by {difference:.1e} of their value')
    report('VQ-KD step', {args.precision: compare(steps, args)}, args)


if __name__ == '__main__':
    main()
