"""Averages are taken when asked for; files and folders of parts of a model are called so."""

import pytest
import torch
from mmengine.logging import MMLogger

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.checkpoints.reading import read_state_dict, read_weights
from mmbeitv2.checkpoints.sources import local_file
from mmbeitv2.errors import InputError

WEIGHTS = {'a.weight': torch.zeros(2)}
AVERAGE = {'a.weight': torch.ones(2)}


def saved(path, content):
    torch.save(content, path)
    return path


@pytest.fixture
def logged(caplog):
    """What mmengine's current logger says."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: caplog.text
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize('key', ['model_ema', 'state_dict_ema'])
def test_average_is_taken_if_asked_for_and_either_is_reported(key, tmp_path, logged):
    file = saved(tmp_path / 'a.pth', {'model': WEIGHTS, key: AVERAGE})
    assert read_weights(file)[0]['a.weight'].sum() == 0
    assert f'their moving average ({key}): the weights are taken; ema=True' in logged()
    assert read_weights(file, ema=True)[0]['a.weight'].sum() == 2
    assert f'the moving average of the weights ({key}) is taken' in logged()


def test_a_file_of_the_average_alone_is_read(tmp_path):
    file = saved(tmp_path / 'a.pth', {'state_dict_ema': AVERAGE})
    assert read_state_dict(file)['a.weight'].sum() == 2


def test_mmengines_files_have_the_average_in_the_weights_place(tmp_path, logged):
    content = {'state_dict': AVERAGE, 'ema_state_dict': {'module.a.weight': torch.zeros(2)}}
    file = saved(tmp_path / 'a.pth', content)
    for ema in (False, True):
        assert read_weights(file, ema=ema)[0]['a.weight'].sum() == 2
    assert "state_dict is the moving average of the weights, as mmengine's EMAHook" in logged()


def test_no_average_is_an_error(tmp_path, vqkd):
    file = saved(tmp_path / 'a.pth', {'state_dict': vqkd.state_dict()})
    with pytest.raises(InputError, match=r'holds no moving average of weights .*model_ema'):
        load_tokenizer(str(file), ema=True)


@pytest.mark.parametrize('names', [['x.lora_A.weight'], ['x.lora_A.default.weight', 'x.weight']])
def test_lora_adapters_are_called_so(names, tmp_path):
    file = saved(tmp_path / 'a.bin', {name: torch.ones(1) for name in names})
    with pytest.raises(InputError, match=r'is a LoRA adapter .*merge_and_unload'):
        read_state_dict(file)


class TestDeepSpeed:
    def test_weights_that_one_process_holds_whole_are_read_from_its_folder(self, tmp_path):
        content = {'module': WEIGHTS, 'ds_version': '0.15', 'optimizer': None}
        saved(tmp_path / 'mp_rank_00_model_states.pt', content)
        assert read_state_dict(tmp_path)['a.weight'].shape == (2,)

    def test_third_stage_of_zero_is_called_so(self, tmp_path):
        content = {'module': {'a.weight': torch.zeros(0)}, 'ds_version': '0.15', 'param_shapes': []}
        file = saved(tmp_path / 'zero_pp_rank_0_mp_rank_00_model_states.pt', content)
        for source in (file, tmp_path):
            with pytest.raises(InputError, match=r'written by DeepSpeed.*zero_to_fp32\.py'):
                read_state_dict(source)

    def test_states_of_the_optimiser_are_called_so(self, tmp_path):
        content = {'optimizer_state_dict': {'state': {}}, 'ds_version': '0.15'}
        file = saved(tmp_path / 'bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt', content)
        with pytest.raises(InputError, match=r'written by DeepSpeed'):
            read_state_dict(file)


@pytest.mark.needs_torch('2.3', 'files of distributed checkpoints')
class TestFSDP:
    def test_a_folder_of_shards_that_torch_wrote_is_called_so(self, tmp_path):
        from torch.distributed.checkpoint import FileSystemWriter, save

        save(dict(WEIGHTS), storage_writer=FileSystemWriter(tmp_path / 'run'))
        (shard,) = (tmp_path / 'run').glob('*.distcp')
        for source in (tmp_path / 'run', shard):
            with pytest.raises(InputError, match=r'written by FSDP, .*dcp_to_torch FOLDER FILE'):
                read_state_dict(source)

    def test_the_cure_works(self, tmp_path):
        from torch.distributed.checkpoint import FileSystemWriter, save
        from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

        save(dict(AVERAGE), storage_writer=FileSystemWriter(tmp_path / 'run'))
        dcp_to_torch_save(tmp_path / 'run', tmp_path / 'whole.pth')
        assert read_state_dict(tmp_path / 'whole.pth')['a.weight'].sum() == 2


def test_folders_of_adapters_and_of_several_files_are_called_so(tmp_path):
    (tmp_path / 'adapter_config.json').write_text('{}')
    with pytest.raises(InputError, match='is a LoRA adapter'):
        local_file(tmp_path).__enter__()
    (tmp_path / 'adapter_config.json').rename(tmp_path / 'model.safetensors.index.json')
    with pytest.raises(InputError, match='is a model of several files, allowed is one'):
        local_file(tmp_path).__enter__()
