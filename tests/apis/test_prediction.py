"""Classes of photos by a fine-tuned checkpoint alone: as the hosts predict them, or a line."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain import ImageClassificationInferencer
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS as SEGMENTORS
from photo_files import write_photo
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from mmbeitv2.apis import Segmenter, classify
from mmbeitv2.apis.class_map import class_map
from mmbeitv2.checkpoints import sources
from mmbeitv2.checkpoints.catalogue import catalogue
from mmbeitv2.checkpoints.published_files import MIRROR
from mmbeitv2.checkpoints.translation import open_checkpoint, translate
from mmbeitv2.errors import UserError
from mmbeitv2.exchange.deployment.sources import open_deployable
from mmbeitv2.exchange.exporting import export
from mmbeitv2.exchange.fine_tuned import load_fine_tuned
from mmbeitv2.exchange.writing import write_file
from mmbeitv2.launch.config import load_config

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def rewrite(checkpoint, **changes):
    """Change what a checkpoint's meta holds; None takes it out."""
    content = torch.load(checkpoint, weights_only=True)
    for name, value in changes.items():
        content['meta'][name] = value(content['meta'][name]) if callable(value) else value
    torch.save(content, checkpoint)


def test_scores_are_those_of_mmpretrain_and_names_those_of_training(classifier, photos):
    config, checkpoint = map(str, classifier)
    found = classify(checkpoint, photos, batch_size=2, precision='float32')
    assert found.names == ['a/c.jpg', 'a/d.png', 'b.png', 'e.png', 'z.bmp']
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        inferencer = ImageClassificationInferencer(config, pretrained=checkpoint, device='cpu')
        expected = inferencer([str(photos / name) for name in found.names])
    for row, one in enumerate(expected):
        np.testing.assert_allclose(found.scores[row], one['pred_scores'], atol=1e-4)
        assert found.best(row, 1)[0][0] == one['pred_class']


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_class_maps_are_those_of_mmseg_whatever_sizes_share_a_batch(segmenter, photos):
    config, checkpoint = map(str, segmenter)
    write_photo(photos / 'wide.png', seed=9, size=(120, 50))
    found = list(Segmenter(checkpoint, photos, batch_size=4, precision='float32'))
    model = init_model(config, checkpoint, device='cpu')
    for photo in found:
        expected = inference_model(model, str(photos / photo.name)).pred_sem_seg.data[0].numpy()
        assert photo.labels.dtype == np.uint8
        assert np.mean(photo.labels == expected) > 0.99
    assert found[-1].labels.shape == (70, 80)
    assert {photo.name: photo.labels.shape for photo in found}['wide.png'] == (50, 120)


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_a_large_photo_is_enlarged_class_by_class(segmenter, tmp_path):
    """Of 150 classes and twelve megapixels, all at once would be 7 GB, for each photo of a step."""
    path = write_photo(tmp_path / 'large.jpg', size=(900, 700))
    fine_tuned = load_fine_tuned(segmenter[1], 'segmentation')
    model, classes = fine_tuned.model.eval(), len(fine_tuned.classes)
    with torch.no_grad(), LargestTensor() as largest:
        found = class_map(model, fine_tuned.pipeline(dict(img_path=str(path))))
    item = fine_tuned.pipeline(dict(img_path=str(path)))
    data = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
    with torch.no_grad(), LargestTensor() as largest_of_mmseg:
        (expected,) = model.test_step(data)
    assert torch.equal(found, expected.pred_sem_seg.data[0])
    assert largest_of_mmseg.numel == classes * 900 * 700
    assert largest.numel == 900 * 700


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
def test_two_classes_of_one_map_are_told_by_its_threshold(segmenter, tmp_path):
    path = write_photo(tmp_path / 'photo.png', size=(90, 70))
    config = load_config(segmenter[0])
    config.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.5)
    config.model.decode_head.loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)
    config.model.auxiliary_head = None
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = SEGMENTORS.build(config.model).eval()
    torch.manual_seed(0)
    model.init_weights()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    pipeline = load_fine_tuned(segmenter[1], 'segmentation').pipeline
    with torch.no_grad():
        found = class_map(model, pipeline(dict(img_path=str(path))))
        item = pipeline(dict(img_path=str(path)))
        data = dict(inputs=[item['inputs']], data_samples=[item['data_samples']])
        expected = model.test_step(data)[0].pred_sem_seg.data[0]
    assert torch.equal(found, expected.long())
    assert found.shape == (70, 90)
    assert 0 < found.float().mean() < 1


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return made


def test_the_tool_writes_tables_and_a_picture(classifier, photos, tmp_path, tool):
    (photos / 'e.png').write_bytes(b'')
    out = tmp_path / 'out.csv'
    picture = tmp_path / 'out.png'
    code, printed, _ = tool(
        'classify', classifier[1], photos, '--out', out, '--top', 2, '--picture', picture
    )
    assert code == 0
    assert '1 of 5 photos cannot be read and are left out: e.png (OSError: the file is' in printed
    rows = list(csv.DictReader(out.open(encoding='utf-8')))
    assert [row['photo'] for row in rows] == ['a/c.jpg', 'a/d.png', 'b.png', 'z.bmp']
    assert list(rows[0]) == ['photo', 'class_1', 'score_1', 'class_2', 'score_2']
    assert all(float(row['score_1']) >= float(row['score_2']) for row in rows)
    assert Image.open(picture).width > 300
    code, _, error = tool('classify', classifier[1], photos, '--out', out)
    assert (code, error) == (2, f'error: {out} is there already: give another, or --overwrite\n')


def test_json_names_classes_of_a_file_and_what_was_left_out(classifier, photos, tmp_path, tool):
    names = tmp_path / 'names.txt'
    names.write_text('\n'.join(f'name {i}' for i in range(8)))
    out = tmp_path / 'out.json'
    assert tool('classify', classifier[1], photos, '--out', out, '--classes', names)[0] == 0
    found = json.loads(out.read_text())
    assert found['classes'][7] == 'name 7'
    assert [len(photo['classes']) for photo in found['photos']] == [5] * 5
    assert found['unread'] == []
    names.write_text('one\ntwo')
    code, _, error = tool('classify', classifier[1], photos, '--classes', names)
    assert (code, error.count('\n')) == (2, 1)
    assert '2 names of classes are given, but' in error


def test_the_tool_writes_maps_overlays_and_shares(segmenter, photos, tmp_path, tool):
    out = tmp_path / 'segmented'
    assert tool('segment', segmenter[1], photos, '--out', out)[0] == 0
    labels = np.asarray(Image.open(out / 'maps/a/c.jpg.png'))
    assert labels.shape == (70, 80)
    named = json.loads((out / 'classes.json').read_text())
    assert named[1] == dict(name='b', colour=[20, 235, 100])
    assert Image.open(out / 'maps/a/c.jpg.png').getpalette()[3:6] == [20, 235, 100]
    overlay = np.asarray(Image.open(out / 'overlays/a/c.jpg.jpg'))
    assert overlay.shape == (70, 80, 3)
    rows = {row['photo']: row for row in csv.DictReader((out / 'shares.csv').open())}
    assert len(rows) == 5
    for number, name in enumerate('abcdefghi'):
        assert float(rows['a/c.jpg'][name]) == pytest.approx(np.mean(labels == number), abs=1e-4)
    code, _, error = tool('segment', segmenter[1], photos, '--out', out)
    assert (code, error.count('\n')) == (2, 1)
    assert 'holds files: give an empty folder' in error
    code, _, error = tool('segment', segmenter[1], photos, '--out', photos / 'segmented')
    assert (code, error.count('\n')) == (2, 1)
    assert 'lies in the folder of photos' in error


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_a_stopped_command_goes_on(segmenter, photos, tmp_path, tool, monkeypatch, capsys):
    monkeypatch.syspath_prepend(TOOLS)
    import segment_folder

    class Killed(BaseException):
        pass

    add = segment_folder.SegmentFolder.add

    def killed(folder, *arguments):
        if len(folder.lines) == 4:
            # Within a line, behind its pictures.
            with (folder.path / segment_folder.UNFINISHED).open('a') as file:
                file.write('{"photo": "b.p')
            raise Killed
        add(folder, *arguments)

    out = tmp_path / 'out'
    command = ('segment', segmenter[1], photos, '--out', out)
    with monkeypatch.context() as patch:
        patch.setattr(segment_folder.SegmentFolder, 'add', killed)
        with pytest.raises(Killed):
            tool(*command)
    capsys.readouterr()
    maps = sorted((out / 'maps').rglob('*.png'))
    assert len(maps) == 3
    code, _, error = tool(*command, '--share', '0.3')
    assert (code, error.count('\n')) == (2, 1)
    assert 'is an unfinished run with share 0.5, now 0.3: repeat its command to go on' in error
    # One of the three is another photo now.
    changed = photos / maps[0].relative_to(out / 'maps').with_suffix('')
    Image.open(changed).rotate(180).save(changed)
    code, said, _ = tool(*command)
    assert code == 0
    assert '2 of 5 photos were done before' in said
    assert tool(*command[:-1], tmp_path / 'whole')[0] == 0
    assert contents(out) == contents(tmp_path / 'whole')


def test_photos_that_were_done_count_among_those_of_which_few_may_be_unreadable(
    segmenter, photos, tmp_path, tool, monkeypatch
):
    monkeypatch.syspath_prepend(TOOLS)
    import segment_folder

    (photos / 'z.png').write_bytes(b'no image')
    command = ('segment', segmenter[1], photos, '--out', tmp_path / 'out')
    command = (*command, '--max-unreadable', '0.2')
    with monkeypatch.context() as patch:
        # It is killed before the last line; the photo that is left cannot be read.
        patch.setattr(segment_folder.SegmentFolder, 'finish', lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tool(*command)
    code, said, _ = tool(*command)
    assert code == 0
    assert '5 of 6 photos were done before' in said
    assert 'z.png' in said
    assert len((tmp_path / 'out/shares.csv').read_text().splitlines()) == 6


def test_what_is_overwritten_keeps_no_map_of_other_photos(segmenter, photos, tmp_path, tool):
    command = ('segment', segmenter[1], photos, '--out', tmp_path / 'out')
    assert tool(*command)[0] == 0
    (tmp_path / 'out/own.txt').write_text('kept')
    (photos / 'b.png').unlink()
    assert tool(*command, '--overwrite')[0] == 0
    kept = contents(tmp_path / 'out')
    assert 'own.txt' in kept
    assert 'maps/a/c.jpg.png' in kept
    assert not [name for name in kept if '/b.png' in name]


def test_two_photos_do_not_share_a_map(segmenter, photos, tmp_path, tool):
    """A list names one below its folder and one above: the latter's map lay over the former's."""
    shutil.copy(photos / 'b.png', tmp_path / 'e.png')
    (photos / 'list.txt').write_text('e.png\n./e.png\n../e.png\n')
    code, _, error = tool('segment', segmenter[1], photos / 'list.txt', '--out', tmp_path / 'out')
    assert (code, error.count('\n')) == (2, 1)
    assert 'the photos e.png and ../e.png would both be written as e.png' in error
    (photos / 'e.png').rename(photos / f'{"x" * 249}.png')
    code, _, error = tool('segment', segmenter[1], photos, '--out', tmp_path / 'out')
    assert (code, error.count('\n')) == (2, 1)
    assert 'is too long to write' in error
    assert not (tmp_path / 'out').exists()


def test_a_checkpoint_of_another_kind_is_one_line(
    classifier, segmenter, pretrained_checkpoint, photos
):
    for checkpoint in (segmenter[1], pretrained_checkpoint):
        with pytest.raises(ValueError, match='holds no classifier: fine-tune one') as caught:
            classify(checkpoint, photos)
        assert '\n' not in str(caught.value)
    with pytest.raises(ValueError, match='holds no segmenter: fine-tune one'):
        Segmenter(classifier[1], photos)


def test_a_linear_probe_is_called_so(classifier, photos):
    content = torch.load(classifier[1], weights_only=True)
    state = content['state_dict']
    for name in ('weight', 'bias'):
        state[f'head.classifiers.cls_token.1.{name}'] = state.pop(f'head.fc.{name}')
    torch.save(content, classifier[1])
    for use in (lambda: classify(classifier[1], photos), lambda: exported(classifier[1])):
        with pytest.raises(ValueError, match='holds a linear probe, which has several') as caught:
            use()
        assert '\n' not in str(caught.value)
    assert open_deployable(classifier[1]).part == 'backbone'


def exported(checkpoint):
    return open_deployable(checkpoint, 'classifier')


def test_a_checkpoint_without_config_needs_one(classifier, photos):
    config, checkpoint = classifier
    rewrite(checkpoint, cfg=None, dataset_meta=None)
    with pytest.raises(ValueError, match='does not hold the config of its run'):
        classify(checkpoint, photos)
    found = classify(checkpoint, photos, Config.fromfile(config))
    assert found.classes == list('01234567')


@pytest.mark.parametrize('project', ['official', 'mmpretrain', 'timm', 'safetensors'])
def test_a_file_of_another_project_gives_the_same_scores(classifier, photos, project, tmp_path):
    config, checkpoint = classifier
    file = tmp_path / ('file.safetensors' if project == 'safetensors' else 'file.pth')
    exported = export(open_checkpoint(checkpoint), project)
    write_file(file, project, exported.state, {})
    ours = classify(checkpoint, photos, precision='float32')
    theirs = classify(file, photos, Config.fromfile(config), precision='float32')
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-6)


def test_published_weights_bring_the_catalogues_config(photos, tmp_path, tool, monkeypatch):
    name = 'beitv2-b16-300e-in1k'
    # A small model in the place of ViT-B/16.
    entry = replace(catalogue()[name], config='demo/finetune_demo.py')
    monkeypatch.setitem(catalogue(), name, entry)
    monkeypatch.setenv(MIRROR, str(tmp_path))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    config = load_config('mmbeitv2::demo/finetune_demo.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        state = MODELS.build(config.model).state_dict()
    exported = export(translate(state, 'model'), 'official')
    write_file(tmp_path / entry.file, 'official', exported.state, {})
    out = tmp_path / 'out.csv'
    code, printed, error = tool('classify', name, photos, '--out', out)
    assert (code, error.count('error:')) == (0, 0)
    assert '5 photos in' in printed
    # From Python as by the command.
    assert classify(name, photos).classes == list('01234567')
    assert open_deployable(name).part == 'classifier'
    # Nor is there another config for the same file by its address.
    monkeypatch.setattr(sources, 'download', lambda url: tmp_path / entry.file)
    assert classify(entry.addresses[0], photos).classes == list('01234567')
    code, _, error = tool('segment', name, photos, '--out', tmp_path / 'maps')
    assert code == 2
    assert f'{name} holds weights of kind classifier, but a segmentation is wanted' in error


def test_classes_that_a_data_set_has_by_itself_are_named(classifier, photos, tmp_path):
    cfg = Config.fromfile(classifier[0])
    cfg.model.head.num_classes = 10
    cfg.test_dataloader.dataset.type = 'CIFAR10'
    state = torch.load(classifier[1], weights_only=True)['state_dict']
    state['head.fc.weight'], state['head.fc.bias'] = torch.zeros(10, 32), torch.zeros(10)
    torch.save(state, tmp_path / 'weights.pth')
    found = classify(tmp_path / 'weights.pth', photos, cfg)
    assert found.classes[:3] == ['airplane', 'automobile', 'bird']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda cfg: cfg + '\nimport os\nx = os.getcwd()', 'holds more than plain values'),
        (lambda cfg: cfg + '\nx = open("touched", "w")', 'a call in line'),
        (lambda cfg: cfg + '\nx = (', 'holds more than plain values'),
        (lambda cfg: cfg + '\nimport os', 'no assignment in line'),
        (lambda cfg: cfg + '\nx = y = 1', 'an assignment to no plain name in line'),
        (lambda cfg: cfg + '\nx = {**dict(a=1)}', 'an unpacked dictionary in line'),
        (lambda cfg: cfg + '\nmodel.type = 1', 'an assignment to no plain name in line'),
        (
            lambda cfg: cfg.replace('mmbeitv2.BEiTViT', 'subprocess.check_call'),
            "names 'subprocess.check_call', which is no component of mmbeitv2",
        ),
        (lambda cfg: cfg.replace('mmbeitv2.BEiTViT', 'mmbeitv2.Gone'), 'cannot be built'),
    ],
)
def test_nothing_that_a_checkpoint_brings_is_run(classifier, photos, change, message):
    rewrite(classifier[1], cfg=change)
    with pytest.raises(UserError, match=message) as caught:
        classify(classifier[1], photos)
    assert '\n' not in str(caught.value)
    assert not Path('touched').exists()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(photos='nowhere'), 'no photos at nowhere'),
        (dict(batch_size=0), 'batch_size is 0 and workers 0, but must be 1 and 0'),
        (dict(max_unreadable=-1), 'max_unreadable is -1'),
        (dict(device='gpu'), "device is 'gpu', which this machine does not have"),
        (dict(precision='half'), "precision is 'half', allowed"),
    ],
)
def test_what_cannot_be_done_is_one_line(classifier, photos, options, message):
    with pytest.raises(UserError, match=message):
        classify(classifier[1], **dict(photos=photos) | options)
