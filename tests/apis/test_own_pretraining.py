"""``pretrain`` of a notebook: the command's own words as an error, and what a run has left."""

import json

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.apis import OwnRun, pretrain


def test_the_commands_line_is_the_error(tmp_path, capsys):
    (tmp_path / 'photos').mkdir()
    for i in range(3):
        pixels = np.full((70, 70, 3), 80 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'photos' / f'{i}.png')
    with pytest.raises(ValueError, match='has 3 photos, needed: 100 or more') as refusal:
        pretrain(tmp_path / 'photos', tmp_path / 'run', hours=1, image_size=64)
    assert '\n' not in str(refusal.value)
    assert '3 photos (3 RGB)' in capsys.readouterr().out
    # Of a wish that the command line's own check refuses.
    with pytest.raises(ValueError, match=r'^--hours is 0\.0, allowed: above 0'):
        pretrain(tmp_path / 'photos', tmp_path / 'run', hours=0)
    with pytest.raises(FileNotFoundError, match='is no folder'):
        pretrain(tmp_path / 'nowhere', tmp_path / 'run')


def test_what_a_run_has_left_is_read(tmp_path):
    (tmp_path / 'report').mkdir()
    (tmp_path / 'plan.json').write_text(json.dumps(dict(num_codes=32)))
    (tmp_path / 'report' / 'summary.txt').write_text('It gains.\nBy much.\n\ntable')
    (tmp_path / 'report' / 'results.json').write_text(json.dumps([dict(name='probe')]))
    run = OwnRun(tmp_path)
    assert run.verdict == 'It gains.\nBy much.'
    assert run.plan['num_codes'] == 32
    assert run.results == [dict(name='probe')]
