"""Exported files: what the model computes, in another runtime, or one line and no file."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from photo_files import write_photo

from mmbeitv2.apis import Segmenter, classify, load_encoder, load_tokenizer, read_photos, tokenize
from mmbeitv2.apis.photos import for_tokenizer
from mmbeitv2.errors import UserError
from mmbeitv2.exchange.deployment.deploying import deploy
from mmbeitv2.exchange.deployment.formats import ONNX_PACKAGES, check_format
from mmbeitv2.exchange.deployment.normalization import measure_normalization
from mmbeitv2.exchange.deployment.options import Options, check_options
from mmbeitv2.exchange.deployment.sources import open_deployable
from mmbeitv2.exchange.fine_tuned import load_fine_tuned

ROOT = Path(__file__).resolve().parents[2]
MISSING = [name for name in ONNX_PACKAGES if find_spec(name) is None]
needs_onnx = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} missing: pip install 'mmbeitv2[export]'"
)
can_export = pytest.mark.needs_torch('2.7', 'torch.export that a model can tell from a compilation')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """A folder of nine photos of the size that the fine-tuned models see."""
    folder = tmp_path_factory.mktemp('pictures')
    for index in range(9):
        write_photo(folder / f'{"ab"[index % 2]}/{index}.png', seed=index, size=(96, 96))
    return folder


@pytest.fixture
def export(tmp_path, pictures):
    """Export a checkpoint; the file's path and its note."""

    def run(checkpoint, to, name, part=None, **options):
        path = tmp_path / 'out' / name
        model = open_deployable(checkpoint, part)
        deploy(model, path, pictures, Options(to=to, **options), report=lambda text: None)
        return path, json.loads(Path(f'{path}.json').read_text())

    return run


def paths_of(folder):
    return sorted(folder.rglob('*.png'))


@can_export
@needs_onnx
class TestONNX:
    def test_codes_are_the_tokenizer_s(self, tokenizer_checkpoint, pictures, export, tmp_path):
        import onnxruntime

        (tmp_path / 'out').mkdir()
        (tmp_path / 'out/run_onnx.py').write_text('# mine')
        path, note = export(tokenizer_checkpoint, 'onnx', 'codes.onnx', opset=18)
        session = onnxruntime.InferenceSession(str(path))
        (entry,) = session.get_inputs()
        assert (entry.shape, entry.type) == (['batch', 3, 64, 64], 'tensor(uint8)')
        photos = read_photos(paths_of(pictures)[:5], 64)
        (codes,) = session.run(None, {'pixels': photos.numpy()})
        expected = tokenize(load_tokenizer(str(tokenizer_checkpoint)), for_tokenizer(photos))
        assert codes.dtype == np.int64
        np.testing.assert_array_equal(codes, expected.numpy())
        # Nor does the file hold where on this machine it was made.
        assert str(ROOT).encode() not in path.read_bytes()
        assert [row['agreement'] for row in note['equality']] == [1, 1, 1]
        assert [row['batch'] for row in note['equality']] == [1, 3, 8]
        assert (note['opset'], note['mean'], note['checkpoint']['kind']) == (
            18,
            [0.5] * 3,
            'tokenizer',
        )
        # The example of an earlier export, which its reader has changed, stays.
        assert path.with_name('run_onnx.py').read_text() == '# mine'

    def test_the_example_gives_the_scores_of_classify_without_torch(
        self, classifier, pictures, export
    ):
        checkpoint = classifier[1]
        path, note = export(checkpoint, 'onnx', 'classes.onnx')
        photos = paths_of(pictures)[:3]
        program = (
            "import runpy, sys; sys.modules['torch'] = None; sys.argv = sys.argv[1:]; "
            "runpy.run_path(sys.argv[0], run_name='__main__')"
        )
        example = str(path.with_name('run_onnx.py'))
        ran = subprocess.run(
            [sys.executable, '-c', program, example, str(path), *map(str, photos)],
            capture_output=True,
            text=True,
            check=True,
        )
        found = classify(checkpoint, pictures, precision='float32')
        assert 'scores float32 (3, 8)' in ran.stdout.splitlines()
        printed = [line.split()[-2:] for line in ran.stdout.splitlines()[2:]]
        best = [found.best(row, 1)[0] for row in range(3)]
        assert [name for name, _ in printed] == [name for name, _ in best]
        for (_, score), (_, expected) in zip(printed, best):
            assert float(score) == pytest.approx(expected, abs=1e-3)
        # The folders of the photos are the names of two of its classes.
        assert note['accuracy']['checkpoint'] == note['accuracy']['file']

    def test_int8_below_the_agreement_asked_for_is_not_kept(
        self, tokenizer_checkpoint, export, tmp_path
    ):
        with pytest.raises(UserError, match='the file is not kept: of codes at batch 8') as caught:
            export(tokenizer_checkpoint, 'onnx', 'i.onnx', quantize='int8', least_agreement=1.0)
        assert '\n' not in str(caught.value)
        assert list((tmp_path / 'out').iterdir()) == []

    def test_calibrated_int8_leaves_the_codebook_alone(
        self, tokenizer_checkpoint, pictures, export
    ):
        import onnx

        path, note = export(
            tokenizer_checkpoint, 'onnx', 's.onnx', quantize='int8', calibrate=str(pictures)
        )
        assert note['variant'] == 'int8, static'
        assert 0.5 <= note['equality'][-1]['agreement'] < 1
        kinds = [(w.data_type, tuple(w.dims)) for w in onnx.load(str(path)).graph.initializer]
        assert (onnx.TensorProto.INT8, (48, 192)) in kinds
        assert (onnx.TensorProto.FLOAT, (8, 64)) in kinds

    @pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
    def test_class_maps_of_any_number_of_photos_are_those_of_segment(
        self, segmenter, pictures, export
    ):
        import onnxruntime

        path, _ = export(segmenter[1], 'onnx', 's.onnx')
        session = onnxruntime.InferenceSession(str(path))
        photos = read_photos(paths_of(pictures)[:7], 96).numpy()
        maps = [photo.labels for photo in Segmenter(segmenter[1], pictures, precision='float32')]
        for count in (1, 7):
            (labels,) = session.run(None, {'pixels': photos[:count]})
            assert labels.dtype == np.uint8
            assert np.mean(labels == np.stack(maps[:count])) > 0.999


@can_export
class TestTorchExport:
    def test_scores_of_any_number_of_photos_are_those_of_classify(
        self, classifier, pictures, export
    ):
        path, _ = export(classifier[1], 'torch-export', 'c.pt2')
        program = torch.export.load(path).module()
        expected = classify(classifier[1], pictures, precision='float32').scores
        photos = read_photos(paths_of(pictures), 96)
        for count in (1, 7):
            _, scores = program(photos[:count])
            np.testing.assert_allclose(scores.numpy(), expected[:count], atol=1e-5)

    def test_a_free_size_serves_the_learned_one_and_others(
        self, classifier_checkpoint, pictures, export
    ):
        path, note = export(
            classifier_checkpoint, 'torch-export', 'b.pt2', 'backbone', free_size=True
        )
        assert {tuple(row['size']) for row in note['equality']} == {(64, 64), (80, 112)}
        program = torch.export.load(path).module()
        for size in (64, 96):
            photos = read_photos(paths_of(pictures)[:4], size)
            expected = load_encoder(
                classifier_checkpoint, size=size, precision='float32'
            ).from_pixels(photos)
            for value, name in zip(program(photos), ('cls', 'mean', 'patches')):
                torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings('ignore:.*torch.jit.load.*:FutureWarning')
class TestTorchScript:
    @pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
    def test_class_maps_are_those_of_segment(self, segmenter, pictures, export):
        path, note = export(segmenter[1], 'torchscript', 's.pt')
        (labels,) = torch.jit.load(path)(read_photos(paths_of(pictures), 96))
        assert labels.dtype is torch.uint8
        maps = [photo.labels for photo in Segmenter(segmenter[1], pictures, precision='float32')]
        assert np.mean(labels.numpy() == np.stack(maps)) > 0.999
        assert note['palette'][1] == [20, 235, 100]

    def test_float_input_is_that_of_uint8_over_255(self, pretrained_checkpoint, pictures, export):
        path, note = export(pretrained_checkpoint, 'torchscript', 'p.pt', input='float')
        assert note['input']['dtype'] == 'float32'
        photos = read_photos(paths_of(pictures)[:2], 64)
        cls, _, _ = torch.jit.load(path)(photos / 255)
        expected = load_encoder(pretrained_checkpoint, precision='float32').from_pixels(photos)[
            'cls'
        ]
        torch.testing.assert_close(cls, expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.needs_torch('2.4', 'float16 on a CPU')
    def test_float16_keeps_the_classifier_s_head_in_float32(self, classifier, export):
        path, note = export(classifier[1], 'torchscript', 'c.pt', precision='float16')
        assert note['variant'] == 'float16'
        weights = dict(torch.jit.load(path).named_parameters())
        assert weights['body.model.backbone.cls_token'].dtype is torch.float16
        assert weights['body.model.head.fc.weight'].dtype is torch.float32
        last = note['equality'][-1]
        assert (last['output'], last['batch']) == ('scores', 8)
        assert 1e-7 < last['largest'] < 1e-2


class TestNormalization:
    @pytest.mark.parametrize('kind', ['classifier', 'segmenter'])
    def test_it_is_measured_whatever_order_photos_are_decoded_in(self, kind, request):
        part = dict(classifier='classifier', segmenter='segmentation')[kind]
        fine_tuned = load_fine_tuned(request.getfixturevalue(kind)[1], part)
        found = measure_normalization(fine_tuned, (96, 96), 'x.pth')
        assert found.mean == pytest.approx((0.485, 0.456, 0.406), abs=1e-5)
        assert found.std == pytest.approx((0.229, 0.224, 0.225), abs=1e-5)

    def test_of_pretraining_it_is_what_the_run_noted(self, pretrained_checkpoint):
        def opened(settings):
            cfg = dict(
                data_preprocessor=dict(mean=[0.5, 0.4, 0.3], std=[0.25, 0.2, 0.3], **settings),
                train_dataloader=dict(
                    dataset=dict(pipeline=[dict(type='mmbeitv2.LoadRandomCrop')])
                ),
            )
            content = torch.load(pretrained_checkpoint, weights_only=True)
            meta = dict(cfg=Config(cfg).pretty_text)
            torch.save({**content, 'meta': meta}, pretrained_checkpoint)
            return open_deployable(pretrained_checkpoint)

        assert open_deployable(pretrained_checkpoint).normalization.mean == (0.485, 0.456, 0.406)
        assert opened({}).normalization == ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))
        with pytest.raises(UserError, match='in the order BGR'):
            opened(dict(bgr_to_rgb=True))

    def test_swapped_channels_are_refused(self, classifier):
        fine_tuned = load_fine_tuned(classifier[1], 'classifier')
        fine_tuned.model.data_preprocessor.to_rgb = True
        with pytest.raises(UserError, match='which no mean and standard deviation of RGB gives'):
            measure_normalization(fine_tuned, (96, 96), 'x.pth')

    def test_padding_at_run_time_is_refused(self, segmenter):
        fine_tuned = load_fine_tuned(segmenter[1], 'segmentation')
        fine_tuned.model.data_preprocessor.test_cfg = dict(size_divisor=50)
        with pytest.raises(UserError, match='pads or changes photos of 96 × 96 pixels at run time'):
            measure_normalization(fine_tuned, (96, 96), 'x.pth')


class TestRefusals:
    @needs_onnx
    @can_export
    @pytest.mark.parametrize(
        ('name', 'options', 'message'),
        [
            ('m.pt', dict(), r'but with --to onnx its name must end in \.onnx'),
            ('m.onnx', dict(opset=12), '--opset is 12, allowed: 18 to 23'),
            ('m.onnx', dict(calibrate='x'), '--calibrate is for --quantize int8'),
            ('m.onnx', dict(count=7), '--count is 7 photos, allowed: 8 or more'),
            (
                'm.onnx',
                dict(quantize='int8', precision='float16'),
                'starts from float32: leave --precision out',
            ),
            ('m.onnx', dict(least_agreement=2.0), 'is 2.0, allowed: a share from 0'),
            ('m.onnx', dict(free_size=True, image_size=(64, 64)), 'leave --image-size out'),
        ],
    )
    def test_options_that_do_not_fit_onnx_are_one_line(self, name, options, message):
        self.refused(name, Options(to='onnx', **options), message)

    @pytest.mark.parametrize(
        ('options', 'message'),
        [
            (dict(opset=18), '--opset is of ONNX: leave it out'),
            (dict(free_size=True), 'which records one size'),
            (dict(quantize='int8'), '--quantize is of ONNX'),
        ],
    )
    def test_options_that_do_not_fit_torchscript_are_one_line(self, options, message):
        self.refused('m.pt', Options(to='torchscript', **options), message)

    def refused(self, name, options, message):
        with pytest.raises(UserError, match=message) as caught:
            check_options(Path(name), options)
        assert '\n' not in str(caught.value)

    def test_a_folder_that_cannot_be_written_is_one_line(self, tmp_path):
        (tmp_path / 'file').touch()
        with pytest.raises(
            OSError, match=r'nothing can be written there .*another folder'
        ) as caught:
            check_options(tmp_path / 'file/m.pt', Options(to='torchscript'))
        assert '\n' not in str(caught.value)
        assert isinstance(caught.value, UserError)

    @pytest.mark.needs_torch('2.7', 'exports')
    def test_a_missing_package_names_the_command(self, monkeypatch):
        monkeypatch.setitem(sys.modules, 'onnxscript', None)
        with pytest.raises(ImportError, match=r"onnxscript.*: pip install 'mmbeitv2\[export\]'"):
            check_format('onnx', None, False)

    def test_an_older_torch_is_offered_torchscript(self, monkeypatch):
        monkeypatch.setattr(torch, '__version__', '2.1.2')
        for to in ('onnx', 'torch-export'):
            with pytest.raises(UserError, match=r'needs torch 2\.7 or later.*--to torchscript'):
                check_format(to, None, False)
        check_format('torchscript', None, False)

    @pytest.mark.needs_torch('2.7', 'exports')
    def test_a_bias_that_is_resized_at_run_time_has_one_size(self, pretrained_checkpoint, export):
        with pytest.raises(UserError, match='resizes its relative position bias at run time'):
            export(pretrained_checkpoint, 'torch-export', 'm.pt2', free_size=True)

    def test_sizes_that_patches_do_not_fill_and_parts_that_are_not_there(
        self, pretrained_checkpoint, classifier_checkpoint, export
    ):
        with pytest.raises(UserError, match='is 60 × 64, allowed: multiples of the patch, 16'):
            export(pretrained_checkpoint, 'torchscript', 'm.pt', image_size=(60, 64))
        with pytest.raises(UserError, match='holds no tokenizer'):
            export(classifier_checkpoint, 'torchscript', 'm.pt', part='tokenizer')
        with pytest.raises(UserError, match='holds no segmenter'):
            export(pretrained_checkpoint, 'torchscript', 'm.pt', part='segmentation')

    def test_published_weights_of_another_kind_are_refused_before_any_download(self):
        with pytest.raises(UserError, match='of kind pretraining, but a classifier is wanted'):
            open_deployable('beitv2-b16-300e', 'classifier')

    def test_a_file_that_is_there_stays(self, pretrained_checkpoint, tmp_path, capsys, monkeypatch):
        monkeypatch.syspath_prepend(ROOT / 'tools')
        import export as tool

        path = tmp_path / 'm.pt'
        path.write_text('mine')
        with pytest.raises(SystemExit):
            tool.main([str(pretrained_checkpoint), '--to', 'torchscript', '--out', str(path)])
        error = capsys.readouterr().err
        assert error == f'error: {path} exists: choose another --out, or --overwrite\n'
        assert path.read_text() == 'mine'
