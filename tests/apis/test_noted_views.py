"""Tools see photos as the run that wrote the checkpoint did: its mean, its deviation, its black."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image
from torch.testing import assert_close

from mmbeitv2.apis import extract_features, for_model, load_encoder, load_pretrained, showing
from mmbeitv2.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
RANGE = (-1.0, 3.0)
PREPROCESSOR = dict(
    type='mmbeitv2.BEiTV2DataPreprocessor', mean=(0.3, 0.5, 0.2), std=(0.1, 0.3, 0.2), image_size=64
)


@pytest.fixture
def photos(tmp_path):
    """Two classes of three float photos each, from −1 to 3."""
    random = np.random.default_rng(0)
    for name in ('dark', 'light'):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        for i in range(3):
            values = random.uniform(*RANGE, (64, 64)).astype(np.float32)
            Image.fromarray(values).save(tmp_path / 'photos' / name / f'{i}.tif')
    return tmp_path / 'photos'


def pipeline_of(name, **options):
    load = dict(type=f'mmbeitv2.{name}', size=64, **options)
    # As our own pretraining writes it.
    return [dict(type='mmbeitv2.SampleSeeded', transforms=[load]), dict(type='PackInputs')]


def config(value_range):
    loaders = dict(
        train_dataloader=dict(
            dataset=dict(pipeline=pipeline_of('LoadRandomCrop', value_range=value_range))
        ),
        test_dataloader=dict(
            dataset=dict(
                pipeline=[
                    dict(type='mmbeitv2.LoadCenterCrop', size=64, value_range=value_range),
                    dict(type='PackInputs'),
                ]
            )
        ),
    )
    return Config(dict(data_preprocessor=PREPROCESSOR, **loaders))


@pytest.fixture
def saved(beitv2, tmp_path):
    """Write the model without a tokenizer, with what a run notes."""
    beitv2.target_generator = None

    def save(value_range=RANGE):
        meta = dict(cfg=config(value_range).pretty_text)
        path = tmp_path / 'noted.pth'
        torch.save(dict(state_dict=beitv2.state_dict(), meta=meta), path)
        return path

    return save


@pytest.fixture
def views(photos):
    """The student's views, by the config's own pipeline and data preprocessor."""
    cfg = config(RANGE)
    paths = sorted(photos.glob('*/*'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
        inputs = [pipeline(dict(img_path=str(path)))['inputs'] for path in paths]
        return MODELS.build(cfg.data_preprocessor)(dict(inputs=inputs))['inputs'][0]


def run_tool(monkeypatch, name, *arguments):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    module = importlib.import_module(name)
    sys.modules.pop(name)
    module.main([str(argument) for argument in arguments])


def test_an_encoder_takes_all_that_is_noted(saved, photos, views):
    encoder = load_encoder(saved(), precision='float32')
    found = encoder.from_photos(sorted(photos.glob('*/*')))
    expected = extract_features(load_pretrained(str(saved())), views)
    assert_close(found['cls'], expected['cls_token'])
    assert_close(found['patches'], expected['patch_tokens'])


def test_a_pretrained_model_normalises_as_its_run_did(saved, views):
    model = load_pretrained(str(saved()))
    pixels = torch.full((1, 3, 64, 64), 255, dtype=torch.uint8)
    white = (1 - torch.tensor([0.3, 0.5, 0.2])) / torch.tensor([0.1, 0.3, 0.2])
    assert_close(for_model(model, pixels)[0, :, 0, 0], white)
    # 7 is more than ImageNet's normalisation gives.
    extract_features(model, for_model(model, pixels))
    with pytest.raises(ValueError, match=r'allowed: RGB .*\(images − \(0.3, 0.5, 0.2\)\) / \(0.1'):
        extract_features(model, views * 255)


@pytest.mark.parametrize('random_as_in_config', [False, True])
def test_few_shot_sees_them_so(saved, photos, views, tmp_path, monkeypatch, random_as_in_config):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    few_shot = importlib.import_module('few_shot')
    arguments = [str(saved()), str(photos)]
    if random_as_in_config:
        arch = dict(embed_dim=48, depth=5, num_heads=4)
        backbone = dict(type='mmbeitv2.BEiTViT', arch=arch, img_size=64, use_mask_token=True)
        head = dict(type='mmbeitv2.MIMHead', embed_dim=48, num_codes=64)
        cfg = Config(dict(model=dict(type='mmbeitv2.BEiTV2', backbone=backbone, head=head)))
        cfg.dump(tmp_path / 'config.py')
        arguments += ['--config', str(tmp_path / 'config.py')]
    args = few_shot.parse_args(arguments)
    networks = few_shot.networks(args)
    labelled = few_shot.find_photos(photos, None)
    _, found = few_shot.features_of(labelled, networks)
    for name, model in networks.models.items():
        expected = model.backbone.eval()
        x, grid = expected.embed(views)
        x = expected.norm(expected.layers(x, grid, expected.shared_bias(grid)))
        assert_close(found[f'{name}, [CLS]'], x[:, 0].detach())


def test_show_sees_them_so(saved, photos, views, tmp_path, monkeypatch):
    seen = []
    original = showing.extract_features

    def record(model, images):
        seen.append(images)
        return original(model, images)

    monkeypatch.setattr(showing, 'extract_features', record)
    run_tool(monkeypatch, 'show', saved(), photos, '--out', tmp_path / 'figures', '--count', 2)
    every, shown = seen
    assert_close(every, views)
    assert_close(shown, views[[0, -1]])


WITHOUT_WORKERS = ('--workers', 0)
TOOLS = dict(
    embed=('--out', 'out.npz', *WITHOUT_WORKERS),
    show=('--out', 'figures', '--count', 2),
    nearest=('photos/dark/0.tif', '--picture', 'near.png', *WITHOUT_WORKERS),
    probe=('--shots', 1, '--draws', 2, *WITHOUT_WORKERS),
    few_shot=('--shots', 1, '--draws', 2),
    atlas=('--num-heads', 4, '--out', 'atlas.html'),
    classify=('--picture', 'classes.png', *WITHOUT_WORKERS),
    segment=('--out', 'maps', *WITHOUT_WORKERS),
)


@pytest.fixture
def checkpoint_for(saved, tokenizer_checkpoint, classifier, segmenter):
    """A checkpoint that the tool takes, in which no range is noted."""

    def find(tool):
        others = dict(atlas=tokenizer_checkpoint, classify=classifier[1], segment=segmenter[1])
        return others.get(tool) or saved(None)

    return find


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_takes_the_option_that_its_error_names(
    tool, checkpoint_for, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = (tool, checkpoint_for(tool), 'photos', *TOOLS[tool])
    with pytest.raises(SystemExit, match='2'):
        run_tool(monkeypatch, *arguments)
    # Above it may stand a bar.
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith('error: Image')
    assert '--value-range BLACK WHITE' in said
    run_tool(monkeypatch, *arguments, '--value-range', *RANGE)


@pytest.mark.parametrize('tool', ['embed', 'show', 'nearest', 'probe', 'few_shot'])
def test_a_noted_range_needs_no_option(tool, saved, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_tool(monkeypatch, tool, saved(), 'photos', *TOOLS[tool])


@pytest.mark.parametrize(
    'calibrated', [False, pytest.param(True, marks=pytest.mark.needs_torch('2.7', 'ONNX exports'))]
)
def test_an_export_is_compared_on_such_photos(
    calibrated, saved, photos, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    for copy in range(2):
        for path in sorted(photos.glob('*/[0-2].tif')):
            path.with_name(f'{path.stem}-{copy}.tif').write_bytes(path.read_bytes())
    options = ('--out', 'm.pt', '--to', 'torchscript', '--num-heads', 4, '--photos', 'photos')
    if calibrated:
        pytest.importorskip('onnxruntime')
        options = ('--out', 'm.onnx', '--to', 'onnx', *options[4:])
        options += ('--quantize', 'int8', '--calibrate', 'photos', '--least-agreement', 0)
    with pytest.raises(SystemExit, match='2'):
        run_tool(monkeypatch, 'export', saved(None), *options)
    assert '--value-range BLACK WHITE' in capsys.readouterr().err
    run_tool(monkeypatch, 'export', saved(None), *options, '--value-range', *RANGE)
    run_tool(monkeypatch, 'export', saved(), *options, '--overwrite')


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_a_tokenizers_and_a_segmenters_noted_ranges_need_none(
    tokenizer_checkpoint, segmenter, photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    state = torch.load(tokenizer_checkpoint, weights_only=True)
    meta = dict(cfg=config(RANGE).pretty_text)
    torch.save(dict(state_dict=state, meta=meta), tokenizer_checkpoint)
    run_tool(monkeypatch, 'atlas', tokenizer_checkpoint, 'photos', *TOOLS['atlas'])
    content = torch.load(segmenter[1], weights_only=True)
    cfg = Config.fromfile(segmenter[0])
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'] == 'LoadImageFromFile':
            step['value_range'] = RANGE
    content['meta']['cfg'] = cfg.pretty_text
    torch.save(content, segmenter[1])
    run_tool(monkeypatch, 'segment', segmenter[1], 'photos', *TOOLS['segment'])
