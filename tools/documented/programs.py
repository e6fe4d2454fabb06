"""Run the blocks of Python of one page, one after the other, as a notebook does.

    python -m documented.programs BLOCKS.json RESULTS.json

Prints what the blocks print; the results hold seconds and the error of each.
"""

import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Before the first block of a page: what its sentences say a reader has.
IMAGES = """
import torch
pixels = torch.randint(256, (2, 3, 96, 96), dtype=torch.uint8)
images = pixels / 127.5 - 1
"""
OLD_TOKENIZER = """
import torch
from mmbeitv2.models import VQKDTokenizer
old = VQKDTokenizer(
    dict(img_size=(144, 256), embed_dim=64, depth=1, num_heads=1),
    quantizer=dict(num_codes=16, code_dim=8, kmeans_init=False),
).state_dict()
torch.save({k: v for k, v in old.items() if not k.endswith('_extra_state')}, 'old.pth')
"""
TIMM_FILES = """
import subprocess, sys, timm, torch
for name, build in (
    ('finetuned', dict(num_classes=1000)),
    ('pretrained', dict(num_classes=0, global_pool='token')),
):
    weights = timm.create_model('beitv2_base_patch16_224', **build).state_dict()
    from safetensors.torch import save_file
    save_file(weights, name + '.safetensors')
"""
BEFORE = {
    'README.md': IMAGES,
    'docs/checkpoints.md': IMAGES + OLD_TOKENIZER + TIMM_FILES,
}
# A name that a sentence shortens: a file in its place.
INSTEAD = {'configs/segmentation/upernet_….py': 'configs/demo/upernet_demo.py'}


def run_blocks(blocks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run blocks in one namespace.

    Args:
        blocks: of one page, each with ``page``, ``line`` and ``text``.

    Returns:
        for each block its line, the seconds, and the last line of its error or an empty text.
    """
    namespace: dict[str, Any] = {'__name__': '__main__'}
    results = []
    exec(BEFORE.get(blocks[0]['page'], ''), namespace)
    for block in blocks:
        start, error = time.monotonic(), ''
        text = block['text']
        for written, file in INSTEAD.items():
            text = text.replace(written, file)
        try:
            # With its own line numbers in a traceback.
            exec(compile('\n' * block['line'] + text, block['page'], 'exec'), namespace)
        except Exception as failure:
            traceback.print_exc()
            error = f'{type(failure).__name__}: {failure}'.splitlines()[0]
        seconds = time.monotonic() - start
        results.append(dict(line=block['line'], seconds=seconds, error=error))
    return results


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    source, target = sys.argv[1:] if argv is None else argv
    blocks = json.loads(Path(source).read_text(encoding='utf-8'))
    Path(target).write_text(json.dumps(run_blocks(blocks)), encoding='utf-8')


if __name__ == '__main__':
    main()
