"""Export a checkpoint, run what was written, compare, and only then give the file its name."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch

from mmbeitv2.checkpoints.atomic import partial_file, write_atomically
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.deployment.checks import (
    BATCHES,
    Row,
    accuracy,
    compare,
    joined,
    reference,
    run_batches,
)
from mmbeitv2.exchange.deployment.formats import write_graph
from mmbeitv2.exchange.deployment.graphs import PhotoGraph
from mmbeitv2.exchange.deployment.notes import Deployed, describe, describe_file
from mmbeitv2.exchange.deployment.options import (
    Options,
    check_options,
    chosen_size,
    files_beside,
)
from mmbeitv2.exchange.deployment.photos import Photos
from mmbeitv2.exchange.deployment.quantization import quantize_int8
from mmbeitv2.exchange.deployment.runtimes import Runtime, open_runtime
from mmbeitv2.exchange.deployment.sources import Deployable

# Photos whose activations give int8 its ranges.
CALIBRATED = 64


def deploy(
    model: Deployable,
    path: Path,
    photos: str | Path,
    options: Options,
    report: Callable[[str], object] = print,
) -> Deployed:
    """Write a model as one file, and beside it what is known of it.

    Args:
        model: from :func:`mmbeitv2.exchange.deployment.sources.open_deployable`.
        path: of the file to write. ``FILE.json``, ``FILE.txt`` and, of ONNX, the example
            ``run_onnx.py``, unless there is one, are written beside it.
        photos: folder, photo or list, on which the file is compared with the model.
        options: see there.
        report: gets the table, also of a file that is refused for it.

    Raises:
        ValueError: an option that the model cannot have, or a file out of tolerance, which does not
            get its name.
        FileExistsError: there is such a file.
        ImportError: a package is missing.
        OSError: a photo cannot be read, or the file not be written.
    """
    check_options(path, options)
    size = chosen_size(model, options)
    shown = Photos(photos, options.count, options, model.classes)
    calibration = None
    if options.calibrate:
        calibration = Photos(options.calibrate, CALIBRATED, options).pixels(size)
    note = describe(model, size, options)
    # Whoever calls the file wants numbers, and no memory kept for gradients.
    graph = PhotoGraph(model.body, *model.normalization, kind=options.input)
    graph.eval().requires_grad_(False)
    with partial_file(path) as partial:
        _write(model, graph, partial, size, options, json.dumps(note), calibration)
        run, note['runtime'] = open_runtime(partial, options.to, model.body.outputs)
        rows = _compare(model, graph, run, shown, size, options, note)
        deployed = Deployed(path, note | describe_file(path.name, partial, rows), rows)
        report(str(deployed))
        _refuse_intolerable(rows, options)
    _, beside, text = files_beside(path)
    write_atomically(beside, (json.dumps(deployed.note, indent=1) + '\n').encode())
    write_atomically(text, f'{deployed}\n'.encode())
    if options.to == 'onnx':
        example = Path(__file__).with_name('run_onnx.py')
        own = path.with_name(example.name)
        # It is there to be changed.
        if options.overwrite or not own.exists():
            write_atomically(own, example.read_bytes())
    return deployed


def _write(
    model: Deployable,
    graph: PhotoGraph,
    path: Path,
    size: tuple[int, int],
    options: Options,
    note: str,
    calibration: torch.Tensor | None,
) -> None:
    written = graph
    if options.precision == 'float16':
        written = copy.deepcopy(graph)
        written.halve()
    patch = model.vit.patch_size if options.free_size else 0
    # Sides unlike each other and the learned ones, so that none is taken for another.
    height, width = (size[0] + patch, size[1] + 2 * patch)
    example = torch.zeros(2, 3, height, width, dtype=graph.dtype_of_pixels)
    write_graph(written, example, path, options.to, note, options.opset, patch)
    if options.quantize:
        exact = [f'body.{name}' for name in model.body.exact]
        quantize_int8(path, note, exact, None if calibration is None else calibration.numpy())


def _compare(
    model: Deployable,
    graph: PhotoGraph,
    run: Runtime,
    shown: Photos,
    size: tuple[int, int],
    options: Options,
    note: dict[str, object],
) -> list[Row]:
    """Rows of the size exported, and of another where that is free; accuracy into the note."""
    pixels = shown.pixels(size)
    ours = reference(graph, pixels)
    rows = compare(graph, run, pixels, ours, options.least)
    if options.free_size:
        patch = model.vit.patch_size
        other = shown.pixels((size[0] + patch, size[1] + 3 * patch))
        rows += compare(graph, run, other, reference(graph, other), options.least)
    if model.part == 'classifier' and shown.labels:
        theirs = joined(run_batches(run, pixels, max(BATCHES)))
        note['accuracy'] = dict(
            checkpoint=accuracy(ours['logits'], shown.labels),
            file=accuracy(theirs['logits'], shown.labels),
        )
    return rows


def _refuse_intolerable(rows: list[Row], options: Options) -> None:
    failed = [row for row in rows if not row.passed]
    if not failed:
        return
    row = failed[0]
    cure = (
        'this is a fault of an export, please report it'
        if options.least is None
        else f'allowed: {options.least:.1%} or more, or what --least-agreement says; choose '
        'another --precision, or calibrate with more photos'
    )
    raise InputError(
        f'the file is not kept: of {row.output} at batch {row.batch} the agreement is '
        f'{row.agreement:.4%}, {row.remark}; {cure}'
    )
