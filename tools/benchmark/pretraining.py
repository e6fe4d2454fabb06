"""Compare a pretraining step, ViT-B/16 at 224 pixels, with mmpretrain's BEiT v2 on equal weights.

    python tools/benchmark/pretraining.py --precision bfloat16

A step is tokenizing, both branches forward and back, gradient clipping and AdamW, each side with
the optimiser settings of its own paper config. Both losses must be equal before anything is timed
(in float32; in bfloat16 within its rounding).
"""

import copy

from paired import compare, compile_option, keep_option, parser, report, same_losses, start
from peers import (
    also_compiled,
    if_installed,
    mmpretrain_pretraining,
    mmpretrain_pretraining_config,
)
from steps import (
    as_trained,
    masked_samples,
    pretraining_config,
    pretraining_model,
    random_images,
    train_step,
)

from mmbeitv2.launch.user_errors import one_line_errors


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=8, pairs=3)
    compile_option(options)
    keep_option(options)
    args = options.parse_args()
    start(args)
    cfg = pretraining_config()
    if args.keep:
        cfg.model.backbone.recompute = cfg.model.neck.recompute = False
    ours = pretraining_model(cfg)
    peers = if_installed('mmpretrain', lambda: mmpretrain_pretraining(ours))
    views = [random_images(args.batch, args.device) for _ in range(2)]
    samples = masked_samples(args.batch)
    on_device = [copy.copy(sample).to(args.device) for sample in samples]
    peers = {name: model.to(args.device) for name, model in peers.items()}
    as_trained(ours.to(args.device), args.batch, args.device, args.precision, args.compile)
    if args.compile:
        peers = also_compiled(peers)
    steps = dict(
        ours=train_step(ours, cfg, views, samples, args.precision),
        **{
            name: train_step(
                model, mmpretrain_pretraining_config(), views, on_device, args.precision
            )
            for name, model in peers.items()
        },
    )
    same_losses(steps, 1e-5 if args.precision == 'float32' else 1e-2)
    report('pretraining step', {args.precision: compare(steps, args)}, args)


if __name__ == '__main__':
    with one_line_errors():
        main()
