"""Count the codes that lower precision changes: which one a tokenizer may run in.

    python tools/benchmark/flips.py work_dirs/quickstart/vqkd/epoch_3.pth data/demo/imagenet/val

The tokenizer's ``mixed_precision`` is what its encoder runs in when training does in bfloat16.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor
from tqdm import tqdm

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.models.quantizer import l2_normalize, nearest_codes
from mmbeitv2.models.vqkd import VQKDEncoder
from mmbeitv2.visualization.style import read_images

BATCH = 50
PRECISIONS = (torch.bfloat16, torch.float16)


def views(photos: list[Path], size: tuple[int, int]) -> Tensor:
    """Float in [−1, 1], ``(B, 3, *size)``, of photos resized to ``size`` (height, width)."""
    images = [image.resize(size[::-1]) for image in read_images(photos)]
    return torch.stack([pil_to_tensor(image) for image in images]) / 127.5 - 1


@torch.no_grad()
def main() -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='tokenizer of this project, the release or mmpretrain')
    parser.add_argument('photos', type=Path, help='folder with JPEG files, at any depth')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    photos = sorted(args.photos.rglob('*.jp*g'))
    if not photos:
        parser.error(f'no JPEG files below {args.photos}')
    tokenizer = load_tokenizer(args.checkpoint).to(args.device)
    differing, total = dict.fromkeys(PRECISIONS, 0), 0
    for start in tqdm(range(0, len(photos), BATCH), unit='batch'):
        images = views(photos[start : start + BATCH], tokenizer.encoder.img_size).to(args.device)
        exact = tokenizer.tokenize(images)
        for precision in PRECISIONS:
            # Here without the tokenizer's own choice, which has no float16 on CPUs.
            with torch.autocast(images.device.type, precision):
                z, _ = VQKDEncoder.encode(tokenizer, images)
            codes = nearest_codes(l2_normalize(z.flatten(0, 1)), tokenizer.quantize.codebook)
            differing[precision] += (exact.flatten() != codes).sum().item()
        total += exact.numel()
    for precision, count in differing.items():
        print(
            f'{precision} changes {count} of {total} codes of {len(photos)} photos: '
            f'{1000 * count / total:.2f} in 1,000'
        )


if __name__ == '__main__':
    main()
