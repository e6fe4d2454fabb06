"""The tool that asks what a few labels are worth, on a tiny model and real photos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import few_shot

    return few_shot


@pytest.fixture
def checkpoint(beitv2, tmp_path):
    torch.save(dict(state_dict=beitv2.state_dict()), tmp_path / 'model.pth')
    return tmp_path / 'model.pth'


@pytest.fixture
def run(tool, checkpoint, demo_data, tmp_path, capsys, monkeypatch):
    # Four heads, which the tensors do not show.
    load = tool.load_pretrained
    monkeypatch.setattr(tool, 'load_pretrained', lambda path: load(path, num_heads=4))

    def run(*arguments, folder='imagenet/train'):
        result = tmp_path / 'result.json'
        options = ['--shots', '1', '3', '--draws', '4', '--json', str(result)]
        tool.main([str(checkpoint), str(demo_data / folder), *options, *arguments])
        return json.loads(result.read_text()), capsys.readouterr().out

    return run


def test_one_question_where_it_is_not_known_what_photos_show(run):
    results, printed = run()
    assert list(results) == ['other photos']
    found = results['other photos']
    assert found['classes'] == 8
    names = [
        f'{w}, {f}' for w in ('pretrained', 'random weights') for f in ('[CLS]', 'mean of patches')
    ]
    assert list(found['features']) == [*names, 'mean colours, 4 × 4']
    draws = np.array([list(by.values()) for by in found['features'].values()])
    assert draws.shape == (5, 2, 4)
    assert ((draws >= 0) & (draws <= 1)).all()
    first = found['features']['pretrained, [CLS]']['3']
    assert f'{100 * np.mean(first):.1f} ±' in printed


def test_groups_ask_about_other_things_and_name_classes_with_one(run, demo_data):
    results, printed = run('--groups', str(demo_data / 'sources.csv'))
    assert list(results) == ['other photos', 'photos of other things']
    classes = results['photos of other things']['classes']
    assert 2 <= classes <= 8
    assert ('left out' in printed) == (classes < 8)


def test_random_weights_are_drawn_as_the_config_says(tool, checkpoint, tmp_path, monkeypatch):
    config = ROOT / 'configs/demo/beitv2_demo.py'
    monkeypatch.setattr(
        tool,
        'load_pretrained',
        lambda path: tool.MODELS.build(
            {**tool.load_config(config).model, 'target_generator': None}
        ),
    )
    args = tool.parse_args([str(checkpoint), str(tmp_path), '--config', str(config)])
    random = tool.networks(args)['random weights']
    # The demo draws from four times as wide a distribution as the paper, cut at its deviation.
    spread = random.backbone.blocks[0].mlp.fc1.weight.abs().max().item()
    assert spread == pytest.approx(0.08, rel=0.01)


@pytest.mark.parametrize(
    ('folder', 'message'),
    [('nowhere', 'no folder'), ('imagenet', 'has photos of 0 classes, needed are 2')],
)
def test_bad_folders_are_one_line(tool, checkpoint, demo_data, folder, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool.main([str(checkpoint), str(demo_data / folder)])
    assert message in capsys.readouterr().err


def test_a_photo_that_the_groups_lack_is_named(run, tmp_path, capsys):
    table = tmp_path / 'groups.csv'
    table.write_text('photo,shows\na.jpg,a\n')
    with pytest.raises(SystemExit, match='2'):
        run('--groups', str(table))
    assert 'does not say what' in capsys.readouterr().err
