"""The codebook atlas: one page that shows what every code of a tokenizer stands for.

The page's own text, style and scripts lie in ``pages/atlas``; here they get the data.
"""

import base64
import json
from collections.abc import Iterator
from datetime import date
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.codebook_geometry import codebook_plane, nearest_codes
from mmbeitv2.evaluation.codebook_survey import CodebookSurvey
from mmbeitv2.reports.sprites import Sprites, draw_sprites

PAGES = Path(__file__).parent / 'pages' / 'atlas'
# In this order: each uses names of those before it.
SCRIPTS = ('data', 'grid', 'detail', 'codes', 'map', 'photos', 'app')
NEIGHBOURS = 8
TOP_CLASSES = 4
# Places on the map are whole numbers up to it: shorter than fractions, finer than any screen.
MAP_SIDE = 10_000
LEAST_MEGABYTES, MOST_MEGABYTES = 1, 500


def write_atlas(
    survey: CodebookSurvey, path: str | Path, title: str, megabytes: float = 48
) -> Path:
    """Write the page, which needs no other file, no server and no network.

    Args:
        survey: of :func:`mmbeitv2.apis.survey_codebook`.
        path: of the page; folders are made.
        title: says whose codebook it is, such as the checkpoint's name.
        megabytes: most that it may take; photos are drawn as large as fits.

    Returns:
        The path.

    Raises:
        ValueError: a size that is no number from 1 to 500, or too small for the photos and codes.
    """
    check_megabytes(megabytes)
    data = json.dumps(_page_data(survey, title), separators=(',', ':'), ensure_ascii=False)
    # Of a file name that is no text; JSON writes such letters so as well.
    data = data.encode(errors='backslashreplace').decode()
    budget = int(megabytes * 1e6) - len(data.encode()) - 100_000
    photos, faces = draw_sprites(survey, budget)
    if photos.bytes_in_page + faces.bytes_in_page > budget:
        raise InputError(
            f'{len(survey.photos)} photos and {len(survey.codebook)} codes do not fit '
            f'{megabytes:g} megabytes: allow more of them, or show fewer photos.'
        )
    page = Template((PAGES / 'page.html').read_text(encoding='utf-8')).substitute(
        title=escape(title),
        style=(PAGES / 'page.css').read_text(encoding='utf-8'),
        data=_in_script(data),
        sheets='\n'.join(_sheets(photos, 'photos')) + '\n'.join(_sheets(faces, 'faces')),
        script='\n'.join((PAGES / f'{n}.js').read_text(encoding='utf-8') for n in SCRIPTS),
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding='utf-8')
    return path


def check_megabytes(megabytes: float) -> None:
    """Refuse a size that no page has.

    Raises:
        ValueError: no number from 1 to 500.
    """
    if not LEAST_MEGABYTES <= megabytes <= MOST_MEGABYTES:
        raise InputError(
            f'megabytes is {megabytes}, allowed: {LEAST_MEGABYTES} to {MOST_MEGABYTES}, such as 48.'
        )


def _in_script(text: str) -> str:
    """JSON that cannot end the element it stands in, whatever a file is called."""
    return text.replace('<', '\\u003c').replace('>', '\\u003e')


def _sheets(sprites: Sprites, kind: str) -> Iterator[str]:
    """Elements that no browser decodes before they are asked for."""
    for number, sheet in enumerate(sprites.sheets):
        data = base64.b64encode(sheet).decode()
        yield (
            f'<script type="text/plain" id="{kind}-{number}" data-columns="{sprites.columns}" '
            f'data-side="{sprites.side}">{data}</script>'
        )


def _page_data(survey: CodebookSurvey, title: str) -> dict[str, Any]:
    census = survey.census
    used = int(survey.used.sum())
    return dict(
        title=title,
        date=date.today().isoformat(),
        total=len(survey.codebook),
        used=used,
        perplexity=round(census.perplexity, 1),
        seen=census.seen,
        patches=int(census.patches.sum()),
        grid=list(survey.grid),
        side=survey.side,
        classes=list(survey.classes),
        labelled=census.labelled.tolist(),
        codes=_codes(survey),
        photos=dict(
            names=list(survey.names),
            labels=list(survey.labels),
            codes=base64.b64encode(survey.codes.numpy().astype('<u2').tobytes()).decode(),
        ),
    )


def _codes(survey: CodebookSurvey) -> dict[str, Any]:
    """Columns of the table of codes; what is flat here has a fixed number for each code."""
    census = survey.census
    near, cosine = nearest_codes(survey.codebook, NEIGHBOURS)
    place, explained = codebook_plane(survey.codebook, survey.used)
    return dict(
        patches=census.patches.tolist(),
        photos=census.photos.tolist(),
        area=[round(value, 2) for value in census.area.tolist()],
        colour=[f'{r:02x}{g:02x}{b:02x}' for r, g, b in census.colours.round().int().tolist()],
        purity=_thousandths(census.purity),
        sure=_thousandths(census.sure_purity),
        classes=_top_classes(census.class_photos),
        near=near.flatten().tolist(),
        cosine=_thousandths(cosine.flatten()),
        neighbours=near.shape[1],
        place=_on_map(place),
        explained=round(explained, 3),
        exemplars=[[n for pair in row for n in pair] for row in survey.exemplars],
    )


def _thousandths(values: Tensor) -> list[int | None]:
    """Whole thousandths; None for NaN, which JSON does not know."""
    rounded = (values.double() * 1000).round()
    return [None if np.isnan(value) else int(value) for value in rounded.tolist()]


def _top_classes(class_photos: Tensor) -> list[list[int]]:
    """Class and photos of the commonest classes of each code, one after the other."""
    if not class_photos.shape[1]:
        return [[] for _ in class_photos]
    best = class_photos.topk(min(TOP_CLASSES, class_photos.shape[1]), dim=1)
    rows = zip(best.indices.tolist(), best.values.tolist())
    return [[n for c, count in zip(*row) if count for n in (c, count)] for row in rows]


def _on_map(place: Tensor) -> list[int]:
    """Both coordinates in one scale, so that distances stay comparable."""
    low, high = place.amin(0), place.amax(0)
    scale = (high - low).max().clamp(min=1e-12)
    centred = (place - (low + high) / 2) / scale + 0.5
    return (centred * MAP_SIDE).round().to(torch.long).flatten().tolist()
