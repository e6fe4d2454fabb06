"""Compare a VQ-KD training step with a composition of timm's ViT and vector-quantize-pytorch.

    python tools/benchmark/vqkd.py

ViT-B/16 encoder, K 8192, 3-layer decoder; the teacher's features are given, since both sides would
run the same teacher. A step is forward, backward and fused AdamW. Both losses must be equal before
anything is timed.
"""

import torch
from paired import compare, compile_option, keep_option, parser, report, same_losses, start
from peers import TimmVQKD, also_compiled, if_installed
from steps import TOKENIZER, autocast, random_images, train_step, vqkd_model

from mmbeitv2.engine import compile_layers
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import one_line_errors


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=8, pairs=3)
    compile_option(options)
    keep_option(options)
    args = options.parse_args()
    start(args)
    cfg = load_config(TOKENIZER)
    if args.keep:
        cfg.model.encoder.recompute = cfg.model.decoder.recompute = False
    ours = vqkd_model(cfg)
    peers = if_installed('timm, vector-quantize-pytorch', lambda: TimmVQKD(ours).train())
    peers = {name: model.to(args.device) for name, model in peers.items()}
    ours = ours.to(args.device)
    if args.compile:
        compile_layers(ours)
        peers = also_compiled(peers)
    images = random_images(args.batch, args.device)
    target = ours.teacher(images, ours.encoder.grid)
    settings = {k: v for k, v in cfg.optim_wrapper.optimizer.items() if k != 'type'}

    def their_step(model: TimmVQKD):
        optimizer = torch.optim.AdamW(model.parameters(), **settings)

        def step() -> torch.Tensor:
            with autocast(args.device, args.precision):
                loss, _ = model(images, target)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        return step

    steps = dict(
        ours=train_step(ours, cfg, images, None, args.precision),
        **{name: their_step(model) for name, model in peers.items()},
    )
    same_losses(steps, 1e-4 if args.precision == 'float32' else 2e-2)
    report('VQ-KD step', {args.precision: compare(steps, args)}, args)


if __name__ == '__main__':
    with one_line_errors():
        main()
