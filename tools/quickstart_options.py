"""The quick start's command line: its stages and options.

Of the standard library alone: ``bash tools/quickstart.sh --help`` installs nothing.
"""

import argparse
from pathlib import Path

STAGES = {
    'data': 'compose the demo photos',
    'tokenizer': 'train the tokenizer (VQ-KD) and evaluate it on held-out photos',
    'pretrain': 'pretrain a small ViT to predict the codes of masked patches',
    'few-shot': 'classify with a few labels, and segment, on frozen features',
    'probe': 'linear probe, pretrained against random initialisation',
    'finetune': 'fine-tune for classification, pretrained against random initialisation',
    'labels': 'fine-tune and probe with 1, 4 and 16 labelled photos a class',
    'segment': 'train UperNet, pretrained against random initialisation',
    'report': 'draw the report',
}
AUTO = 'auto'
# Those of tools/train.py, which needs torch to say so.
PRECISIONS = (AUTO, 'bfloat16', 'float16', 'float32')


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    stages = '\n'.join(f'  {name:<10} {text}' for name, text in STAGES.items())
    parser = argparse.ArgumentParser(
        prog='bash tools/quickstart.sh',
        description='The whole chain of BEiT v2 on real photos, in 10 to 15 minutes on 2 cores.',
        epilog=f'stages:\n{stages}\n\nMMBEITV2_VENV names another environment than .venv.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'stages', nargs='*', metavar='STAGE', help='stages to run, in this order (default: all)'
    )
    parser.add_argument(
        '--long', action='store_true', help='longer training and 3 seeds: about an hour'
    )
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default=AUTO,
        help='of training; default: what the machine multiplies fastest',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/quickstart, with _long and _PRECISION behind it if given',
    )
    args = parser.parse_args()
    unknown = [stage for stage in args.stages if stage not in STAGES]
    if unknown:
        parser.error(f'unknown stage {unknown[0]!r}, allowed: {", ".join(STAGES)}')
    args.stages = args.stages or list(STAGES)
    name = 'quickstart' + '_long' * args.long + f'_{args.precision}' * (args.precision != AUTO)
    args.work_dir = args.work_dir or Path('work_dirs') / name
    return args
