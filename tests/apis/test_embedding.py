"""A folder of photos becomes one file of features: whole, resumed, or refused in a line."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from photo_files import write_photo

from mmbeitv2.apis import embed, embedding, embedding_making, embedding_parts, load_encoder
from mmbeitv2.checkpoints.turns import alone
from mmbeitv2.datasets.photo_stamps import agree, stamp
from mmbeitv2.errors import UserError
from mmbeitv2.exchange import embeddings
from mmbeitv2.exchange.embeddings import read_embeddings


@pytest.fixture
def run(pretrained_checkpoint, photos, tmp_path, monkeypatch):
    """Embed the five photos in parts of two."""
    for module in (embedding, embedding_making):
        monkeypatch.setattr(module, 'PHOTOS', 2)

    def run(out='out.npz', source=photos, checkpoint=pretrained_checkpoint, **options):
        options = dict(num_heads=4, precision='float32') | options
        return embed(checkpoint, source, tmp_path / out, **options)

    return run


@pytest.mark.parametrize('suffix', ['.npz', '.parquet'])
def test_a_file_holds_what_the_encoder_makes_of_each_photo(
    suffix, run, pretrained_checkpoint, photos
):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    done = run(f'out{suffix}', with_=('patches', 'codes'))
    assert (done.photos, done.unread, done.resumed) == (5, [], 0)
    found = read_embeddings(done.path)
    assert found.paths == ['a/c.jpg', 'a/d.png', 'b.png', 'e.png', 'z.bmp']
    encoder = load_encoder(pretrained_checkpoint, num_heads=4, precision='float32')
    expected = encoder.from_photos([photos / name for name in found.paths])
    assert found.arrays.keys() == expected.keys()
    for name, value in expected.items():
        assert found.arrays[name].shape == value.shape
        tolerance = 2e-3 if name == 'patches' else 1e-5
        np.testing.assert_allclose(found.arrays[name], value, atol=tolerance, rtol=tolerance)


def test_numpy_alone_reads_the_file_and_nothing_is_left_beside_it(run, tmp_path):
    done = run()
    with np.load(done.path, allow_pickle=False) as file:
        assert set(file.files) == {'paths', 'mmbeitv2', 'cls', 'mean'}
        assert json.loads(str(file['mmbeitv2']))['kind'] == 'pretraining'
    assert [path.name for path in tmp_path.glob('*out*')] == ['out.npz']


def test_workers_and_a_list_give_the_same(run, photos):
    (photos / 'list.txt').write_text('b.png\n\na/c.jpg\n')
    listed = read_embeddings(run('listed.npz', photos / 'list.txt', workers=1).path)
    assert listed.paths == ['b.png', 'a/c.jpg']
    every = read_embeddings(run().path)
    for row, name in enumerate(listed.paths):
        np.testing.assert_allclose(
            listed.arrays['cls'][row], every.arrays['cls'][every.paths.index(name)], atol=1e-5
        )
    alone = read_embeddings(run('alone.npz', photos / 'b.png').path)
    assert alone.paths == ['b.png']


def stop_after(monkeypatch, photos: int):
    """Let a run be killed once features of so many photos are asked for."""
    seen = []
    from_pixels = embedding.PhotoEncoder.from_pixels

    def counted(self, pixels):
        seen.append(len(pixels))
        if sum(seen) > photos:
            raise KeyboardInterrupt
        return from_pixels(self, pixels)

    monkeypatch.setattr(embedding.PhotoEncoder, 'from_pixels', counted)
    return seen


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_stopped(run, monkeypatch):
    whole = run('whole.npz', batch_size=2)
    with monkeypatch.context() as context:
        stop_after(context, 4)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    with monkeypatch.context() as context:
        seen = stop_after(context, 100)
        done = run(batch_size=2)
        assert seen == [1]
    assert (done.photos, done.resumed) == (5, 4)
    expected, found = read_embeddings(whole.path), read_embeddings(done.path)
    assert found.meta == expected.meta
    assert all(np.array_equal(found.arrays[k], v) for k, v in expected.arrays.items())


def test_a_photo_that_was_restored_since_is_read_again(run, monkeypatch, photos):
    whole = (photos / 'b.png').read_bytes()
    (photos / 'b.png').write_bytes(whole[:20])
    with monkeypatch.context() as context:
        stop_after(context, 3)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    (photos / 'b.png').write_bytes(whole)
    done = run(batch_size=2)
    # The first part is kept, the one with the restored photo is made again.
    assert (done.photos, done.unread, done.resumed) == (5, [], 2)


def test_a_photo_that_was_replaced_under_its_name_is_read_again(run, monkeypatch, photos):
    with monkeypatch.context() as context:
        stop_after(context, 4)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    write_photo(photos / 'b.png', seed=9)
    done = run(batch_size=2)
    assert (done.photos, done.resumed) == (5, 2)
    expected, found = (read_embeddings(d.path) for d in (run('whole.npz'), done))
    assert all(np.allclose(found.arrays[k], v, atol=1e-6) for k, v in expected.arrays.items())


def test_a_finished_file_is_not_taken_for_one_of_photos_that_changed_since(run, photos):
    path = run().path
    write_photo(photos / 'b.png', seed=9)
    with pytest.raises(FileExistsError, match=r'but photos have changed since .*--overwrite'):
        run()
    assert run(overwrite=True).path == path
    assert run().resumed == 5


@pytest.mark.parametrize('damage', ['empty', 'half', 'nothing noted'])
def test_a_part_that_cannot_be_read_is_made_again(run, monkeypatch, tmp_path, damage):
    with monkeypatch.context() as context:
        stop_after(context, 4)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    part = tmp_path / 'out.npz.parts/000000.npz'
    if damage == 'nothing noted':
        np.savez(part, cls=np.zeros(3))
    else:
        part.write_bytes(part.read_bytes()[: 0 if damage == 'empty' else 900])
    done = run(batch_size=2)
    assert (done.photos, done.resumed) == (5, 2)
    expected, found = (read_embeddings(d.path) for d in (run('whole.npz'), done))
    assert all(np.allclose(found.arrays[k], v, atol=1e-6) for k, v in expected.arrays.items())


def test_features_of_a_part_that_are_damaged_are_one_line(run, monkeypatch, tmp_path):
    with monkeypatch.context() as context:
        stop_after(context, 4)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    part = tmp_path / 'out.npz.parts/000000.npz'
    content = bytearray(part.read_bytes())
    content[200] ^= 255
    part.write_bytes(content)
    with pytest.raises(OSError, match=r'000000\.npz is damaged \(BadZipFile: .*\): remove it, and'):
        run(batch_size=2)
    part.unlink()
    assert run(batch_size=2).photos == 5


@pytest.mark.parametrize('gone', [False, True])
def test_a_note_of_parts_that_is_damaged_is_one_line(run, monkeypatch, tmp_path, gone):
    with monkeypatch.context() as context:
        stop_after(context, 4)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    note = tmp_path / 'out.npz.parts/run.json'
    note.unlink() if gone else note.write_bytes(b'')
    with pytest.raises(FileExistsError, match=r'its run\.json is damaged or gone\): .*--overwrite'):
        run(batch_size=2)
    assert run(batch_size=2, overwrite=True).resumed == 0


def test_what_a_killed_run_left_of_its_file_is_removed(run, tmp_path):
    (tmp_path / '.out.npz.0123.partial').write_bytes(b'half')
    run()
    assert not list(tmp_path.glob('.out*'))


def swap(one, other):
    one.rename(one.with_suffix('.swapped'))
    other.rename(one)
    one.with_suffix('.swapped').rename(other)


@pytest.fixture
def alike(photos):
    """Two photos of one size and time, in one part of a run."""
    for seed, name in enumerate(('b.bmp', 'c.bmp')):
        write_photo(photos / name, seed)
        os.utime(photos / name, (1, 1))
    return photos / 'b.bmp', photos / 'c.bmp'


def test_swapped_photos_of_one_size_and_time_are_told(run, monkeypatch, alike):
    run('finished.npz')
    with monkeypatch.context() as context:
        stop_after(context, 6)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    swap(*alike)
    with pytest.raises(FileExistsError, match=r'photos may be others now .*swapped, copied'):
        run('finished.npz')
    expected, found = (read_embeddings(d.path) for d in (run('whole.npz'), run()))
    assert np.allclose(found.arrays['cls'], expected.arrays['cls'], atol=1e-6)


def test_stamps_of_earlier_versions_tell_sizes_and_times(alike):
    paths = [str(path) for path in alike]
    found = stamp(paths)
    assert agree(found, found)
    assert agree(found[:64], found)
    assert not agree(None, found)
    assert not agree('', found)
    swap(*alike)
    assert not agree(found, stamp(paths))
    assert agree(found[:64], stamp(paths))
    os.utime(paths[0], (2, 2))
    assert not agree(found[:64], stamp(paths))


def test_a_photo_that_was_written_over_under_its_time_is_told(alike):
    path = str(alike[0])
    found = stamp([path])
    alike[0].write_bytes(alike[1].read_bytes())
    os.utime(path, (1, 1))
    assert agree(found[:64], stamp([path]))
    assert not agree(found, stamp([path]))


def test_parts_of_another_checkpoint_or_list_are_not_gone_on_from(run, monkeypatch, photos, beitv2):
    with monkeypatch.context() as context:
        stop_after(context, 2)
        with pytest.raises(KeyboardInterrupt):
            run(batch_size=2)
    write_photo(photos / 'new.png')
    with pytest.raises(FileExistsError, match=r'the beginning of another run \(another photos\)'):
        run()
    assert run(overwrite=True).resumed == 0


@pytest.mark.parametrize('what', ['num_heads', 'heads of codes', 'normalization'])
def test_what_no_weight_shows_makes_another_run(
    run, monkeypatch, what, pretrained_checkpoint, tokenizer_checkpoint, tmp_path
):
    """Half of the features by other heads, or of photos normalised otherwise, would be found."""
    content = torch.load(pretrained_checkpoint, weights_only=True)
    state = torch.load(tokenizer_checkpoint, weights_only=True)
    torch.save({k: v for k, v in state.items() if '_extra_state' not in k}, tokenizer_checkpoint)
    meta = dict(cfg='data_preprocessor = dict(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.4])')
    torch.save({**content, 'meta': meta}, tmp_path / 'noted.pth')
    # By its tensors alone, the tokenizer may have any number of heads.
    codes = dict(checkpoint=tokenizer_checkpoint, batch_size=2)
    one, other = {
        'num_heads': (codes, codes | dict(num_heads=2)),
        'heads of codes': (
            codes | dict(with_=['codes']),
            codes | dict(with_=['codes'], num_heads=2),
        ),
        'normalization': (dict(batch_size=2), dict(checkpoint=tmp_path / 'noted.pth')),
    }[what]
    message = rf'another run \(another .*{what.replace(" ", "_")}'
    run(**one)
    with pytest.raises(FileExistsError, match=message):
        run(**other)
    with monkeypatch.context() as context:
        stop_after(context, 2)
        with pytest.raises(KeyboardInterrupt):
            run('parts.npz', **one)
    with pytest.raises(FileExistsError, match=message):
        run('parts.npz', **other)


def test_parts_are_a_sequence_whose_slices_are_parts(tmp_path):
    parts = embedding_parts.EmbeddingParts(tmp_path / 'features.npz', {}, overwrite=False)
    for number in range(3):
        parts.add(number, [number], {'cls': np.full(2, number)}, [], '')
    lazy = embedding_parts.LazyParts(parts, ['cls'], 3)
    assert [part['cls'].tolist() for part in lazy[1:]] == [[1, 1], [2, 2]]
    assert lazy[-1]['cls'].tolist() == [2, 2]


def test_a_finished_file_is_kept_and_one_of_another_run_never_overwritten(
    run, beitv2, tmp_path, monkeypatch
):
    first = run()
    written = first.path.stat().st_mtime_ns
    again = run()
    assert (again.photos, again.resumed) == (5, 5)
    assert first.path.stat().st_mtime_ns == written
    with torch.no_grad():
        beitv2.backbone.cls_token += 1
    torch.save(beitv2.state_dict(), tmp_path / 'other.pth')
    with pytest.raises(FileExistsError, match=r'of another run \(another checkpoint\)'):
        run(checkpoint=tmp_path / 'other.pth')
    with pytest.raises(
        FileExistsError, match=r'another features, heads_of_codes, size, tokenizer\)'
    ):
        run(size=32, with_=['codes'])
    assert first.path.stat().st_mtime_ns == written
    run(checkpoint=tmp_path / 'other.pth', overwrite=True)
    assert first.path.stat().st_mtime_ns > written


def test_unreadable_photos_are_left_out_named_and_limited(run, photos):
    (photos / 'b.png').write_bytes(b'nothing')
    done = run()
    assert done.photos == 4
    ((name, reason),) = done.unread
    assert name == 'b.png'
    assert 'no image of a format that Pillow knows' in reason
    found = read_embeddings(done.path)
    assert 'b.png' not in found.paths
    assert len(found.arrays['cls']) == 4
    assert run().unread == done.unread
    (photos / 'e.png').write_bytes(b'')
    with pytest.raises(OSError, match=r'2 of 5 photos cannot be read .* borne are 1; .*b\.png'):
        run('second.npz')
    assert run('second.npz', max_unreadable=0.5).photos == 3


def test_no_readable_photo_is_an_error(run, tmp_path):
    shutil.rmtree(tmp_path / 'photos')
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos/a.png').write_bytes(b'x')
    with pytest.raises(OSError, match=r'none of 1 photos can be read, the first are a\.png'):
        run()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(out='out.csv'), "ends in '.csv', allowed: .npz or .parquet"),
        (dict(with_=['pixels']), "'pixels' is asked for, allowed: patches, codes"),
        (dict(batch_size=0), 'batch_size is 0, but must be 1 or more'),
        (dict(workers=-1), 'workers is -1, but must be 0 or more'),
        (dict(max_unreadable=2), r'max_unreadable is 2, but must be a share in \[0, 1\]'),
        (dict(source='nowhere'), 'no photos at nowhere'),
        (dict(checkpoint='none.pth'), 'no checkpoint at'),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_photo_is_read(run, options, message):
    with pytest.raises(UserError, match=message) as caught:
        run(**options)
    assert '\n' not in str(caught.value)


def test_photos_that_are_not_there_are_one_line(run, photos, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match="empty' has no photo; it is empty"):
        run(source=tmp_path / 'empty')
    (photos / 'list.txt').write_text('b.png\ngone.png\n')
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 photos .* the first is 'gone.png'"):
        run(source=photos / 'list.txt')


def test_codes_need_a_tokenizer(run, classifier_checkpoint):
    with pytest.raises(ValueError, match='holds no tokenizer, whose codes are asked for'):
        run(checkpoint=classifier_checkpoint, with_=['codes'])


def test_a_full_disk_and_a_missing_package_are_seen_before(run, monkeypatch):
    monkeypatch.setattr(embedding, 'free_bytes', lambda path: 1000)
    with pytest.raises(OSError, match='has 1,000 bytes free, but the features and their parts'):
        run()
    monkeypatch.setattr(embeddings.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'mmbeitv2\[parquet\]', or give"):
        run('out.parquet')


def test_a_place_that_cannot_be_written_is_seen_before(run, tmp_path, monkeypatch):
    def read(*arguments):
        raise AssertionError('photos are read')

    monkeypatch.setattr(embedding, 'complete_parts', read)
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=r'out.npz cannot be written: .*file is a file, not a folder'):
        run('file/out.npz')
    (tmp_path / 'folder.npz').mkdir()
    with pytest.raises(OSError, match='is a folder: give the name of a file'):
        run('folder.npz', overwrite=True)


def test_two_processes_do_not_write_one_file(run, tmp_path):
    with alone(tmp_path / '.out.npz.lock'), pytest.raises(OSError, match='another process is at'):
        run()
    run()


@pytest.mark.parametrize('content', [b'', b'nothing', b'PK\x03\x04nothing', b'PAR1nothingPAR1'])
@pytest.mark.parametrize('suffix', ['.npz', '.parquet'])
def test_a_file_that_holds_no_embeddings_is_one_line(content, suffix, run, tmp_path):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    path = tmp_path / f'x{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='is no file of embeddings, or a damaged one') as raised:
        read_embeddings(path)
    assert '\n' not in str(raised.value)
    with pytest.raises(ValueError, match='embed --overwrite'):
        run(path.name)


@pytest.mark.parametrize('suffix', ['.npz', '.parquet'])
def test_a_file_of_embeddings_with_a_damaged_array_is_one_line(suffix, run):
    if suffix == '.parquet':
        pytest.importorskip('pyarrow')
    path = run(f'x{suffix}').path
    content = path.read_bytes()
    path.write_bytes(content[:100] + b'\xff' * 1500 + content[1600:])
    with pytest.raises(ValueError, match='is no file of embeddings, or a damaged one'):
        read_embeddings(path)
