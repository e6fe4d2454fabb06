"""The folder that timm's ``hf-hub:`` and ``local-dir:`` load, by timm's own code."""

import json
from pathlib import Path
from typing import Any

import timm
import torch

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.conversion import TOLERANCE, Conversion
from mmbeitv2.exchange.equality import differences, random_images, run_here
from mmbeitv2.exchange.loading_lines import TIMM_LOCAL_SCHEME, Written, timm_model
from mmbeitv2.exchange.writing import CONFIG, WEIGHTS


def timm_config(written: Written) -> dict[str, Any]:
    """Content of ``config.json``: timm's model, its arguments and what photos it sees.

    Args:
        written: a classifier or backbone in timm's layout.

    Raises:
        ValueError: the model sees BGR, or no photos.
    """
    name, arguments = timm_model(written)
    vit = written.vit
    side = vit['img_size']
    pretrained = dict(
        input_size=[vit['in_chans'], side, side],
        fixed_input_size=True,
        interpolation='bicubic',
        crop_pct=side / written.notes.resized_side(side),
        crop_mode='center',
        num_classes=arguments.get('num_classes', 1000),
        first_conv='patch_embed.proj',
        classifier='head',
    )
    if written.sees_photos:
        mean, std = written.notes.normalization_of_rgb
        pretrained.update(mean=list(mean), std=list(std))
    config = dict(
        architecture=name,
        num_classes=pretrained['num_classes'],
        num_features=vit['embed_dim'],
        global_pool=arguments.get('global_pool', 'avg'),
        model_args=arguments,
        pretrained_cfg=pretrained,
    )
    classes = written.notes.classes
    if len(classes) == pretrained['num_classes']:
        config['label_names'] = list(classes)
    return config


@torch.no_grad()
def write_timm_config(folder: Path, converted: Conversion) -> None:
    """Write ``config.json`` beside converted weights, and run the folder by timm's own loader.

    Args:
        folder: with the weights.
        converted: they, as :func:`mmbeitv2.exchange.conversion.convert` wrote them.

    Raises:
        ValueError: timm does not compute from it what the source does.
    """
    written = converted.written
    text = json.dumps(timm_config(written), indent=2) + '\n'
    write_atomically(folder / CONFIG, text.encode())
    images = random_images(converted.source, written.num_heads)
    ours = run_here(converted.source, images, written.num_heads)
    weights = str(folder / WEIGHTS)
    model: Any = timm.create_model(f'{TIMM_LOCAL_SCHEME}{folder}', checkpoint_path=weights).eval()
    if written.kind == 'classifier':
        theirs = dict(logits=model(images))
    else:
        theirs = dict(features=model.forward_features(images))
    for found in differences(ours, theirs):
        if found.relative > TOLERANCE:
            raise InputError(
                f'{folder} as timm loads it gives {found.output} that differ by '
                f'{found.relative:.1e} from those of {converted.source}: write another layout, '
                'and report it'
            )
