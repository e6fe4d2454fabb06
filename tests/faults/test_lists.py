"""Lists of images and labels: what is passed over, and what is named in one line."""

import pytest
from mmengine.config import Config
from photo_files import write_photo

from mmbeitv2.datasets import Photos
from mmbeitv2.errors import UserError
from mmbeitv2.launch import preflight
from mmbeitv2.launch.photos import check_enough_images

BOM = '\ufeff'


@pytest.fixture
def root(tmp_path):
    for index in range(3):
        write_photo(tmp_path / f'images/{index}.png', seed=index)
    return tmp_path


def listed(root, text, with_label=True, **options):
    (root / 'list.txt').write_bytes(text.encode())
    return Photos(
        data_root=str(root),
        data_prefix='images',
        ann_file='list.txt',
        with_label=with_label,
        **options,
    )


def samples_of(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [(info['img_path'].split('/')[-1], info.get('gt_label')) for info in infos]


def config(root, kind='mmbeitv2.Photos', num_classes=2, **dataset):
    dataset = dict(
        type=kind, data_root=str(root), data_prefix='images', ann_file='list.txt', **dataset
    )
    return Config(
        dict(
            model=dict(head=dict(num_classes=num_classes)),
            train_dataloader=dict(dataset=dataset, batch_size=4, drop_last=True),
        )
    )


@pytest.mark.parametrize(
    'text',
    [
        '0.png 1\n2.png 0\n',
        '0.png 1\r\n2.png 0\r\n',
        f'{BOM}0.png 1\n\n  \n2.png\t0',
        '0.png  1\n2.png 0 ',
    ],
    ids=['plain', 'Windows', 'mark, blank lines, tab', 'spaces'],
)
def test_lists_of_all_editors_say_the_same(root, text):
    assert samples_of(listed(root, text)) == [('0.png', 1), ('2.png', 0)]


def test_blank_lines_of_an_unlabelled_list_are_passed_over(root):
    text = f'{BOM}\r\n0.png\r\n\r\n2.png\r\n\r\n'
    dataset = listed(root, text, with_label=False)
    assert samples_of(dataset) == [('0.png', None), ('2.png', None)]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('1.png', "line 2 of the list .*, '1.png', has no label"),
        ('1.png cat', "has the label 'cat'"),
        ('1.png 0.5', "has the label '0.5'"),
        ('1.png -1', 'has the label -1, but allowed is an integer from 0 to 1'),
        ('1.png 2', 'has the label 2, but allowed is an integer from 0 to 1'),
        ('0.png 1', "gives '0.png' the label 0 and the label 1"),
    ],
)
def test_a_faulty_label_names_its_line(root, line, message):
    text = f'0.png 0\n{line}\n'
    with pytest.raises(UserError, match=message) as error:
        listed(root, text, classes=['cat', 'dog'])
    assert '\n' not in str(error.value)
    with pytest.raises(UserError, match=message):
        preflight.check(config(root), phases=('train',))


@pytest.mark.parametrize('text', ['', '\n', f'{BOM}\r\n \r\n'])
@pytest.mark.parametrize('kind', ['mmbeitv2.Photos', 'CustomDataset'])
def test_a_list_without_an_image_is_refused(root, text, kind):
    with pytest.raises(UserError, match=r"list\.txt' names no image"):
        listed(root, text, with_label=False)
    with pytest.raises(UserError, match=r"list\.txt' names no image"):
        preflight.check(config(root, kind), phases=('train',))


@pytest.mark.parametrize(
    ('text', 'message'),
    [('0.png 0\n\n1.png 1\n', 'blank on line 2'), (f'{BOM}0.png 0\n', 'a byte order mark')],
)
def test_what_mmpretrains_data_set_takes_for_a_file_is_refused(root, text, message):
    (root / 'list.txt').write_text(text, encoding='utf-8')
    with pytest.raises(UserError, match=message):
        preflight.check(config(root, 'CustomDataset'), phases=('train',))


def test_a_list_of_other_bytes_is_refused(root):
    (root / 'list.txt').write_bytes(b'\xff\xfe0\x00.\x00')
    with pytest.raises(UserError, match=r"list\.txt' is no UTF-8 text"):
        preflight.check(config(root), phases=('train',))


def test_repeated_lines_are_counted(root, monkeypatch):
    lines = []
    monkeypatch.setattr('mmbeitv2.datasets.photos.print_log', lambda line, **_: lines.append(line))
    assert len(listed(root, '0.png 0\n0.png 0\n1.png 1\n')) == 3
    assert '1 of 3 lines repeat an earlier one' in lines[0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(data_root='images/0.png'), 'the data_root of .* a file, but must be a folder'),
        (dict(ann_file='images'), 'the ann_file of .* a folder, but must be a list'),
    ],
)
def test_a_file_for_a_folder_and_the_reverse_are_named(root, options, message):
    (root / 'list.txt').write_text('0.png 0\n')
    cfg = config(root)
    for key, value in options.items():
        cfg.train_dataloader.dataset[key] = str(root / value) if key == 'data_root' else value
    with pytest.raises(UserError, match=message):
        preflight.check(cfg, phases=('train',))


class TestFewerImagesThanABatch:
    """An epoch without a step."""

    @pytest.fixture
    def cfg(self, root):
        cfg = config(root, with_label=False)
        del cfg.train_dataloader.dataset['ann_file']
        return cfg

    @pytest.mark.parametrize('kind', ['mmbeitv2.Photos', 'CustomDataset'])
    def test_images_batch_and_cure_are_named(self, cfg, kind):
        cfg.train_dataloader.dataset.type = kind
        with pytest.raises(UserError, match=r'3 images in .* takes 4 \(1 .*drop_last') as error:
            check_enough_images(cfg, processes=1)
        assert 'train_dataloader.batch_size=3' in str(error.value)

    def test_the_share_of_a_process_counts(self, cfg):
        cfg.train_dataloader.batch_size = 2
        check_enough_images(cfg, processes=2)
        with pytest.raises(UserError, match=r'takes 6 \(3 × batch_size=2\)'):
            check_enough_images(cfg, processes=3)

    @pytest.mark.parametrize(
        'options',
        [dict(batch_size=3), dict(drop_last=False), dict(sampler=dict(type='InfiniteSampler'))],
    )
    def test_batches_that_can_be_filled_pass(self, cfg, options):
        cfg.train_dataloader.update(options)
        check_enough_images(cfg, processes=1)

    def test_lines_of_a_list_are_counted(self, root):
        (root / 'list.txt').write_text('0.png 0\n\n1.png 1\n')
        with pytest.raises(UserError, match=r"2 images in '.*list\.txt'"):
            check_enough_images(config(root), processes=1)

    @pytest.mark.parametrize('indices', [[0, 2], 2, -2])
    def test_chosen_images_are_counted(self, cfg, indices):
        cfg.train_dataloader.update(batch_size=2)
        cfg.train_dataloader.dataset.indices = indices
        check_enough_images(cfg, processes=1)
        cfg.train_dataloader.batch_size = 3
        with pytest.raises(UserError, match=r'2 images in .* takes 3'):
            check_enough_images(cfg, processes=1)
