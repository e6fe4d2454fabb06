"""Whoever gets a converted checkpoint loads it by the lines that lie beside it."""

import json
import os
import re
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from models_of_projects import CLASSIFIER_BACKBONE, assert_equal
from PIL import Image
from torch.testing import assert_close

from mmbeitv2.apis import extract_features
from mmbeitv2.exchange.conversion import convert
from mmbeitv2.exchange.fine_tuned import load_fine_tuned
from mmbeitv2.models import BEiTViT

CLASSES = [f'species {i}' for i in range(10)]
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
STARTED = '20260102_030405'
CONFIG = dict(
    default_scope='mmpretrain',
    data_preprocessor=dict(
        num_classes=10, mean=[255 * v for v in MEAN], std=[255 * v for v in STD], to_rgb=False
    ),
    model=dict(
        type='ImageClassifier',
        backbone=dict(type='mmbeitv2.BEiTViT', **{**CLASSIFIER_BACKBONE, 'init_values': 0.5}),
        head=dict(type='mmbeitv2.LinearClsHead', num_classes=10, in_channels=48),
    ),
    train_dataloader=dict(dataset=dict(type='mmbeitv2.Photos', data_root='/home/me/our_photos/')),
    test_dataloader=dict(
        dataset=dict(
            type='mmbeitv2.Photos',
            pipeline=[
                dict(type='mmbeitv2.LoadCenterCrop', size=64, short_side=80),
                dict(type='PackInputs'),
            ],
        )
    ),
)


def execute(lines):
    """What the lines leave behind."""
    names = {}
    exec(lines, names)
    return names


def lines_of(card):
    """The code of a card: what a reader copies."""
    return re.search(r'```python\n(.*?)```', card.read_text(), re.DOTALL)[1]


def of_bgr():
    """The config with photos as mmcv reads them."""
    config = Config(CONFIG)
    config.test_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromFile')
    return config.to_dict()


@pytest.fixture
def run(classifier, tmp_path):
    """Write the folder of a run that fine-tuned the classifier; its checkpoint."""

    def write(config=CONFIG):
        folder = tmp_path / 'run'
        (folder / STARTED).mkdir(parents=True)
        record = dict(
            command=['tools/train.py', 'recipe.py'],
            packages={'torch': '9.8.7', 'onedl-mmpretrain': '6.5.4', 'unrelated': '1'},
            mmbeitv2=dict(commit='abc123'),
        )
        (folder / STARTED / 'run.json').write_text(json.dumps(record))
        (folder / STARTED / 'vis_data').mkdir()
        looks = (
            dict(lr=0.1, loss=2.0, epoch=7, iter=7, step=7),
            {'accuracy/top1': 11.0, 'time': 0.5, 'step': 6},
            {'accuracy/top1': 43.25, 'time': 0.5, 'step': 7},
        )
        lines = ''.join(f'{json.dumps(look)}\n' for look in looks)
        (folder / STARTED / 'vis_data/scalars.json').write_text(lines)
        meta = dict(
            cfg=Config(config).pretty_text,
            epoch=7,
            seed=11,
            experiment_name=f'my_recipe_{STARTED}',
            dataset_meta=dict(classes=CLASSES),
        )
        torch.save(dict(meta=meta, state_dict=classifier[1]), folder / 'epoch_7.pth')
        return folder / 'epoch_7.pth'

    return write


@pytest.fixture
def photo(tmp_path):
    """A photo of smooth colours, larger than what models see."""
    y, x = np.mgrid[0:120, 0:160] / 160
    pixels = np.stack([x, y, 1 - x * y], axis=-1) * 255
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / 'photo.png')
    return tmp_path / 'photo.png'


class TestLines:
    @pytest.mark.parametrize('project', ['timm', 'transformers', 'mmpretrain'])
    def test_classifier(self, project, classifier, tmp_path, images):
        if project == 'transformers':
            pytest.importorskip('transformers')
        model, state = classifier
        torch.save(state, tmp_path / 'classifier.pth')
        out = tmp_path / ('out' if project == 'transformers' else 'out.pth')
        conversion = convert(tmp_path / 'classifier.pth', out, project)
        found = execute(conversion.lines)['model']
        with torch.no_grad():
            output = found(images)
            assert_equal(getattr(output, 'logits', output), model(images))

    @pytest.mark.parametrize('project', ['timm', 'transformers', 'safetensors'])
    def test_pretraining_gives_features(self, project, beitv2, randomize, tmp_path, images):
        if project == 'transformers':
            pytest.importorskip('transformers')
        model = randomize(beitv2)
        torch.save(model.state_dict(), tmp_path / 'pretraining.pth')
        out = tmp_path / ('out' if project == 'transformers' else 'out.safetensors')
        conversion = convert(tmp_path / 'pretraining.pth', out, project)
        found = execute(conversion.lines)['model']
        expected = extract_features(model, images)['cls_token']
        with torch.no_grad():
            if project == 'timm':
                output = found(images)
            elif project == 'transformers':
                output = found(images).last_hidden_state[:, 0]
            else:
                output = extract_features(found, images)['cls_token']
        assert_equal(output, expected)

    def test_pretraining_fine_tuned_in_mmpretrain_keeps_its_positions(
        self, beitv2, randomize, tmp_path, images
    ):
        torch.save(randomize(beitv2).state_dict(), tmp_path / 'pretraining.pth')
        conversion = convert(tmp_path / 'pretraining.pth', tmp_path / 'out.pth', 'mmpretrain')
        model = execute(conversion.lines)['model']
        arch = dict(embed_dim=48, depth=5, num_heads=4)
        ours = BEiTViT(**{**CLASSIFIER_BACKBONE, 'arch': arch}).eval()
        ours.load_checkpoint(str(tmp_path / 'pretraining.pth'))
        with torch.no_grad():
            assert_equal(model.extract_feat(images)[-1], ours(images)[0])
        tables = [n for n in model.state_dict() if n.endswith('relative_position_bias_table')]
        assert len(tables) == 5
        assert all(model.state_dict()[name].abs().min() > 0 for name in tables)

    @pytest.mark.parametrize('project', ['mmpretrain', 'official'])
    def test_tokenizer(self, project, vqkd, randomize, tmp_path, images):
        model = randomize(vqkd)
        torch.save(model.state_dict(), tmp_path / 'vqkd.pth')
        # Its encoder has no table that would show them, and the file of the other project no note.
        conversion = convert(tmp_path / 'vqkd.pth', tmp_path / 'o.pth', project, num_heads=4)
        found = execute(conversion.lines)['model']
        with torch.no_grad():
            codes = found(images) if project == 'mmpretrain' else found.tokenize(images)
        assert torch.equal(codes.flatten(1), model(images, mode='tensor').flatten(1))

    def test_arguments_of_timm_are_those_that_differ_from_its_model(self, classifier, tmp_path):
        torch.save(classifier[1], tmp_path / 'classifier.pth')
        lines = convert(tmp_path / 'classifier.pth', tmp_path / 'out.pth', 'timm').lines
        given = set(re.findall(r'^    (\w+)=', lines, re.MULTILINE))
        assert given == {
            *('checkpoint_path', 'num_classes', 'img_size', 'embed_dim', 'depth', 'num_heads')
        }

    def test_timm_without_layer_scale(self, tmp_path, images, randomize):
        """Its create_model passes over None, and would build a scale that no tensor fills."""
        backbone = randomize(BEiTViT(**CLASSIFIER_BACKBONE | dict(init_values=None)))
        state = {f'backbone.{n}': v for n, v in backbone.state_dict().items()}
        torch.save(state, tmp_path / 'backbone.pth')
        conversion = convert(tmp_path / 'backbone.pth', tmp_path / 'out.pth', 'timm')
        with torch.no_grad():
            assert_equal(execute(conversion.lines)['model'](images), backbone(images)[0])


class TestTransformersFolder:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip('transformers')

    def test_pipeline_answers_as_we_do(self, run, photo, tmp_path):
        from transformers import pipeline

        checkpoint = run()
        convert(checkpoint, tmp_path / 'out', 'transformers')
        ours = load_fine_tuned(checkpoint, 'classifier')
        sample = ours.pipeline(dict(img_path=str(photo)))
        batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        with torch.no_grad():
            scores = ours.model.test_step(batch)[0].pred_score
        answers = pipeline('image-classification', str(tmp_path / 'out'))(str(photo), top_k=10)
        assert [answer['label'] for answer in answers] == [
            CLASSES[i] for i in scores.argsort(descending=True)
        ]
        for answer in answers:
            assert answer['score'] == pytest.approx(
                float(scores[CLASSES.index(answer['label'])]), abs=5e-3
            )

    def test_processor_makes_the_view_of_the_run(self, run, photo, tmp_path):
        checkpoint = run()
        convert(checkpoint, tmp_path / 'out', 'transformers')
        processor = execute(lines_of(tmp_path / 'out' / 'README.md'))['processor']
        found = processor(Image.open(photo), return_tensors='pt').pixel_values
        ours = load_fine_tuned(checkpoint, 'classifier')
        sample = ours.pipeline(dict(img_path=str(photo)))
        batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
        expected = ours.model.data_preprocessor(batch)['inputs']
        # A step of uint8, rounded by one library up and by the other down.
        assert_close(found, expected, atol=1.01 / 255 / min(STD), rtol=0)

    def test_config_has_the_classes_and_the_layer_scale_of_the_run(self, run, tmp_path):
        from transformers import AutoConfig

        convert(run(), tmp_path / 'out', 'transformers')
        config = AutoConfig.from_pretrained(tmp_path / 'out')
        assert config.id2label == dict(enumerate(CLASSES))
        assert config.label2id['species 3'] == 3
        assert config.layer_scale_init_value == 0.5

    def test_other_channels_have_no_processor(self, randomize, tmp_path):
        backbone = randomize(BEiTViT(in_chans=4, **CLASSIFIER_BACKBONE))
        state = {f'backbone.{n}': v for n, v in backbone.state_dict().items()}
        torch.save(state, tmp_path / 'bands.pth')
        conversion = convert(tmp_path / 'bands.pth', tmp_path / 'out', 'transformers')
        assert conversion.equal
        assert not (tmp_path / 'out' / 'preprocessor_config.json').exists()
        assert execute(conversion.lines)['model'].config.num_channels == 4

    def test_a_model_of_bgr_is_refused(self, run, tmp_path):
        with pytest.raises(ValueError, match=r'in the order BGR.*to_rgb=True'):
            convert(run(of_bgr()), tmp_path / 'out', 'transformers')
        assert not (tmp_path / 'out').exists()


class TestCard:
    def test_says_what_the_run_noted(self, run, tmp_path):
        convert(run(), tmp_path / 'out.safetensors', 'timm')
        card = (tmp_path / 'out.safetensors.md').read_text()
        for row in (
            '| recipe | my_recipe |',
            '| epoch | 7 |',
            '| data | our_photos |',
            '| accuracy/top1 | 43.25 |',
            '| seed | 11 |',
            '| layer scale at the start | 0.5 |',
            '| versions | torch 9.8.7, mmpretrain 6.5.4 |',
            '| commit | abc123 |',
        ):
            assert row in card
        assert '11' not in card.partition('## Results')[2]
        assert '/home' not in card
        assert 'mean (0.5, 0.4, 0.3), standard deviation (0.25, 0.2, 0.3), as its run' in card
        assert 'shorter side has 80' in card

    def test_says_bgr_and_mmpretrain_is_told(self, run, tmp_path):
        lines = convert(run(of_bgr()), tmp_path / 'out.pth', 'mmpretrain').lines
        preprocessor = execute(lines)['classifier']['data_preprocessor']
        assert preprocessor['to_rgb'] is False
        assert preprocessor['mean'] == [127.5, 102.0, 76.5]
        assert 'BGR, the centre of 64' in (tmp_path / 'out.pth.md').read_text()

    def test_says_rgb_of_pretraining_whose_preprocessor_turns_bgr_round(
        self, beitv2, randomize, tmp_path
    ):
        # As mmpretrain's own config of BEiT v2 has it, without a test.
        cfg = dict(
            data_preprocessor=dict(
                mean=[255 * v for v in MEAN], std=[255 * v for v in STD], to_rgb=True
            ),
            train_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')])),
        )
        content = dict(
            state_dict=randomize(beitv2).state_dict(), meta=dict(cfg=Config(cfg).pretty_text)
        )
        torch.save(content, tmp_path / 'pretraining.pth')
        convert(tmp_path / 'pretraining.pth', tmp_path / 'out.pth', 'timm')
        card = (tmp_path / 'out.pth.md').read_text()
        assert 'RGB, the centre' in card
        assert 'mean (0.5, 0.4, 0.3)' in card

    def test_config_that_is_no_data_does_not_keep_weights_from_being_converted(self, run, tmp_path):
        checkpoint = run()
        content = torch.load(checkpoint, weights_only=True)
        content['meta']['cfg'] = 'mean = open("secret").read()'
        torch.save(content, checkpoint)
        assert convert(checkpoint, tmp_path / 'out.pth', 'timm').equal
        assert 'the file notes none' in (tmp_path / 'out.pth.md').read_text()

    def test_says_what_is_not_known(self, classifier, tmp_path):
        torch.save(classifier[1], tmp_path / 'weights.pth')
        convert(tmp_path / 'weights.pth', tmp_path / 'out.pth', 'timm')
        card = (tmp_path / 'out.pth.md').read_text()
        assert 'The file notes none of it.' in card
        assert 'mean (0.485, 0.456, 0.406)' in card
        assert 'as the paper: the file notes none' in card

    def test_of_somebody_else_is_kept(self, classifier, tmp_path):
        torch.save(classifier[1], tmp_path / 'weights.pth')
        (tmp_path / 'out.pth.md').write_text('mine')
        with pytest.raises(FileExistsError, match=r'out\.pth\.md exists'):
            convert(tmp_path / 'weights.pth', tmp_path / 'out.pth', 'timm')
        assert not (tmp_path / 'out.pth').exists()


def test_files_are_readable_as_the_umask_allows(classifier, tmp_path):
    torch.save(classifier[1], tmp_path / 'weights.pth')
    before = os.umask(0o027)
    try:
        convert(tmp_path / 'weights.pth', tmp_path / 'out.safetensors', 'safetensors')
    finally:
        os.umask(before)
    for path in Path(tmp_path).glob('out.*'):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
