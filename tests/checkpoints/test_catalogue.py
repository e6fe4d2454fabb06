"""Published weights by name: the table, the file that a name stands for, and what is refused."""

import hashlib
import io
import json
import re
import runpy
import threading
from pathlib import Path

import pytest
import timm
import torch
import yaml
from file_server import file_server
from mmengine.config import Config

from mmbeitv2.apis import load_encoder, load_pretrained, load_tokenizer, tokenize
from mmbeitv2.checkpoints import catalogue as catalogue_module
from mmbeitv2.checkpoints import published_files
from mmbeitv2.checkpoints.catalogue import catalogue, check_kind, published
from mmbeitv2.checkpoints.published_files import MIRROR, file_here, file_of, recorded_hash
from mmbeitv2.checkpoints.sources import is_missing, local_file
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.launch import preflight
from mmbeitv2.models import VQKDTokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """torch.hub's folder of checkpoints, the test's own, and no mirror."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.delenv(MIRROR, raising=False)
    for variable in (
        'http_proxy',
        'HTTP_PROXY',
        'https_proxy',
        'HTTPS_PROXY',
        'no_proxy',
        'NO_PROXY',
    ):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / 'torch/hub/checkpoints'


@pytest.fixture
def server():
    with file_server() as running:
        yield running


@pytest.fixture
def weights(vqkd):
    """A file of a small tokenizer in the official layout."""
    buffer = io.BytesIO()
    torch.save({'model': vqkd.state_dict()}, buffer)
    return buffer.getvalue()


@pytest.fixture
def one(kept, server, weights, tmp_path, monkeypatch):
    """A table of one tokenizer whose two addresses the server knows; its file."""
    file = f'vqkd-{hashlib.sha256(weights).hexdigest()[:8]}.pth'
    row = dict(
        name='small',
        kind='tokenizer',
        what='a small tokenizer',
        publisher='a test',
        licence='MIT',
        addresses=[f'{server.address}/first/{file}', f'{server.address}/second/{file}'],
        config='vqkd/x.py',
        published='',
    )
    (tmp_path / 'table.json').write_text(json.dumps([row]))
    monkeypatch.setattr(catalogue_module, 'TABLE', tmp_path / 'table.json')
    catalogue.cache_clear()
    yield file
    catalogue.cache_clear()


class TestTable:
    def test_every_address_of_the_metafiles_has_a_name(self):
        imports = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
        named = {address for entry in catalogue().values() for address in entry.addresses}
        listed = {
            address
            for path in imports
            for address in re.findall(
                r'Weights: (\S+(?:\.pth|in1k|in22k))$', (ROOT / path).read_text(), re.M
            )
        }
        assert listed == named

    def test_every_entry_is_complete_and_its_config_is_there(self):
        for name, entry in catalogue().items():
            assert entry.kind in catalogue_module.SERVES
            assert (ROOT / 'configs' / entry.config).is_file(), name
            assert entry.licence in ('MIT', 'Apache-2.0', 'unknown')
            assert not entry.same_as or catalogue()[entry.same_as].kind == entry.kind
        assert len({entry.file for entry in catalogue().values()}) == len(catalogue())

    def test_hashes_are_those_of_the_names(self):
        assert catalogue()['vqkd-b16-clip'].hash_prefix == 'd5036aa7'
        assert catalogue()['beitv2-b16-300e-mmpretrain'].hash_prefix == 'a157be30'
        assert catalogue()['beitv2-b16-1600e'].hash_prefix == ''

    def test_what_timm_says_of_its_weights_is_repeated(self):
        for entry in catalogue().values():
            if entry.publisher == 'timm':
                cfg = timm.get_pretrained_cfg(entry.addresses[0].rpartition('/')[2])
                assert cfg.license == entry.licence.lower()
                assert f'hf-hub:{cfg.hf_hub_id}' == entry.addresses[0]

    def test_the_page_is_the_table(self):
        markdown = runpy.run_path(str(ROOT / 'tools/weights.py'))['markdown']()
        assert markdown in (ROOT / 'docs/weights.md').read_text()


class TestFile:
    def test_first_address_is_downloaded_once_and_its_hash_recorded(
        self, one, kept, server, weights
    ):
        server.put(f'/first/{one}', weights)
        for _ in range(2):
            with local_file('small') as path:
                assert path == kept / one
        assert server.asked == [f'/first/{one}']
        line = f'{hashlib.sha256(weights).hexdigest()}  {one}\n'
        assert (kept / f'{one}.sha256').read_text() == line

    @pytest.mark.parametrize('first', ['missing', 'another file', 'cut short', 'silent'])
    def test_second_address_is_taken_where_the_first_fails(
        self, first, one, server, weights, monkeypatch
    ):
        monkeypatch.setattr(published_files, 'MOST_SECONDS_OF_SILENCE', 0.2)
        silence = threading.Event()
        manners = {
            'another file': dict(content=weights[:-1] + b'x'),
            'cut short': dict(content=weights, sent=500),
            'silent': dict(content=weights, sent=500, silence=silence),
        }
        if first in manners:
            server.put(f'/first/{one}', **manners[first])
        server.put(f'/second/{one}', weights)
        with local_file('small') as path:
            assert path.read_bytes() == weights
        silence.set()
        assert server.asked == [f'/first/{one}', f'/second/{one}']

    def test_no_address_is_one_line_that_names_file_folder_and_mirror(self, one, kept, server):
        with pytest.raises(MissingFileError) as error:
            local_file('small').__enter__()
        message = str(error.value)
        assert '\n' not in message
        for part in (one, f'{server.address}/first/', '404', f'into {kept} yourself', MIRROR):
            assert part in message
        assert not list(kept.glob('*.pth'))

    def test_a_folder_that_cannot_be_written_is_one_line(self, one, kept):
        # As of another user: there, but nobody may lock a file in it.
        (kept / f'.{one}.lock').mkdir(parents=True)
        with pytest.raises(OSError, match=r'cannot write .*checkpoints/.*: .*TORCH_HOME') as error:
            file_of(catalogue()['small'])
        assert '\n' not in str(error.value)

    def test_a_proxy_is_asked(self, one, server, weights, monkeypatch):
        address = catalogue()['small'].addresses[0].replace('127.0.0.1', 'nowhere.invalid')
        entry = catalogue()['small'].__class__(
            **{**vars(catalogue()['small']), 'addresses': (address,)}
        )
        server.put(address, weights)
        monkeypatch.setenv('http_proxy', server.address)
        assert file_of(entry).read_bytes() == weights
        assert server.asked == [address]

    def test_mirror_comes_first(self, one, server, weights, monkeypatch):
        server.put(f'/mirror/{one}', weights)
        monkeypatch.setenv(MIRROR, f'{server.address}/mirror/')
        with local_file('small') as path:
            assert path.read_bytes() == weights
        assert server.asked == [f'/mirror/{one}']

    def test_mirror_may_be_a_folder_whose_files_are_read_in_place(
        self, one, server, weights, tmp_path, monkeypatch
    ):
        (tmp_path / 'mirror').mkdir()
        (tmp_path / 'mirror' / one).write_bytes(weights)
        monkeypatch.setenv(MIRROR, str(tmp_path / 'mirror'))
        with local_file('small') as path:
            assert path == tmp_path / 'mirror' / one
        assert server.asked == []

    def test_mirror_that_is_no_folder_is_refused(self, one, monkeypatch):
        monkeypatch.setenv(MIRROR, '/no/such/folder')
        with pytest.raises(InputError, match=r"MMBEITV2_MIRROR is '/no/such/folder', allowed: a f"):
            local_file('small').__enter__()

    def test_a_file_put_there_by_hand_is_read_and_recorded(self, one, kept, server, weights):
        kept.mkdir(parents=True)
        (kept / one).write_bytes(weights)
        assert file_here(catalogue()['small']) == kept / one
        with local_file('small'):
            assert recorded_hash(catalogue()['small']) == hashlib.sha256(weights).hexdigest()
        assert server.asked == []

    def test_a_file_of_another_hash_is_refused(self, one, kept):
        kept.mkdir(parents=True)
        (kept / one).write_bytes(b'other')
        with pytest.raises(
            InputError, match=r'is not the published small: its SHA-256 is .*delete'
        ):
            local_file('small').__enter__()

    def test_a_file_that_changed_since_it_was_recorded_is_refused(
        self, one, kept, server, weights, tmp_path
    ):
        row = json.loads((tmp_path / 'table.json').read_text())[0]
        row['file'] = 'nohash.pth'
        (tmp_path / 'table.json').write_text(json.dumps([row]))
        catalogue.cache_clear()
        server.put(f'/first/{one}', weights)
        with local_file('small') as path:
            pass
        torch.save({'a': torch.ones(1)}, path)
        with pytest.raises(InputError, match=r'nohash\.pth is not what it was: its SHA-256'):
            local_file('small').__enter__()


class TestName:
    @pytest.fixture(autouse=True)
    def there(self, one, server, weights):
        server.put(f'/first/{one}', weights)

    @pytest.fixture
    def codes(self, weights, images, tmp_path):
        (tmp_path / 'file.pth').write_bytes(weights)
        return tokenize(load_tokenizer(str(tmp_path / 'file.pth'), num_heads=4), images)

    def test_loads_the_tokenizer(self, codes, images):
        assert torch.equal(tokenize(load_tokenizer('small', num_heads=4), images), codes)

    def test_is_taken_by_init_cfg(self, codes, vqkd_config, images):
        init_cfg = dict(type='Pretrained', checkpoint='small')
        parts = {name: vqkd_config[name] for name in ('encoder', 'quantizer')}
        tokenizer = VQKDTokenizer(**parts, init_cfg=init_cfg)
        tokenizer.init_weights()
        assert torch.equal(tokenizer.tokenize(images), codes)

    def test_a_path_of_that_name_wins(self, server, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        torch.save({'a': torch.ones(1)}, 'small')
        with local_file('small') as path:
            assert torch.load(path, weights_only=True)['a'] == 1
        assert server.asked == []

    def test_is_fetched_by_the_check_before_training(self, one, server):
        generator = {'init_cfg': {'type': 'Pretrained', 'checkpoint': 'small'}}
        preflight.check(Config({'model': {'target_generator': generator}}))
        assert server.asked == [f'/first/{one}']


class TestRefusals:
    def test_unknown_names_are_told_the_nearest(self):
        with pytest.raises(MissingFileError, match=r'published weights: vqkd-b16-clip, '):
            load_tokenizer('vqkd-b16-clpi')
        assert is_missing('vqkd-b16-clpi')

    @pytest.mark.parametrize(
        ('name', 'nearest'),
        [
            ('VQKD-B16-CLIP', 'vqkd-b16-clip, '),
            ('Beitv2_B16_1600e', 'beitv2-b16-1600e, '),
            ('beitv2_base_patch16_224_pt1k_ft1k.pth', r'beitv2-b16-1600e-in1k\.'),
            ('weights/beitv2_large_patch16_224_pt1k.pth', r'beitv2-l16-1600e\.'),
        ],
    )
    def test_other_capitals_and_the_publishers_own_file_are_told_the_name(self, name, nearest):
        with pytest.raises(MissingFileError, match=f'choose published weights: {nearest}'):
            load_encoder(name)

    @pytest.mark.parametrize(
        ('load', 'name', 'message'),
        [
            (load_tokenizer, 'beitv2-b16-1600e-in1k', 'kind classifier, but a tokenizer is wanted'),
            (load_pretrained, 'vqkd-b16-clip', 'kind tokenizer, but a pretraining is wanted'),
        ],
    )
    def test_wrong_kind_is_refused_before_any_download(self, load, name, message, kept):
        with pytest.raises(InputError, match=message):
            load(name)
        assert not kept.exists()

    def test_wrong_kind_in_a_config_is_refused_before_any_download(self, kept):
        generator = {'init_cfg': {'checkpoint': 'beitv2-b16-300e'}}
        with pytest.raises(InputError, match=r'a tokenizer is wanted.*vqkd-b16-clip'):
            preflight.check(Config({'model': {'target_generator': generator}}))
        cfg = Config({'model': {'decode_head': {}}, 'load_from': 'beitv2-b16-300e-in1k'})
        with pytest.raises(InputError, match=r'a segmentation is wanted.*ade20k'):
            preflight.check(cfg, phases=('test',))
        assert not kept.exists()

    @pytest.mark.parametrize(
        'component',
        [
            dict(type='mmbeitv2.VQKD', decoder={}, init_cfg=dict(checkpoint='vqkd-b16-clip')),
            dict(
                type='mmbeitv2.BEiTViT',
                init_cfg=dict(checkpoint='vqkd-b16-clip', prefix='encoder.'),
            ),
        ],
    )
    def test_a_tokenizer_is_the_right_kind_for(self, component, kept):
        kept.mkdir(parents=True)
        entry = catalogue()['vqkd-b16-clip']
        # It has digits of a SHA-256 in its name, which this one does not have: it was asked for.
        (kept / entry.file).write_bytes(b'x')
        with pytest.raises(InputError, match='is not the published vqkd-b16-clip'):
            preflight.check(Config({'model': component}))

    def test_components_that_mmengine_loads_by_their_own_names_are_refused(self, kept):
        backbone = dict(type='BEiTViT', init_cfg=dict(type='Pretrained', checkpoint=''))
        for scope, name, refused in (
            ('mmpretrain', 'beitv2-b16-300e', True),
            ('mmpretrain', 'beitv2-b16-1600e-in1k-timm', True),
            ('mmbeitv2', 'beitv2-b16-300e', False),
            ('mmpretrain', 'beitv2-b16-300e-in1k-mmpretrain', False),
        ):
            backbone['init_cfg']['checkpoint'] = name
            kept.mkdir(parents=True, exist_ok=True)
            (kept / catalogue()[name].file).write_bytes(b'x')
            cfg = Config({'default_scope': scope, 'model': dict(backbone=backbone)})
            message = (
                'other names than those of BEiTViT' if refused else 'kept as|not the published'
            )
            with pytest.raises(InputError, match=message):
                preflight.check(cfg)

    def test_what_starts_a_backbone(self):
        for name in ('beitv2-b16-300e', 'beitv2-b16-300e-in1k', 'beitv2-b16-1600e-ade20k'):
            check_kind(name, 'backbone')
        with pytest.raises(InputError, match='a backbone is wanted'):
            check_kind('vqkd-b16-dino', 'backbone')

    def test_other_sources_are_no_names(self):
        for source in ('epoch_1.pth', 'https://example.org/vqkd-b16-clip', 'hf-hub:a/b'):
            assert published(source) is None
            check_kind(source, 'tokenizer')
