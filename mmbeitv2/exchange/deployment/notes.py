"""What is written of an export: for the one who runs the file, and for the one who doubts it."""

import dataclasses
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mmbeitv2.checkout import git_state
from mmbeitv2.checkpoints.hashes import sha256
from mmbeitv2.exchange.deployment.checks import Row, table
from mmbeitv2.exchange.deployment.formats import DEFAULT_OPSET, INPUT, ONNX_PACKAGES
from mmbeitv2.exchange.deployment.options import Options
from mmbeitv2.exchange.deployment.sources import Deployable
from mmbeitv2.version import __version__

OUTPUTS = dict(
    codes='int64 (N, rows, columns): code of each patch',
    cls='float32 (N, C): [CLS] after the final norm',
    mean='float32 (N, C): mean of the patches',
    patches='float32 (N, rows · columns, C): patches in row-major order after the final norm',
    logits='float32 (N, K): in the order of classes',
    scores='float32 (N, K): softmax of the logits',
    labels='uint8, or int32 of more than 256 classes, (N, H, W): number of the class of each pixel',
)
PREPARATION = (
    'RGB photos of exactly this size: resizing and cropping stay outside, normalisation is inside'
)


@dataclass(frozen=True)
class Deployed:
    """What was written; ``str`` of it is the table of equality.

    Attributes:
        path: of the file.
        note: what stands in ``FILE.json``.
        rows: of the table.
    """

    path: Path
    note: dict[str, Any]
    rows: list[Row]

    def __str__(self) -> str:
        note = self.note
        lines = [
            f'{note["checkpoint"]["name"]} → {self.path.name} ({note["part"]}, {note["format"]}, '
            f'{note["variant"]}, {note["file"]["bytes"] / 1e6:.1f} MB), in {note["runtime"]}:',
            table(self.rows),
        ]
        if 'accuracy' in note:
            ours, theirs = note['accuracy']['checkpoint'], note['accuracy']['file']
            lines.append(f'  accuracy on the labelled photos: {ours:.1%}, of the file {theirs:.1%}')
        return '\n'.join(lines + [f'  {said}' for said in note['notes']])


def describe(model: Deployable, size: tuple[int, int], options: Options) -> dict[str, Any]:
    """The note, as far as it is known before anything is written.

    Args:
        model: opened.
        size: height and width in pixels.
        options: see there.
    """
    patch = model.vit.patch_size
    variant = options.precision
    if options.quantize:
        variant = f'int8, {"static" if options.calibrate else "dynamic"}'
    packages = ('torch', *(ONNX_PACKAGES if options.to == 'onnx' else ()))
    note: dict[str, Any] = dict(
        part=model.part,
        format=options.to,
        variant=variant,
        input=dict(
            name=INPUT,
            dtype='uint8' if options.input == 'uint8' else 'float32',
            range=[0, 255] if options.input == 'uint8' else [0, 1],
            shape=['batch', 3, 'height', 'width'] if options.free_size else ['batch', 3, *size],
            size=list(size),
            sizes=f'multiples of {patch} pixels' if options.free_size else 'this one',
            preparation=PREPARATION,
        ),
        outputs={name: OUTPUTS[name] for name in model.body.outputs},
        patch_size=patch,
        mean=list(model.normalization.mean),
        std=list(model.normalization.std),
        classes=model.classes,
        palette=model.palette,
        notes=model.notes,
        checkpoint=model.checkpoint,
        mmbeitv2=dict(version=__version__, **git_state()),
        versions={name: version(name) for name in packages},
        machine=platform.machine(),
    )
    if options.to == 'onnx':
        note['opset'] = options.opset or DEFAULT_OPSET
    return note


def describe_file(name: str, written: Path, rows: list[Row]) -> dict[str, Any]:
    """The rest of the note.

    Args:
        name: that the file will have.
        written: where it lies now.
        rows: of the table of equality.
    """
    return dict(
        file=dict(name=name, bytes=written.stat().st_size, sha256=sha256(written)),
        threads=torch.get_num_threads(),
        equality=[dataclasses.asdict(row) for row in rows],
    )
