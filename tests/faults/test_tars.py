"""Tars as they come: linked, updated, joined and damaged members; nothing is left out unsaid."""

import io
import subprocess
import tarfile

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.datasets import Photos
from mmbeitv2.datasets.listing import LeftOut
from mmbeitv2.datasets.tars import tar_photos
from mmbeitv2.errors import InputError, UnreadableFileError


def png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new('L', (8, 8), shade).save(content, 'PNG')
    return content.getvalue()


def add(tar, name, content=None, **kind):
    info = tarfile.TarInfo(name)
    for key, value in kind.items():
        setattr(info, key, value)
    info.size = len(content or b'')
    tar.addfile(info, io.BytesIO(content or b''))


@pytest.fixture
def tar(tmp_path):
    """Write a tar of members."""

    def write(*members, name='photos.tar'):
        with tarfile.open(tmp_path / name, 'w') as file:
            for member in members:
                add(file, *member[:2], **(member[2] if len(member) > 2 else {}))
        return tmp_path / name

    return write


def shades(path) -> list[int]:
    pipeline = [dict(type='mmbeitv2.LoadImage')]
    photos = Photos(data_prefix=str(path), with_label=False, pipeline=pipeline)
    return [int(np.asarray(photos[i]['img']).max()) for i in range(len(photos))]


def names(path, left_out=None) -> list[str]:
    found = tar_photos(str(path), ('.png',), False, left_out or LeftOut())
    return [address.partition('#')[2].rpartition('@')[0] for address, _ in found]


def test_links_lead_to_the_photos_that_they_name(tar):
    link = dict(type=tarfile.SYMTYPE, linkname='../a/1.png')
    again = dict(type=tarfile.LNKTYPE, linkname='a/1.png')
    path = tar(
        ('a/1.png', png(10)), ('b/2.png', None, link), ('b/3.png', None, again), ('c.png', png(40))
    )
    assert shades(path) == [10, 10, 10, 40]


def test_links_of_a_tar_that_gnu_tar_wrote(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/1.png').write_bytes(png(10))
    (tmp_path / 'a/2.png').hardlink_to(tmp_path / 'a/1.png')
    (tmp_path / 'a/3.png').symlink_to('1.png')
    subprocess.run(['tar', 'cf', 'photos.tar', './a'], cwd=tmp_path, check=True)
    assert shades(tmp_path / 'photos.tar') == [10, 10, 10]


def test_what_is_no_photo_is_counted(tar):
    path = tar(
        ('1.png', png(10)),
        ('lost.png', None, dict(type=tarfile.SYMTYPE, linkname='nowhere.png')),
        ('circle.png', None, dict(type=tarfile.SYMTYPE, linkname='circle.png')),
        ('pipe.png', None, dict(type=tarfile.FIFOTYPE)),
        ('.ipynb_checkpoints/1.png', png(20)),
    )
    left_out = LeftOut()
    assert names(path, left_out) == ['1.png']
    assert left_out.kinds == {
        'link to nothing': 2, 'sparse file, pipe or device': 1, 'hidden': 1
    }  # fmt: skip


def test_of_equal_names_the_last_counts_with_its_label(tar):
    path = tar(
        ('1.png', png(10)), ('1.cls', b'0'), ('2.png', png(20)), ('2.cls', b'1'),
        ('1.png', png(30)), ('1.cls', b'2'),
    )  # fmt: skip
    assert shades(path) == [30, 20]
    assert Photos(data_prefix=str(path)).get_gt_labels().tolist() == [2, 1]


def test_names_are_those_of_the_unpacked_files(tar):
    """tar writes './1.png' where it packs '.', and adds '1.png'."""
    path = tar(
        ('./1.png', png(10)), ('1.cls', b'0'), ('2.png', png(20)), ('./2.cls', b'1'),
        ('1.png', png(30)),
    )  # fmt: skip
    assert shades(path) == [30, 20]
    assert Photos(data_prefix=str(path)).get_gt_labels().tolist() == [0, 1]
    assert names(path) == ['1.png', '2.png']


@pytest.mark.parametrize('damage', ['a flipped bit', 'zeros'])
def test_a_damaged_header_hides_no_photos(tar, damage):
    path = tar(*((f'{i}.png', png(i)) for i in range(4)))
    content = bytearray(path.read_bytes())
    with tarfile.open(path) as whole:
        header = whole.getmembers()[2].offset
    if damage == 'zeros':
        content[header : header + 512] = bytes(512)
    else:
        content[header] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=f'goes on behind byte {header}.*once more'):
        names(path)


def test_tars_that_were_put_behind_one_another_are_refused(tar, tmp_path):
    both = tmp_path / 'both.tar'
    parts = [tar((f'{i}.png', png(i)), name=f'{i}.tar').read_bytes() for i in range(2)]
    both.write_bytes(b''.join(parts))
    with pytest.raises(UnreadableFileError, match='`tar -A` joins and `cat` does not'):
        names(both)


def test_a_pattern_that_names_a_tar_twice_is_refused(tar, tmp_path):
    path = tar(('1.png', png(10)))
    (tmp_path / 'photos-2.tar').symlink_to(path)
    with pytest.raises(InputError, match='names a file twice'):
        Photos(data_prefix=str(tmp_path / 'photos*.tar'), with_label=False)
