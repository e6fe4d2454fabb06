"""Compare one training step on the CPU with the same step on the GPU: same weights, float32.

    python tools/benchmark/agreement.py pretraining

Codes must be equal but for ties, which are counted; losses, gradients and the moved codebook within
rounding. Models are those of the demo at the paper's 224 pixels, whose 197 tokens fit no kernel's
favourite size.
"""

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import steps
import timm
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from paired import machine, silence, write
from torch import Tensor, nn

from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.models.quantizer import NormEMAQuantizer, l2_normalize, nearest_codes

SIZE, CLASSES = 224, 8
# Relative. Weights changed in their last bit change losses by 1e-7, gradients and the codebook by
# 2e-6 (CPU); products in TF32 instead of float32 would change them by 1e-3.
TOLERANCES = dict(losses=1e-5, gradients=1e-4, codebook=1e-4)
# Of the 800,000 activations of a map some lie so near zero that a ReLU passes them on one device
# only; a change of the last bit of the weights moves gradients by up to 4e-3 (CPU).
WITH_RELU = dict(TOLERANCES, gradients=1e-2)
# Cosines closer than this are a tie: both codes are nearest within rounding.
TIE = 1e-5
# Batches that are tried until one has no tie, which changes losses and gradients a little.
TRIES = 10


class Case(NamedTuple):
    """A model, its inputs and labels, and how it chooses codes, if it does."""

    model: nn.Module
    inputs: object
    samples: object
    vectors: Callable[[nn.Module, object], Tensor] | None = None
    tolerances: Mapping[str, float] = TOLERANCES


def pretraining(batch: int) -> Case:
    """The demo's BEiT v2 with a random tokenizer."""
    cfg = load_config('mmbeitv2::demo/beitv2_demo.py')
    tokenizer = cfg.model.target_generator
    tokenizer.init_cfg, tokenizer.quantizer.kmeans_init = None, False
    tokenizer.encoder.img_size = cfg.model.backbone.img_size = SIZE
    cfg.model.data_preprocessor = {**cfg.data_preprocessor, 'image_size': SIZE}
    model = steps.pretraining_model(cfg)
    views = [torch.randn(batch, 3, SIZE, SIZE), steps.random_images(batch, 'cpu', SIZE)]

    def vectors(model: nn.Module, inputs: list[Tensor]) -> Tensor:
        return model.target_generator.encode(inputs[1])[0]

    return Case(model, views, steps.masked_samples(batch, SIZE), vectors)


def vqkd(batch: int) -> Case:
    """The demo's VQ-KD with a random codebook and a small random teacher."""
    cfg = load_config('mmbeitv2::demo/vqkd_demo.py')
    cfg.model.encoder.img_size = SIZE
    # Codes that start anew are drawn at random, which differs between devices.
    cfg.model.quantizer.update(kmeans_init=False, revive_below=None)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, 'teacher.pth')
        torch.save(timm.create_model('test_efficientnet').state_dict(), checkpoint)
        cfg.model.teacher.update(model='test_efficientnet', checkpoint=str(checkpoint))
        model = MODELS.build(cfg.model)
        model.init_weights()

    def vectors(model: nn.Module, inputs: Tensor) -> Tensor:
        return model.encode(inputs)[0]

    return Case(model, steps.random_images(batch, 'cpu', SIZE), None, vectors)


def finetuning(batch: int) -> Case:
    """The demo's classifier, without stochastic depth, which draws by device."""
    cfg = load_config('mmbeitv2::demo/finetune_demo.py')
    cfg.model.backbone.update(init_cfg=None, img_size=SIZE, drop_path_rate=0.0)
    # The paper's tiny initial weights of the head would leave no gradient for the rest.
    cfg.model.head.init_cfg.std = 0.02
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    samples = [DataSample().set_gt_label(i % CLASSES) for i in range(batch)]
    return Case(model, torch.randn(batch, 3, SIZE, SIZE), samples)


def segmentation(batch: int) -> Case:
    """The demo's UperNet, without dropout, whose random numbers differ between devices."""
    import mmseg.models  # noqa: F401  registers UperNet
    from mmseg.structures import SegDataSample

    cfg = load_config('mmbeitv2::demo/upernet_demo.py')
    cfg.model.backbone.update(init_cfg=None, img_size=SIZE)
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.dropout_ratio = 0
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        model.init_weights()
    samples = [SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE))) for _ in range(batch)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(CLASSES, (1, SIZE, SIZE)))
    # UperNet pools an image to one pixel: alike images leave its batch norm nothing but rounding.
    brightness = torch.linspace(-2, 2, batch).view(-1, 1, 1, 1)
    return Case(model, torch.randn(batch, 3, SIZE, SIZE) + brightness, samples, None, WITH_RELU)


CASES = {c.__name__: c for c in (pretraining, vqkd, finetuning, segmentation)}


def on_device(case: Case, device: str) -> Case:
    """A copy of the case on a device; masks stay on the CPU, as data preprocessors leave them."""
    inputs = case.inputs
    inputs = [x.to(device) for x in inputs] if isinstance(inputs, list) else inputs.to(device)
    samples = copy.deepcopy(case.samples)
    if samples and 'mask' not in samples[0]:
        samples = [sample.to(device) for sample in samples]
    return case._replace(
        model=copy.deepcopy(case.model).to(device).train(), inputs=inputs, samples=samples
    )


def quantizer_of(model: nn.Module) -> NormEMAQuantizer:
    """The one quantizer of a model."""
    return next(m for m in model.modules() if isinstance(m, NormEMAQuantizer))


@torch.no_grad()
def nearest(case: Case) -> tuple[Tensor, Tensor]:
    """Unit vectors of all patches, float64, and their codes, chosen on the case's device."""
    z = l2_normalize(case.vectors(case.model, case.inputs).flatten(0, -2))
    codes = nearest_codes(z, quantizer_of(case.model).codebook)
    return z.double().cpu(), codes.cpu()


def ties(here: Case, there: Case) -> int:
    """Codes that differ between the devices; all of them must be ties.

    Raises:
        SystemExit: another code is nearer by more than rounding.
    """
    (z, codes), (_, codes_there) = (nearest(case) for case in (here, there))
    differing = (codes != codes_there).nonzero()[:, 0]
    cosines = z[differing] @ quantizer_of(here.model).codebook.double().T
    rows = torch.arange(len(differing))
    gaps = cosines[rows, codes[differing]] - cosines[rows, codes_there[differing]]
    if (gaps.abs() > TIE).any():
        raise SystemExit(f'error: codes differ whose cosines differ by {gaps.abs().max():.1e}')
    return len(differing)


def step(case: Case) -> dict[str, dict[str, Tensor]]:
    """Losses of one step, and gradients and the codebook after it, all on the CPU."""
    losses = case.model.loss(*(x for x in (case.inputs, case.samples) if x is not None))
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    found = dict(
        losses=losses,
        gradients={n: p.grad for n, p in case.model.named_parameters() if p.grad is not None},
        codebook={n: b for n, b in case.model.named_buffers() if 'quantize' in n},
    )
    return {
        what: {n: x.detach().cpu().double() for n, x in tensors.items()}
        for what, tensors in found.items()
        if tensors
    }


def largest(here: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> tuple[float, str]:
    """Largest difference of tensors by name, relative to their norm, and the name.

    Raises:
        SystemExit: the devices give other tensors.
    """
    if here.keys() != there.keys():
        raise SystemExit(f'error: only one device gives {sorted(here.keys() ^ there.keys())}')
    # Small ones beside the median: a bias before a batch norm has no gradient but rounding.
    floor = statistics.median(float(x.norm()) for x in here.values())
    differences = {
        n: float((x - there[n]).norm()) / max(float(x.norm()), floor, 1e-30)
        for n, x in here.items()
    }
    name = max(differences, key=differences.get)
    return differences[name], name


def check(what: str, found: tuple[float, str], tolerance: float) -> str:
    """The difference in words.

    Raises:
        SystemExit: it is larger than allowed.
    """
    difference, name = found
    if not difference <= tolerance:
        raise SystemExit(
            f'error: {what} {name} differs by {difference:.1e}, allowed: {tolerance:.0e}'
        )
    return f'{what} within {difference:.0e} ({name})'


def main() -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('kind', choices=list(CASES))
    parser.add_argument('--batch', type=int, default=4, help='images, 2 or more')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--json', metavar='FILE', help='write what was found to this file')
    args = parser.parse_args()
    silence()
    # Convolutions would otherwise run in TF32, whose 10 bits are no float32.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    counted = []
    for seed in range(TRIES):
        torch.manual_seed(seed)
        case = CASES[args.kind](args.batch)
        for name, value in case.model.named_parameters():
            if name.endswith('relative_position_bias_table'):
                # Zeros, as at the start of training, would tell nothing of the bias in attention.
                nn.init.normal_(value, std=0.02)
        here, there = on_device(case, 'cpu'), on_device(case, args.device)
        counted += [ties(here, there)] if case.vectors else []
        if not counted or not counted[-1]:
            break
    said = [f'{sum(counted)} ties'] if counted else []
    ours, theirs = step(here), step(there)
    differences = {what: largest(tensors, theirs[what]) for what, tensors in ours.items()}
    for what, found in differences.items():
        print(f'{what}: {found[1]} differs most, by {found[0]:.1e}', flush=True)
    said += [check(what, found, case.tolerances[what]) for what, found in differences.items()]
    result = dict(ties=counted, differences=differences, machine=machine(args.device))
    write(args.json, dict(key_figures=', '.join(said), **result))


if __name__ == '__main__':
    with one_line_errors():
        main()
