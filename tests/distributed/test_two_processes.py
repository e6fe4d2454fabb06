"""Two processes over gloo hold one codebook, one student and an untouched tokenizer."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from mmbeitv2.apis import load_pretrained


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """What rank 0, rank 1 and a single process with the joined batches ended with."""
    folder = tmp_path_factory.mktemp('distributed')
    script = str(Path(__file__).with_name('process.py'))
    runs = [(0, 2), (1, 2), (0, 1)]
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(folder), str(rank), str(world_size)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, world_size in runs
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output[-4000:]
    return [
        torch.load(folder / f'{rank}_of_{world_size}.pt', weights_only=True)
        for rank, world_size in runs
    ]


@pytest.fixture
def ranks(results):
    return results[:2]


@pytest.fixture
def single(results):
    return results[2]


def assert_identical(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.mark.parametrize('scenario', ['quantizer', 'revived'])
def test_codebook_is_bit_identical_on_both_ranks(scenario, ranks):
    """After k-means of the first step and after every further step."""
    for first, second in zip(*(rank[scenario]['states'] for rank in ranks)):
        assert_identical(first, second)


def test_codebook_moves_every_step(ranks):
    weights = [state['embedding.weight'] for state in ranks[0]['quantizer']['states']]
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(weights))


def test_codebook_equals_one_process_with_the_joined_batch(ranks, single):
    for found, expected in zip(ranks[0]['quantizer']['states'], single['quantizer']['states']):
        for name, value in expected.items():
            assert_close(found[name], value, atol=1e-6, rtol=1e-6)
    codes = torch.cat([rank['quantizer']['codes'] for rank in ranks], dim=1)
    assert torch.equal(codes, single['quantizer']['codes'])


def test_counts_are_of_all_ranks(ranks):
    assert ranks[1]['quantizer']['states'][-1]['code_counts'].sum() == 4 * 4 * 16


def test_revival_happened(ranks):
    plain, revived = (ranks[0][name]['states'][-1] for name in ('quantizer', 'revived'))
    assert plain['embedding.cluster_size'].min() < 0.9
    assert revived['embedding.cluster_size'].min() >= 0.9
    assert not torch.equal(plain['embedding.weight'], revived['embedding.weight'])


def test_eval_on_one_rank_waits_for_nobody_and_changes_nothing(ranks):
    for rank in ranks:
        assert_identical(rank['eval']['before'], rank['eval']['after'])
        assert rank['eval']['total'] == 2


def test_gradients_equal_those_of_the_joined_batch(ranks, single):
    expected = single['step']['gradients']
    for rank in ranks:
        found = rank['step']['gradients']
        assert found.keys() == expected.keys()
        assert not [name for name in found if name.startswith('target_generator')]
        for name, value in expected.items():
            assert_close(found[name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_probe_is_bit_identical_on_both_ranks(ranks):
    """Also the running statistics by which each of them evaluates its share of the images."""
    for first, second in zip(*(rank['probe']['states'] for rank in ranks)):
        assert_identical(first, second)
    assert torch.equal(*(rank['probe']['logits'] for rank in ranks))


def test_probe_equals_one_process_with_the_joined_batch(ranks, single):
    for found, expected in zip(ranks[1]['probe']['states'], single['probe']['states']):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=name)


def test_norm_over_ranks_equals_one_process_with_the_joined_batch(ranks, single):
    """Forward, statistics, and gradients, which pass through the statistics of all ranks."""
    expected = single['norm']
    assert_identical(*(rank['norm']['state'] for rank in ranks))
    for name in ('outputs', 'gradient'):
        found = torch.cat([rank['norm'][name] for rank in ranks])
        assert_close(found, expected[name], atol=1e-5, rtol=1e-5, msg=name)
    for name, value in expected['parameters'].items():
        found = sum(rank['norm']['parameters'][name] for rank in ranks)
        assert_close(found, value, atol=1e-5, rtol=1e-5, msg=name)
    for name, value in expected['state'].items():
        assert_close(ranks[0]['norm']['state'][name], value, atol=1e-5, rtol=1e-5, msg=name)


def test_the_first_ranks_clock_decides_when_all_save(ranks):
    assert [rank['due'] for rank in ranks] == [{0: True, 1: False}] * 2


def test_tokenizer_is_unchanged_by_pretraining(ranks):
    for rank in ranks:
        run = rank['pretrain']
        assert run['wrapper'] == 'MMDistributedDataParallel'
        assert run['steps'] == 4
        assert_identical(run['tokenizer_before'], run['tokenizer_after'])
        assert not run['tokenizer_training']


def test_optimiser_holds_the_student_alone(ranks):
    optimised = ranks[0]['pretrain']['optimised']
    assert optimised
    assert not [name for name in optimised if name.startswith('target_generator')]


def test_rate_counts_the_images_of_all_ranks(ranks):
    for rank in ranks:
        assert rank['pretrain']['images_per_step'] == pytest.approx(4)


def test_student_is_bit_identical_on_both_ranks(ranks):
    assert_identical(*(rank['pretrain']['student'] for rank in ranks))


SHARDED = ['sharded', 'sharded_again', 'sharded_from_plain', 'plain_from_sharded']


@pytest.mark.needs_torch('2.7', 'sharding')
@pytest.mark.parametrize('scenario', SHARDED)
def test_sharded_run_equals_the_unsharded_one(scenario, ranks):
    """Also where either was resumed from the first epoch of the other."""
    for rank in ranks:
        assert rank[scenario]['decayed'] == rank['plain']['decayed']
        for name, values in rank['plain']['scalars'].items():
            # The first epoch of a resumed run is that of the checkpoint's rank.
            values = values if scenario == 'sharded' else values[2:]
            found = rank[scenario]['scalars'][name][-len(values) :]
            assert_close(found, values, atol=1e-5, rtol=1e-5, msg=name)
    expected, found = (
        torch.load(ranks[0][name]['checkpoint'], weights_only=True) for name in ('plain', scenario)
    )
    assert found['state_dict'].keys() == expected['state_dict'].keys()
    for name, value in expected['state_dict'].items():
        assert_close(found['state_dict'][name], value, atol=1e-5, rtol=1e-4, msg=name)
    assert found['optimizer']['base_param_settings'] == expected['optimizer']['base_param_settings']
    assert found['optimizer']['state'].keys() == expected['optimizer']['state'].keys()
    for index, moments in expected['optimizer']['state'].items():
        for name, value in moments.items():
            assert_close(found['optimizer']['state'][index][name], value, atol=1e-5, rtol=1e-3)


@pytest.mark.needs_torch('2.7', 'sharding')
def test_each_rank_holds_half_of_what_is_trained(ranks):
    run = ranks[0]['sharded']
    for name, size in run['sizes'].items():
        # A first dimension of one, as of the [CLS] token, cannot be split.
        frozen = name.startswith('target_generator') or name.endswith('.relative_position_index')
        assert run['held'][name] in ((size,) if frozen else (size // 2, -(-size // 2), size)), name
    trained = {n: s for n, s in run['sizes'].items() if not n.startswith('target_generator')}
    assert sum(run['held'][n] for n in trained) < 0.51 * sum(trained.values())


@pytest.mark.needs_torch('2.7', 'sharding')
def test_sharded_checkpoint_is_read_as_any_other(ranks):
    path = ranks[0]['sharded']['checkpoint']
    model = load_pretrained(path, num_heads=4)
    saved = torch.load(path, weights_only=True)['state_dict']
    assert_identical({n: saved[n] for n in model.state_dict()}, dict(model.state_dict()))


def test_tokenizer_training_is_bit_identical_on_both_ranks(ranks):
    first, second = (rank['vqkd'] for rank in ranks)
    assert_identical(first['state'], second['state'])
    assert torch.equal(first['code_counts'], second['code_counts'])
    assert first['code_counts'].sum() == 8 * 16


def test_checkpoint_holds_the_codebook_of_all_ranks(ranks):
    run = ranks[1]['vqkd']
    saved = torch.load(run['checkpoint'], weights_only=True)['state_dict']
    assert torch.equal(
        saved['quantize.embedding.weight'], run['state']['quantize.embedding.weight']
    )
