"""Curves over the number of labels."""

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.visualization.few_shot import FewShotPanel, few_shot_curves


@pytest.mark.parametrize('panels', [1, 2, 3])
def test_panels_leave_no_column_of_the_figure_empty(tmp_path, panels):
    draws = {'1': [0.2, 0.3, 0.25], '5': [0.5, 0.55, 0.6]}
    panel = FewShotPanel('Known objects', {'pretrained, [CLS]': draws, 'teacher': draws}, 0.1)
    path = few_shot_curves([panel] * panels, tmp_path / 'curves.png')
    pixels = np.asarray(Image.open(path).convert('L'))
    quarters = np.array_split(pixels, 4, axis=1)
    assert all((quarter < 250).mean() > 0.01 for quarter in quarters)
