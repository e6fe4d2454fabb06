"""A run on tars and a folder that is killed and resumed ends as if it had not been."""

import tarfile

import pytest
import tiny_runs

pytestmark = pytest.mark.slow


def test_a_killed_run_on_tars_and_a_folder_ends_bit_equal(demo_data, tmp_path):
    tiny_runs.write_project(tmp_path, demo_data)
    photos = sorted((demo_data / 'imagenet/train').rglob('*.jpg'))
    (tmp_path / 'folder').mkdir()
    for place, photo in enumerate(photos[:16]):
        (tmp_path / f'folder/{place}.jpg').symlink_to(photo)
    for shard, members in enumerate((photos[16:40], photos[40:64])):
        with tarfile.open(tmp_path / f'shard-{shard}.tar', 'w') as tar:
            for photo in members:
                tar.add(photo, photo.name)
    options = [
        '--cfg-options',
        f'train_dataloader.dataset.data_root=[{tmp_path}/folder,{tmp_path}/shard-*.tar]',
        'train_dataloader.dataset.data_prefix=',
    ]
    whole = tiny_runs.train(tmp_path, 'vqkd', 'whole', *options)
    assert whole.wait() == 0, (tmp_path / 'whole.log').read_text()[-2000:]
    killed = tiny_runs.train(tmp_path, 'vqkd', 'killed', *options)
    tiny_runs.wait_for(lambda: len(tiny_runs.checkpoints(tmp_path / 'killed')) >= 2, killed)
    tiny_runs.end(killed)
    again = tiny_runs.train(tmp_path, 'vqkd', 'killed', '--resume', *options)
    assert again.wait() == 0, (tmp_path / 'killed.log').read_text()[-2000:]
    states = [tiny_runs.final_state(tmp_path / name) for name in ('whole', 'killed')]
    # 64 photos, 8 a step, 3 epochs.
    assert states[0]['place'][0] == 24
    assert tiny_runs.differing(*states) == []
