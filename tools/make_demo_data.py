"""Compose the cut-outs and backgrounds of ``demo/assets`` into labelled pictures.

    python tools/make_demo_data.py

writes about 9,600 pictures to ``data/demo`` in well under a minute on two cores::

    data/demo/
      demo_data.json                              parameters and counts
      sources.csv                                 background and cut-outs of every picture
      imagenet/{train,val,val_unseen}/<class>/    one object per picture, class = the object
      ade/images/{training,validation,validation_unseen}/
      ade/annotations/{training,validation,validation_unseen}/

Training pictures pair training cut-outs with training backgrounds, ``val`` and ``validation``
training cut-outs with validation backgrounds (known objects in unseen places), and ``*_unseen``
validation cut-outs with validation backgrounds (unseen objects in unseen places).

Annotations follow the convention of ADE20K: 0 is unlabelled, 1 the background, 2 to 9 the classes
in alphabetical order.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from demo_data import DemoDataError, make_demo_data


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    repository = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(
        description='Compose the demo data: photos of 1-3 objects with exact masks.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--out', type=Path, default=Path('data/demo'), help='folder to make')
    parser.add_argument(
        '--assets',
        type=Path,
        default=Path(os.path.relpath(repository / 'demo' / 'assets')),
        help='folder of the cut-outs and backgrounds',
    )
    parser.add_argument('--image-size', type=int, default=128, help='side in pixels')
    parser.add_argument('--train', type=int, default=6000, help='classification training pictures')
    parser.add_argument(
        '--seg-train', type=int, default=2000, help='segmentation training pictures'
    )
    parser.add_argument('--val', type=int, default=400, help='pictures per validation set')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--workers', type=int, default=os.cpu_count(), help='processes')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace demo data with other parameters'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = parse_args(argv)
    try:
        written = make_demo_data(
            args.out,
            args.assets,
            image_size=args.image_size,
            train=args.train,
            seg_train=args.seg_train,
            val=args.val,
            seed=args.seed,
            workers=args.workers,
            overwrite=args.overwrite,
        )
    except DemoDataError as error:
        # As the other tools; nothing of the package is imported, which this comes before.
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(f'stopped: {args.out} is as it was before')
    if written:
        print(f'demo data written to {args.out}')
    else:
        print(f'{args.out} already holds this demo data: nothing to do')


if __name__ == '__main__':
    main()
