"""Convert a checkpoint file, and check the result by reading and running it."""

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from mmbeitv2.checkpoints.catalogue import described
from mmbeitv2.checkpoints.hashes import sha256
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.sources import local_file
from mmbeitv2.checkpoints.translation import (
    AGGREGATION_LAYER,
    TOKENIZER_PART,
    Checkpoint,
    open_checkpoint,
)
from mmbeitv2.exchange.equality import (
    Difference,
    differences,
    differing_tensors,
    random_images,
    run_here,
    run_there,
)
from mmbeitv2.exchange.exporting import Export, export
from mmbeitv2.exchange.loading_lines import Written, loading_lines
from mmbeitv2.exchange.model_card import check_licence, model_card
from mmbeitv2.exchange.peers import PEERS, package_of
from mmbeitv2.exchange.run_notes import RunNotes, read_run_notes
from mmbeitv2.exchange.transformers_files import preprocessor_config, transformers_config
from mmbeitv2.exchange.writing import (
    FOLDERS,
    check_destination,
    write_card,
    write_file,
    write_transformers,
)
from mmbeitv2.models.stored_layout import check_heads, stored_layout
from mmbeitv2.version import __version__

ENCODERS = ('encoder.', f'{TOKENIZER_PART}encoder.')
# Of outputs computed twice in float32, in other orders of summation.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Conversion:
    """What was converted and how the result compares; ``str`` of it is the table of equality.

    Attributes:
        source: the checkpoint that was read.
        destination: what was written.
        project: for which project.
        export: the tensors written.
        differing: names of tensors that the way back does not give exactly as they were.
        differences: of the outputs; None where the project is not installed.
        lines: of Python that load what was written in its project.
        written: the tensors, and what is noted of them.
    """

    source: Checkpoint
    destination: Path
    project: str
    export: Export
    differing: list[str]
    differences: list[Difference] | None
    lines: str
    written: Written

    @property
    def equal(self) -> bool:
        """Whether every tensor comes back exactly and outputs agree within ``TOLERANCE``."""
        differences = self.differences or []
        return not self.differing and all(d.relative <= TOLERANCE for d in differences)

    def __str__(self) -> str:
        parts = dict.fromkeys('.'.join(n.split('.')[:2]) for n in self.export.left_out)
        lines = [
            f'{self.source} → {self.destination} ({self.project})',
            f'  {len(self.export.state)} tensors written, {len(self.export.left_out)} left out'
            + (f': {", ".join(parts)}' if parts else ''),
            f'  {"output":<12} {"shape":<16} {"largest difference":>18} {"relative":>9}',
        ]
        for d in self.differences or []:
            lines.append(f'  {d.output:<12} {d.shape!s:<16} {d.absolute:>18.1e} {d.relative:>9.1e}')
        if self.differences is None:
            lines.append(f'  outputs not compared: {self.project} is not installed')
        total = len(self.export.kept)
        lines.append(
            f'  way back: {total - len(self.differing)} of {total} tensors exactly equal'
            + (f'; not {self.differing[0]}' if self.differing else '')
        )
        return '\n'.join(lines)


def convert(
    source: str | Path,
    destination: str | Path,
    project: str,
    num_heads: int | None = None,
    overwrite: bool = False,
    trust: bool = False,
    img_size: int | tuple[int, int] | None = None,
    ema: bool = False,
    address: str = '',
    licence: str = '',
) -> Conversion:
    """Write a checkpoint for another project, then read and run what was written.

    Beside it lies its card: the lines that load it, what it sees, and how it was trained.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`.
        destination: file to write, by its suffix safetensors or PyTorch; for transformers a folder.
        project: a key of ``TARGETS``.
        num_heads: heads, where the tensors do not show them; width / 64 unless given.
        overwrite: replace an existing destination.
        trust: open a source that holds Python objects beside weights, which can run any code.
        img_size: side in pixels, or ``(height, width)``, that the source was trained with, where it
            does not note it; square unless given.
        ema: take the moving average of the weights, where the source holds one beside them.
        address: by which the card's readers load what is written; its path where empty.
        licence: of the weights, by the Hugging Face hub's name, for the card; published weights
            have their own.

    Raises:
        FileNotFoundError: no source.
        FileExistsError: there is a destination already.
        ValueError: the project has no such model, the source is refused, or the licence is none.
    """
    destination = Path(destination)
    check_destination(destination, project, overwrite)
    check_licence(licence, source)
    checkpoint = open_checkpoint(source, trust, img_size=img_size, ema=ema)
    # Heads are given for the tokenizer, where there is one.
    parts = (with_prefix(checkpoint.state, encoder) for encoder in ENCODERS)
    check_heads(stored_layout(next(filter(None, parts), {})), num_heads)
    exported = export(checkpoint, project)
    # Before anything is written: a checkpoint that does not run here is not worth converting.
    images = random_images(checkpoint, num_heads)
    ours = run_here(checkpoint, images, num_heads)
    # Nothing of a file with code is read twice.
    notes = RunNotes() if trust else read_run_notes(source)
    state = exported.kept | exported.noted
    written = Written(destination, checkpoint.kind, state, num_heads, notes, address)
    metadata = _metadata(source, checkpoint) | ({'licence': licence} if licence else {})
    _write(written, project, exported, metadata)
    found = None
    if project not in PEERS or find_spec(package_of(project)):
        target = replace(checkpoint, state=state)
        theirs = run_there(destination, project, target, images, num_heads)
        found = differences(ours, theirs)
    differing = differing_tensors(destination, exported)
    write_card(destination, project, model_card(written, project, metadata))
    lines = loading_lines(written, project)
    return Conversion(checkpoint, destination, project, exported, differing, found, lines, written)


def _write(written: Written, project: str, exported: Export, metadata: dict[str, str]) -> None:
    if project not in FOLDERS:
        write_file(written.path, project, exported.state, metadata)
        return
    config = transformers_config(written.state, written.num_heads, written.notes)
    # It knows photos of RGB only.
    preprocessor = None
    if written.sees_photos:
        preprocessor = preprocessor_config(written.vit['img_size'], written.notes)
    write_transformers(written.path, exported.state, metadata, config, preprocessor)


def _metadata(source: str | Path, checkpoint: Checkpoint) -> dict[str, str]:
    """What the converted file says of its origin, and of what its tensors do not show."""
    with local_file(source) as path:
        metadata = {
            'source': path.name,
            'source_sha256': sha256(path),
            'source_project': checkpoint.project,
            'kind': checkpoint.kind,
            'converted_by': f'mmbeitv2 {__version__}',
        }
    if (entry := described(source)) is not None:
        metadata |= dict(licence=entry.licence, publisher=entry.publisher)
        metadata |= dict(published=entry.name, what=entry.what, published_result=entry.published)
    if AGGREGATION_LAYER in checkpoint.state:
        metadata['layer'] = str(int(checkpoint.state[AGGREGATION_LAYER]))
    return metadata
