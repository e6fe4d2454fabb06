"""Count the codes that lower precision changes: which one a tokenizer may run in.

    python tools/benchmark/flips.py work_dirs/quickstart/vqkd/last_checkpoint data/demo/imagenet/val
    python tools/benchmark/flips.py

The tokenizer's ``mixed_precision`` is what its encoder runs in when training does in bfloat16. The
official release also multiplies vectors and codebook in float16; how many codes that changes is
counted for the tokenizer or, without one, for random unit vectors and a random codebook of the
paper's size.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor
from tqdm import tqdm

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.models.quantizer import l2_normalize, nearest_codes
from mmbeitv2.models.tokenizer import VQKDEncoder, VQKDTokenizer
from mmbeitv2.visualization.style import read_images

BATCH = 50
PRECISIONS = (torch.bfloat16, torch.float16)
LOOKUP = 'lookup by float16 products'
NUM_CODES, CODE_DIM = 8192, 32
# Vectors of 64 images in each of some draws, and how far they lie from a code: see random_draws.
VECTORS, DRAWS, NOISE = 64 * 196, 5, (0.1, 0.2, None)


def views(photos: list[Path], size: tuple[int, int]) -> Tensor:
    """Float in [−1, 1], ``(B, 3, *size)``, of photos resized to ``size`` (height, width)."""
    images = [image.resize(size[::-1]) for image in read_images(photos)]
    return torch.stack([pil_to_tensor(image) for image in images]) / 127.5 - 1


def official_codes(z: Tensor, codebook: Tensor) -> Tensor:
    """Nearest codes as the official quantizer finds them under autocast, on any device.

    There squared lengths are float32, but the matrix product rounds its inputs and its result to
    float16; the sum in between is float32 on GPUs.

    Args:
        z: float32 ``(N, D)``, unit vectors.
        codebook: float32 ``(K, D)``, unit vectors.
    """
    codes = []
    for chunk in z.split(1024):
        products = (chunk.half().float() @ codebook.half().float().t()).half()
        lengths = chunk.square().sum(1, keepdim=True) + codebook.square().sum(1)
        codes.append((lengths - (2 * products).float()).argmin(1))
    return torch.cat(codes)


def random_draws() -> Iterator[tuple[str, int]]:
    """For each distance of vectors from codes: what it is, and codes that differ of each draw.

    A vector is a code plus noise of the given standard deviation in every dimension, or a random
    direction for None: training brings the vectors of a tokenizer close to its codes.
    """
    for noise in NOISE:
        for seed in range(DRAWS):
            generator = torch.Generator().manual_seed(seed)
            codebook = l2_normalize(torch.randn(NUM_CODES, CODE_DIM, generator=generator))
            z = torch.randn(VECTORS, CODE_DIM, generator=generator)
            if noise is not None:
                chosen = torch.randint(NUM_CODES, (VECTORS,), generator=generator)
                z = codebook[chosen] + noise * z
            z = l2_normalize(z)
            different = (nearest_codes(z, codebook) != official_codes(z, codebook)).sum().item()
            name = 'random directions' if noise is None else f'a code plus noise of {noise}'
            yield name, different


def count_random() -> None:
    """Print the range over the draws for each distance of vectors from codes."""
    found: dict[str, list[int]] = {}
    for name, different in random_draws():
        found.setdefault(name, []).append(different)
    for name, counts in found.items():
        shares = [1000 * count / VECTORS for count in counts]
        print(
            f'{LOOKUP} changes {min(shares):.2f} to {max(shares):.2f} in 1,000 codes of '
            f'{VECTORS} vectors in {DRAWS} draws, {NUM_CODES} random codes of {CODE_DIM}: {name}'
        )


def count_of_photos(tokenizer: VQKDTokenizer, photos: list[Path], device: str) -> None:
    """Print how many codes of the photos each lower precision changes."""
    differing, total = dict.fromkeys((*PRECISIONS, LOOKUP), 0), 0
    codebook = tokenizer.quantize.codebook
    for start in tqdm(range(0, len(photos), BATCH), unit='batch'):
        images = views(photos[start : start + BATCH], tokenizer.encoder.img_size).to(device)
        z, _ = tokenizer.encode(images)
        z = l2_normalize(z.flatten(0, 1))
        exact = nearest_codes(z, codebook)
        for precision in PRECISIONS:
            # Here without the tokenizer's own choice, which has no float16 on CPUs.
            with torch.autocast(images.device.type, precision):
                lower, _ = VQKDEncoder.encode(tokenizer, images)
            codes = nearest_codes(l2_normalize(lower.flatten(0, 1)), codebook)
            differing[precision] += (exact != codes).sum().item()
        codes = official_codes(z, codebook)
        differing[LOOKUP] += (exact != codes).sum().item()
        total += exact.numel()
    for name, count in differing.items():
        print(
            f'{name} changes {count} of {total} codes of {len(photos)} photos: '
            f'{1000 * count / total:.2f} in 1,000'
        )


@torch.no_grad()
def main() -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'checkpoint', nargs='?', help='tokenizer of this project, the release or mmpretrain'
    )
    parser.add_argument('photos', type=Path, nargs='?', help='folder of JPEG files, at any depth')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    if args.checkpoint is None:
        count_random()
        return
    if args.photos is None:
        parser.error('a checkpoint needs a folder of photos to tokenize')
    photos = sorted(args.photos.rglob('*.jp*g'))
    if not photos:
        parser.error(f'no JPEG files below {args.photos}')
    count_of_photos(load_tokenizer(args.checkpoint).to(args.device), photos, args.device)


if __name__ == '__main__':
    with one_line_errors():
        main()
