"""Export a trained model as ONNX, torch.export or TorchScript, and show that it is the same.

    python tools/export.py CHECKPOINT --to onnx --out model.onnx

The file takes photos as they are, uint8 RGB (N, 3, H, W) of one size and any number: normalisation
is inside. A tokenizer gives codes; a backbone [CLS], the mean and the patches; a classifier logits
and scores; a segmenter the class of every pixel. After writing, the file is run in its own runtime
and compared with the model on photos; out of tolerance, it is not kept. Beside FILE lie FILE.json
(input, outputs, mean, classes, versions), FILE.txt (the table) and, of ONNX, run_onnx.py, which
runs it without torch. See docs/export.md.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmengine.logging import MMLogger

from mmbeitv2.errors import MissingFileError
from mmbeitv2.exchange.deployment.deploying import deploy
from mmbeitv2.exchange.deployment.formats import DEFAULT_OPSET, OPSETS, SUFFIXES
from mmbeitv2.exchange.deployment.graphs import INPUTS
from mmbeitv2.exchange.deployment.options import PRECISIONS, Options, check_options
from mmbeitv2.exchange.deployment.sources import PARTS, open_deployable
from mmbeitv2.exchange.run_notes import noted_value_range
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.photo_arguments import NOTED, add_image_column, add_value_range
from mmbeitv2.launch.user_errors import one_line_errors

# Photos that nothing was trained on.
DEMO = Path('data/demo/imagenet/val')
DEMO_SCENES = Path('data/demo/ade/images/validation')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='path, folder of a run, or address')
    parser.add_argument(
        '--to', required=True, choices=list(SUFFIXES), help='torch itself deprecates torchscript'
    )
    parser.add_argument(
        '--out', required=True, type=Path, metavar='FILE', help='.onnx, .pt2 or .pt'
    )
    parser.add_argument(
        '--part',
        choices=PARTS,
        help='of the checkpoint (default: what it is; of pretraining, the backbone)',
    )
    parser.add_argument('--input', choices=list(INPUTS), default='uint8', help='kind of pixels')
    parser.add_argument(
        '--image-size',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='side, or height and width (default: those of training)',
    )
    parser.add_argument('--free-size', action='store_true', help='any multiple of the patch')
    parser.add_argument(
        '--opset', type=int, help=f'of ONNX, {OPSETS[0]} to {OPSETS[-1]} ({DEFAULT_OPSET})'
    )
    parser.add_argument('--precision', choices=PRECISIONS, default='float32')
    parser.add_argument('--quantize', choices=['int8'], help='products of an ONNX file')
    parser.add_argument(
        '--calibrate', metavar='FOLDER', help='photos that fix the ranges of int8 beforehand'
    )
    _add_checks(parser)
    parser.add_argument(
        '--config', help='of the run (default: the checkpoint’s, or the catalogue’s)'
    )
    parser.add_argument('--num-heads', type=int, help='where the checkpoint does not note them')
    parser.add_argument('--overwrite', action='store_true', help='replace FILE and those beside it')
    parser.add_argument(
        '--trust', action='store_true', help='open a checkpoint that holds Python objects'
    )
    add_value_range(parser, NOTED)
    add_image_column(parser)
    args = parser.parse_args(argv)
    if args.image_size is not None and len(args.image_size) > 2:
        parser.error('--image-size takes one number or two')
    return args


def _add_checks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--photos', help='folder, compared on (default: the demo’s, if they are there)'
    )
    parser.add_argument('--count', type=int, default=64, help='photos compared (default: 64)')
    parser.add_argument(
        '--least-agreement',
        type=float,
        metavar='SHARE',
        help='below which a float16 or int8 file is not kept (default: 0.95, and 0.5 of int8)',
    )


def options_of(args: argparse.Namespace) -> Options:
    """The options by the names that the package gives them."""
    size = args.image_size
    return Options(
        to=args.to,
        input=args.input,
        image_size=None if size is None else (size[0], size[-1]),
        free_size=args.free_size,
        opset=args.opset,
        precision=args.precision,
        quantize=args.quantize,
        calibrate=args.calibrate,
        count=args.count,
        least_agreement=args.least_agreement,
        value_range=args.value_range,
        image_column=args.image_column,
        overwrite=args.overwrite,
    )


def photos_of(args: argparse.Namespace, part: str) -> str | Path:
    """Where the photos lie.

    Raises:
        FileNotFoundError: none are given, and the demo's are not there.
    """
    if args.photos is not None:
        return args.photos
    demo = DEMO_SCENES if part == 'segmentation' else DEMO
    if not demo.is_dir():
        raise MissingFileError(
            f'no photos at {demo} to compare on: give some with --photos FOLDER, or make the '
            'demo’s with python tools/make_demo_data.py'
        )
    return demo


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        # Where every weight was loaded from would bury the table.
        if not MMLogger.check_instance_created('mmbeitv2'):
            MMLogger.get_instance('mmbeitv2', log_level='WARNING')
        options = options_of(args)
        check_options(args.out, options)
        config = load_config(args.config) if args.config else None
        model = open_deployable(
            args.checkpoint, args.part, config, num_heads=args.num_heads, trust=args.trust
        )
        if options.value_range is None:
            noted = noted_value_range(args.checkpoint, args.trust)
            options = replace(options, value_range=noted)
        deploy(model, args.out, photos_of(args, model.part), options)
    print(f'{args.out} and, beside it, {args.out.name}.json and {args.out.name}.txt')


if __name__ == '__main__':
    main()
