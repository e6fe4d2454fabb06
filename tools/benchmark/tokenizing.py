"""Compare tokenizing with mmpretrain's VQKD, ViT-B/16 at 224 pixels, on the same weights.

    python tools/benchmark/tokenizing.py

The codes must be equal before anything is timed. Both a tokenizer's parts are timed: codes of all
patches, and, as in pretraining, of the 75 masked ones only, for which mmpretrain computes all.
"""

from functools import partial

import torch
from paired import compare, compile_option, parser, report, same_result, start
from peers import also_compiled, if_installed, mmpretrain_tokenizer
from steps import autocast, masked_samples, random_images, tokenizer

from mmbeitv2.engine import compile_layers
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.models.masks import masked_positions


@torch.no_grad()
def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=8)
    compile_option(options)
    args = options.parse_args()
    start(args)
    ours = tokenizer()
    peers = if_installed('mmpretrain', lambda: mmpretrain_tokenizer(ours))
    peers = {name: model.to(args.device) for name, model in peers.items()}
    ours = ours.to(args.device)
    if args.compile:
        compile_layers(ours)
        peers = also_compiled(peers)
    images = random_images(args.batch, args.device)
    _, positions = masked_positions(masked_samples(args.batch), args.device)

    def all_codes():
        with autocast(args.device, args.precision):
            return ours.tokenize(images).flatten(1)

    def masked_codes():
        with autocast(args.device, args.precision):
            return ours.tokenize_at(images, positions)

    def their_codes(model):
        with autocast(args.device, args.precision):
            return model(images)

    if args.precision == 'float32':
        for name, model in peers.items():
            agreement = (all_codes() == their_codes(model)).double().mean()
            same_result(f'share of equal codes of {name}', torch.ones(()), agreement, 1e-3)
    their_steps = {name: partial(their_codes, model) for name, model in peers.items()}
    results = {
        f'all patches, {args.precision}': compare(dict(ours=all_codes, **their_steps), args),
        f'masked patches, {args.precision}': compare(dict(ours=masked_codes, **their_steps), args),
    }
    report('tokenizing', results, args)


if __name__ == '__main__':
    with one_line_errors():
        main()
