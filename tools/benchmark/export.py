"""Compare PyTorch with exported files in onnxruntime: ViT-B/16 at 224 pixels, random weights.

    python tools/benchmark/export.py --json work_dirs/export.json

Tokenizer and backbone (with a position bias in every layer) take the same uint8 photos on a CPU;
the float32 files must agree with PyTorch before anything is timed. int8 multiplies tokens by
weights in whole numbers, with ranges found at run time; how far that is off is printed.
"""

import tempfile
from functools import partial
from pathlib import Path

import torch
from paired import compare, parser, report, same_result, start
from steps import tokenizer

from mmbeitv2.errors import InputError
from mmbeitv2.exchange.deployment.checks import reference
from mmbeitv2.exchange.deployment.formats import check_format, write_graph
from mmbeitv2.exchange.deployment.graphs import BackboneGraph, PhotoGraph, TokenizerGraph
from mmbeitv2.exchange.deployment.quantization import quantize_int8
from mmbeitv2.exchange.deployment.runtimes import open_runtime
from mmbeitv2.exchange.deployment.sources import IMAGENET_VIEW, TOKENIZER_VIEW
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.models import BEiTViT

# Random codes are nearer to one another than trained ones: a few in a thousand are ties.
TOLERANCES = dict(codes=1e-2, cls=1e-4, mean=1e-4, patches=1e-4)


def graphs() -> dict[str, PhotoGraph]:
    """What is exported, by name."""
    backbone = BEiTViT('base', use_rel_pos_bias=True, final_norm='norm', init_values=0.1)
    backbone.init_weights()
    for block in backbone.blocks:
        torch.nn.init.normal_(block.attn.relative_position_bias_table)
    return dict(
        tokenizer=PhotoGraph(TokenizerGraph(tokenizer()), *TOKENIZER_VIEW).eval(),
        backbone=PhotoGraph(BackboneGraph(backbone, False), *IMAGENET_VIEW).eval(),
    )


def check(name: str, graph: PhotoGraph, pixels: torch.Tensor, run, strict: bool) -> None:
    """Print how far a file is from PyTorch; end the program where float32 is too far."""
    ours, theirs = reference(graph, pixels), run(pixels.numpy())
    for output, value in ours.items():
        one, other = torch.from_numpy(value), torch.from_numpy(theirs[output])
        if output == 'codes':
            one, other = torch.ones(()), (one == other).double().mean()
        limit = TOLERANCES[output] if strict else float('inf')
        difference = same_result(f'{name}, {output}', one, other, limit)
        what = 'share of differing codes' if output == 'codes' else f'{output}, of the largest'
        print(f'{name}: {what} {difference:.1e}')


def main() -> None:
    """Run the tool."""
    args = parser(__doc__, batch=8).parse_args()
    if args.device != 'cpu' or args.precision != 'float32':
        raise InputError('exports are compared on a CPU from float32: give --device cpu alone')
    check_format('onnx', None, False)
    start(args)
    pixels = torch.randint(0, 256, (args.batch, 3, 224, 224), dtype=torch.uint8)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, graph in graphs().items():
            steps = dict(ours=partial(torch.no_grad()(graph), pixels))
            for variant in ('float32', 'int8'):
                path = Path(folder, f'{name}-{variant}.onnx')
                write_graph(graph, pixels[:2], path, 'onnx', '{}')
                if variant == 'int8':
                    quantize_int8(path, '{}', [f'body.{part}' for part in graph.body.exact])
                run, _ = open_runtime(path, 'onnx', graph.body.outputs)
                check(f'{name}, {variant}', graph, pixels, run, variant == 'float32')
                steps[f'onnxruntime, {variant}'] = partial(run, pixels.numpy())
            results[name] = compare(steps, args)
    report('exported', results, args)


if __name__ == '__main__':
    with one_line_errors():
        main()
