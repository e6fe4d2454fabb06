"""Compare a training step at 512×512 with that of mmsegmentation's BEiT backbone, equal weights.

    python tools/benchmark/segmentation.py
    python tools/benchmark/segmentation.py --part upernet --batch 2

The backbone alone is trained to the mean square of its features, UperNet on random labels; both
with fused AdamW. The features must be equal before anything is timed.
"""

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from paired import compare, parser, report, same_result, start
from peers import if_installed, mmseg_backbone
from steps import SEGMENTATION, autocast, feature_step, random_images, segmentation_backbone
from torch import nn

from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import one_line_errors


def upernet(backbone: nn.Module) -> nn.Module:
    """The ADE20K runs' UperNet around a backbone, with the same random heads every time."""
    import mmseg.models  # noqa: F401  registers UperNet

    cfg = load_config(SEGMENTATION).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg)
    model.backbone = backbone
    return revert_sync_batchnorm(model)


def upernet_step(model: nn.Module, images: torch.Tensor, precision: str):
    """Losses of both heads on random labels, their gradients, and AdamW."""
    from mmseg.structures import SegDataSample

    size = images.shape[-2:]
    labels = torch.randint(150, (len(images), 1, *size), device=images.device)
    samples = [SegDataSample(metainfo=dict(img_shape=size)) for _ in labels]
    for sample, label in zip(samples, labels):
        sample.gt_sem_seg = PixelData(data=label)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05, fused=True)

    def step() -> None:
        with autocast(images.device.type, precision):
            losses = model.loss(images, samples)
        sum(value for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Run the tool."""
    options = parser(__doc__, batch=1, pairs=3)
    options.add_argument('--size', type=int, default=512, help='side of the images in pixels')
    options.add_argument(
        '--part', choices=['backbone', 'upernet'], default='backbone', help='what is trained'
    )
    args = options.parse_args()
    if args.part == 'upernet' and args.batch < 2:
        options.error(
            f'--batch is {args.batch}, but UperNet pools an image to one pixel and its batch norm '
            'needs 2 or more: give --batch 2, or --part backbone'
        )
    start(args)
    ours = segmentation_backbone(args.size)
    indices = load_config(SEGMENTATION).model.backbone.out_indices
    peers = if_installed('mmsegmentation', lambda: mmseg_backbone(ours, indices))
    models = dict(ours=ours, **peers)
    models = {name: model.to(args.device) for name, model in models.items()}
    images = random_images(args.batch, args.device, args.size)
    with torch.no_grad():
        features = {name: model(images) for name, model in models.items()}
    difference = max(
        same_result('a feature map', a, b, 1e-4)
        for found in features.values()
        for a, b in zip(features['ours'], found)
    )
    print(f'features differ by {difference:.1e} of their largest value')
    if args.part == 'upernet':
        models = {name: upernet(model).to(args.device) for name, model in models.items()}
    make = feature_step if args.part == 'backbone' else upernet_step
    steps = {name: make(model, images, args.precision) for name, model in models.items()}
    name = f'{args.part}, {args.size} pixels, {args.precision}'
    report('segmentation step', {name: compare(steps, args)}, args)


if __name__ == '__main__':
    with one_line_errors():
        main()
