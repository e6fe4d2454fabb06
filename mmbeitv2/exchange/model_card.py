"""The card of a converted checkpoint: how it loads, what it sees, how it was trained."""

import re
from pathlib import Path
from typing import Any

from mmbeitv2.checkpoints.catalogue import described
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.loading_lines import Written, loading_lines
from mmbeitv2.exchange.peers import PEERS, package_of
from mmbeitv2.exchange.run_notes import RunNotes

# Of some hundred in an environment, those that the weights depend on.
PACKAGES = ('mmbeitv2', 'torch', 'mmengine', 'mmpretrain', 'mmsegmentation', 'timm')
MOST_CLASSES = 20
TASKS = dict(classifier='image-classification')
# What the hub calls them.
LICENCES = {'MIT': 'mit', 'Apache-2.0': 'apache-2.0'}
LICENCE = re.compile(r'[a-z0-9][a-z0-9.+-]*')


def model_card(written: Written, project: str, metadata: dict[str, str]) -> str:
    """Text of the card, in Markdown, as the Hugging Face hub shows it.

    Args:
        written: the converted checkpoint.
        project: a key of ``TARGETS``.
        metadata: what the file says of its origin.
    """
    origin = metadata['source']
    parts = [
        _front_matter(written, project, metadata),
        f'# {written.address.rpartition("/")[2] or written.path.stem}\n\n'
        f'BEiT v2, {written.kind}, for {project}. Converted by {metadata["converted_by"]} from '
        f'`{origin}` ({metadata["source_project"]}; SHA-256 `{metadata["source_sha256"]}`). '
        f'Licence: {_licence(metadata)}.\n',
        f'## Loading\n\n```python\n{loading_lines(written, project)}```\n',
    ]
    if written.kind in ('classifier', 'pretraining', 'backbone') and written.sees_photos:
        parts.append(_photos(written, 'published' in metadata))
    if written.notes.classes:
        parts.append(_classes(written.notes.classes))
    parts.append(_training(written.notes, metadata))
    if written.notes.results:
        parts.append(_results(written.notes))
    return '\n'.join(parts)


def _licence(metadata: dict[str, str]) -> str:
    if 'licence' not in metadata:
        return 'that of the source, which the file does not note'
    if 'publisher' not in metadata:
        return metadata['licence']
    return f'{metadata["licence"]}, by {metadata["publisher"]}'


def check_licence(licence: str, source: str | Path) -> None:
    """Refuse a licence that the hub would not take, or one for weights of somebody else.

    Args:
        licence: by the hub's name; empty for none.
        source: of the checkpoint.

    Raises:
        ValueError: names what is allowed.
    """
    if not licence:
        return
    if (entry := described(source)) is not None:
        raise InputError(
            f'the licence is {licence!r}, but these are published weights, whose licence is '
            f'{entry.licence}: leave it out'
        )
    if not LICENCE.fullmatch(licence):
        raise InputError(
            f'the licence is {licence!r}, allowed: a name of the Hugging Face hub, such as '
            'apache-2.0, mit, cc-by-4.0 or other'
        )


def _front_matter(written: Written, project: str, metadata: dict[str, str]) -> str:
    library = package_of(project) if project in PEERS and project != 'mmpretrain' else 'mmbeitv2'
    lines = [f'library_name: {library}', 'tags:', '- beit']
    licence = metadata.get('licence', '')
    # Ours says the hub's name; what publishers say is known of some.
    if licence := LICENCES.get(licence, '' if 'publisher' in metadata else licence):
        lines.insert(0, f'license: {licence}')
    if written.kind in TASKS:
        lines.insert(0, f'pipeline_tag: {TASKS[written.kind]}')
    return '\n'.join(['---', *lines, '---', ''])


def _photos(written: Written, published: bool) -> str:
    size = written.vit['img_size']
    mean, std = written.notes.normalization
    noted = "as this project's config of it has it" if published else 'as its run noted'
    by = noted if written.notes.mean else 'as the paper: the file notes none'
    seen = (
        f'the whole, {size[0]} × {size[1]} pixels'
        if isinstance(size, tuple)
        else (
            f'the centre of {size} × {size} pixels, once the shorter side has '
            f'{written.notes.resized_side(size)} (bicubic)'
        )
    )
    order = 'BGR' if written.notes.bgr else 'RGB'
    return (
        f'## Photos\n\n{order}, {seen}; divided by 255, mean {_numbers(mean)}, standard deviation '
        f'{_numbers(std)}, {by}.\n'
    )


def _classes(classes: tuple[str, ...]) -> str:
    more = f'; … ({len(classes)} in all)' if len(classes) > MOST_CLASSES else ''
    return f'## Classes\n\n{"; ".join(classes[:MOST_CLASSES])}{more}\n'


def _training(notes: RunNotes, metadata: dict[str, str]) -> str:
    record = notes.record
    rows = {
        'published as': metadata.get('published'),
        'what': metadata.get('what'),
        'published result': metadata.get('published_result'),
        'recipe': notes.recipe,
        'data': ', '.join(notes.data),
        'epoch': notes.epoch,
        'seed': notes.seed,
        'layer scale at the start': notes.layer_scale,
        'processes': record.get('processes'),
        'devices': ', '.join(map(str, record.get('devices', []))),
        'versions': _versions(record),
        'commit': record.get('mmbeitv2', {}).get('commit'),
        'command': ' '.join(map(str, record.get('command', []))),
    }
    known = [f'| {name} | {value} |' for name, value in rows.items() if value not in (None, '')]
    if not known:
        return '## Training\n\nThe file notes none of it.\n'
    return '\n'.join(['## Training\n', '| | |', '| --- | --- |', *known, ''])


def _results(notes: RunNotes) -> str:
    rows = [f'| {name} | {value:.5g} |' for name, value in notes.results.items()]
    return '\n'.join(
        ['## Results\n', "On the run's own validation:\n", '| | |', '| --- | --- |', *rows, '']
    )


def _versions(record: dict[str, Any]) -> str:
    packages = record.get('packages', {})
    # The forks of OpenMMLab's packages are called onedl-….
    found = {name.removeprefix('onedl-'): version for name, version in packages.items()}
    versions = [f'{name} {found[name]}' for name in PACKAGES if name in found]
    if 'python' in record:
        versions.append(f'Python {record["python"]}')
    return ', '.join(versions)


def _numbers(values: tuple[float, ...]) -> str:
    return '(' + ', '.join(f'{value:g}' for value in values) + ')'
