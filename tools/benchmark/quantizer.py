"""Compare a training step of the quantizer with those of mmpretrain and vector-quantize-pytorch.

    python tools/benchmark/quantizer.py

64 images of 196 vectors, K 8192, D 32, unless told otherwise. The codes of the first step must be
equal before anything is timed.
"""

import torch
from paired import compare, parser, report, same_result, start
from peers import if_installed, mmpretrain_quantizer, vector_quantize_pytorch
from steps import autocast, quantizer, vectors
from torch import nn

from mmbeitv2.launch.user_errors import one_line_errors


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=64)
    options.add_argument('--num-codes', type=int, default=8192, help='K')
    options.add_argument('--code-dim', type=int, default=32, help='D')
    args = options.parse_args()
    start(args)
    ours = quantizer(args.num_codes, args.code_dim)
    z = vectors(args.batch, args.device, args.code_dim)
    # Each gives (z_q, codes, loss).
    models = {
        'ours': ours,
        **if_installed('mmpretrain', lambda: _Reordered(mmpretrain_quantizer(ours))),
        **if_installed('vector-quantize-pytorch', lambda: vector_quantize_pytorch(ours)),
    }
    models = {name: model.to(args.device) for name, model in models.items()}
    codes = {name: model.eval()(z)[1].flatten() for name, model in models.items()}
    for name, found in codes.items():
        # A tie within rounding may fall to either side.
        agreement = (found == codes['ours']).double().mean()
        same_result(f'share of equal codes of {name}', torch.ones(()), agreement, 1e-4)

    def step(model: nn.Module):
        model.train()

        def run() -> None:
            z.grad = None
            with autocast(args.device, args.precision):
                z_q, _, loss = model(z)
                (z_q.mean() + loss.sum()).backward()

        return run

    result = compare({name: step(model) for name, model in models.items()}, args)
    report('quantizer', {f'K {args.num_codes}, D {args.code_dim}, {args.precision}': result}, args)


class _Reordered(nn.Module):
    """mmpretrain's quantizer, which gives (z_q, loss, codes)."""

    def __init__(self, quantizer: nn.Module) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z):
        z_q, loss, codes = self.quantizer(z)
        return z_q, codes, loss


if __name__ == '__main__':
    with one_line_errors():
        main()
