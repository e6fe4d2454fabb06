"""The hosts' own inferencers take configs and checkpoints of this project as they are."""

from pathlib import Path

import mmcv
import numpy as np
import pytest
import torch
import yaml
from mmengine.registry import DefaultScope
from mmpretrain import FeatureExtractor, ImageClassificationInferencer, get_model, inference_model
from mmpretrain.apis import ModelHub
from mmseg.apis import MMSegInferencer, init_model
from mmseg.apis import inference_model as segment
from PIL import Image

from mmbeitv2.apis import load_encoder
from mmbeitv2.launch.config import load_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def mmpretrain_scope():
    """Its inferencer's; a script has it once a model is built."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


@pytest.mark.usefixtures('mmpretrain_scope')
def test_mmpretrain_classifies_photos_and_arrays(classifier, photos, tmp_path):
    config, checkpoint = map(str, classifier)
    inferencer = ImageClassificationInferencer(config, pretrained=checkpoint, device='cpu')
    paths = [str(photos / name) for name in ('b.png', 'e.png')]
    of_files = inferencer(paths, batch_size=2, show_dir=tmp_path / 'drawn')
    of_arrays = inferencer([mmcv.imread(path) for path in paths])
    for found, other in zip(of_files, of_arrays):
        np.testing.assert_allclose(found['pred_scores'], other['pred_scores'], atol=1e-5)
        assert found['pred_class'] == 'abcdefgh'[found['pred_label']]
    assert {path.name for path in (tmp_path / 'drawn').iterdir()} == {'b.png', 'e.png'}


@pytest.mark.usefixtures('mmpretrain_scope')
def test_mmpretrain_extracts_what_load_encoder_does(classifier, photos):
    config, checkpoint = map(str, classifier)
    extract = FeatureExtractor(config, pretrained=checkpoint, device='cpu')
    ((feature,),) = extract(str(photos / 'b.png'))
    encoder = load_encoder(checkpoint, precision='float32')
    expected = encoder.from_photo(photos / 'b.png')['mean']
    torch.testing.assert_close(feature, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures('mmpretrain_scope')
def test_mmpretrains_inference_model_takes_a_model_of_an_index(
    classifier, photos, tmp_path, monkeypatch
):
    config, checkpoint = map(str, classifier)
    # What it can do with a model it knows from the model's index alone.
    entry = dict(
        Name='tiny-beitv2',
        Config=config,
        Weights=checkpoint,
        Results=[dict(Task='Image Classification', Dataset='x', Metrics={'Top 1 Accuracy': 1.0})],
    )
    (tmp_path / 'index.yml').write_text(yaml.safe_dump(dict(Models=[entry])))
    monkeypatch.setattr(ModelHub, '_models_dict', {})
    ModelHub.register_model_index(tmp_path / 'index.yml')
    found = inference_model(get_model('tiny-beitv2', pretrained=True), str(photos / 'b.png'))
    inferencer = ImageClassificationInferencer(config, pretrained=checkpoint, device='cpu')
    assert found['pred_class'] == inferencer(str(photos / 'b.png'))[0]['pred_class']


@pytest.fixture
def demo_config(tmp_path):
    """Write a config of the demo without the weights that it starts from."""

    def write(name):
        cfg = load_config(ROOT / 'configs/demo' / name)
        cfg.model.backbone.init_cfg = None
        if 'target_generator' in cfg.model:
            cfg.model.target_generator.init_cfg = None
            cfg.model.target_generator.quantizer.kmeans_init = False
        cfg.dump(tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.mark.usefixtures('mmpretrain_scope')
def test_mmpretrain_classifies_by_a_linear_probe(demo_config, photos):
    config = demo_config('linear_probe_demo.py')
    inferencer = ImageClassificationInferencer(config, pretrained=False, device='cpu')
    (found,) = inferencer(str(photos / 'b.png'))
    # By the mean of the patches, the last of its classifiers.
    extract = FeatureExtractor(inferencer.model, pretrained=False, device='cpu')
    ((pair,),) = extract(str(photos / 'b.png'))
    logits = inferencer.model.head.classifiers['avg'].eval()(pair[1][None])
    np.testing.assert_allclose(found['pred_scores'], logits.softmax(-1)[0].detach(), atol=1e-5)
    assert found['pred_label'] == int(logits.argmax())


@pytest.mark.usefixtures('mmpretrain_scope')
def test_a_pretraining_models_two_views_are_refused_with_what_serves(demo_config, photos, beitv2):
    config = demo_config('beitv2_demo.py')
    extract = FeatureExtractor(config, pretrained=False, device='cpu')
    with pytest.raises(ValueError, match='load_encoder') as refusal:
        extract(str(photos / 'b.png'))
    assert '\n' not in str(refusal.value)
    views = torch.zeros(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"student's view alone.*load_encoder"):
        beitv2.extract_feat([views, views])
    (feature,) = beitv2.eval().extract_feat(views)
    assert feature.shape == (1, 48)


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_mmseg_segments_photos_and_arrays_alike(segmenter, photos):
    config, checkpoint = map(str, segmenter)
    path = str(photos / 'b.png')
    of_file = segment(init_model(config, checkpoint, device='cpu'), path)
    of_array = segment(init_model(config, checkpoint, device='cpu'), mmcv.imread(path))
    maps = [sample.pred_sem_seg.data[0].numpy() for sample in (of_file, of_array)]
    inferencer = MMSegInferencer(config, checkpoint, device='cpu')
    maps += [inferencer(given)['predictions'] for given in (path, mmcv.imread(path))]
    assert maps[0].shape == (70, 80)
    assert len(np.unique(maps[0])) > 1
    assert all(np.array_equal(maps[0], other) for other in maps[1:])


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_mmsegs_inferencer_reads_a_photo_as_training_does(segmenter, photos):
    turned = Image.open(photos / 'a/c.jpg')
    turned.getexif()[0x0112] = 6
    turned.save(photos / 'turned.jpg', exif=turned.getexif())
    inferencer = MMSegInferencer(*map(str, segmenter), device='cpu')
    # Not by its EXIF orientation: masks are drawn on the stored pixels.
    assert inferencer(str(photos / 'turned.jpg'))['predictions'].shape == (70, 80)
