import copy
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner

from mmbeitv2.datasets import EpochSampler, SampleIndex, SampleSeeded
from mmbeitv2.datasets.sampling import HELD_OUT_SEED

NUM_PHOTOS = 5


def draw_from_every_generator(results):
    results['drawn'] = random.random(), np.random.rand(), torch.rand(1).item()
    return results


def drawn(index, seed=0, epoch=0):
    transform = SampleSeeded([draw_from_every_generator])
    return transform({'sample_idx': SampleIndex(index, seed, epoch)})['drawn']


def dataloader_config(photos, num_workers=0, persistent_workers=False, shuffle=True):
    return {
        'batch_size': 2,
        'num_workers': num_workers,
        'persistent_workers': persistent_workers,
        'sampler': {'type': 'mmbeitv2.EpochSampler', 'shuffle': shuffle},
        'collate_fn': {'type': 'default_collate'},
        'dataset': {
            'type': 'mmpretrain.CustomDataset',
            'data_root': str(photos),
            'with_label': False,
            'indices': NUM_PHOTOS,
            'pipeline': [
                {
                    'type': 'mmbeitv2.SampleSeeded',
                    'transforms': [
                        {'type': 'mmbeitv2.LoadRandomCrop', 'size': 32, 'scale': (0.2, 1.0)},
                        {
                            'type': 'mmbeitv2.JitterCrop',
                            'brightness': 0.4,
                            'contrast': 0.4,
                            'saturation': 0.4,
                        },
                        {'type': 'torchvision/RandomHorizontalFlip'},
                        {'type': 'mmbeitv2.BlockMask', 'grid_size': 8, 'num_masked': 30},
                    ],
                },
                {'type': 'PackInputs'},
            ],
        },
    }


def content(batch):
    """Crop and mask of each image of a batch, by index."""
    return {
        int(sample.sample_idx): (image.numpy().tobytes(), sample.mask.numpy().tobytes())
        for image, sample in zip(batch['inputs'], batch['data_samples'], strict=True)
    }


def run_epochs(photos, epochs, seed=0, **workers):
    loader = Runner.build_dataloader(dataloader_config(photos, **workers), seed=seed)
    contents = []
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)
        contents.append({})
        for batch in loader:
            contents[-1].update(content(batch))
    return contents


def test_sample_index_is_an_int_that_survives_pickle_and_copy():
    index = SampleIndex(7, seed=3, epoch=2)
    for other in (index, pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        assert isinstance(other, SampleIndex)
        assert (other, other.seed, other.epoch) == (7, 3, 2)
        assert list(range(10))[other] == 7


@pytest.mark.parametrize('shuffle', [True, False])
def test_order_is_that_of_mmengines_sampler(shuffle):
    ours = EpochSampler(range(20), shuffle=shuffle, seed=5)
    theirs = DefaultSampler(range(20), shuffle=shuffle, seed=5)
    for epoch in (0, 3):
        ours.set_epoch(epoch)
        theirs.set_epoch(epoch)
        indices = list(ours)
        assert indices == list(theirs)
        assert {index.epoch for index in indices} == {epoch}
        # Not shuffled are held-out data, the same in every run.
        assert {index.seed for index in indices} == {5 if shuffle else HELD_OUT_SEED}


@pytest.mark.parametrize('seed', [None, 7])
def test_held_out_seed_depends_on_nothing_drawn_before(seed):
    """mmengine gives samplers the run's seed, or none where ranks have seeds of their own."""
    samplers = [EpochSampler(range(2), shuffle=False, seed=seed) for _ in range(3)]
    assert {index.seed for sampler in samplers for index in sampler} == {HELD_OUT_SEED}


def test_randomness_is_a_function_of_seed_epoch_and_index():
    assert drawn(4, seed=1, epoch=2) == drawn(4, seed=1, epoch=2)


def test_no_two_seeds_epochs_or_indices_share_randomness():
    keys = [(index, seed, epoch) for index in range(6) for seed in range(6) for epoch in range(6)]
    draws = np.array([drawn(*key) for key in keys])
    for column in draws.T:
        assert len(set(column)) == len(keys)
    np.testing.assert_allclose(draws.mean(axis=0), 0.5, atol=4 / np.sqrt(12 * len(keys)))


def test_generators_are_restored_even_after_an_error():
    def fail(results):
        draw_from_every_generator(results)
        raise RuntimeError('broken transform')

    def next_draws(disturb):
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        disturb()
        return draw_from_every_generator({})['drawn']

    def failing():
        with pytest.raises(RuntimeError, match='broken transform'):
            SampleSeeded([fail])({'sample_idx': SampleIndex(0, 0, 0)})

    expected = next_draws(lambda: None)
    assert next_draws(lambda: drawn(0)) == expected
    assert next_draws(failing) == expected


@pytest.mark.parametrize('results', [{'sample_idx': 3}, {}])
def test_plain_index_is_refused_with_the_cure(results):
    with pytest.raises(ValueError, match=r'mmbeitv2\.EpochSampler'):
        SampleSeeded([])(results)


def test_children_resolve_from_mmpretrains_scope(mmpretrain_scope):
    transform = TRANSFORMS.build(
        {
            'type': 'mmbeitv2.SampleSeeded',
            'transforms': [
                {'type': 'torchvision/RandomResizedCrop', 'size': 8},
                {'type': 'PackInputs'},
            ],
        }
    )
    assert len(transform.transforms.transforms) == 2


def test_crops_and_masks_do_not_depend_on_workers(mmpretrain_scope, photos):
    expected = run_epochs(photos, epochs=(0, 1))
    assert [sorted(epoch) for epoch in expected] == [list(range(NUM_PHOTOS))] * 2
    assert run_epochs(photos, epochs=(0, 1), num_workers=2) == expected
    assert run_epochs(photos, epochs=(0, 1), num_workers=2, persistent_workers=True) == expected


def test_crops_and_masks_differ_between_epochs_and_seeds(mmpretrain_scope, photos):
    """Restarted workers would otherwise repeat the first epoch's."""
    first, second = run_epochs(photos, epochs=(0, 1), num_workers=1)
    (other_seed,) = run_epochs(photos, epochs=(0,), seed=1)
    for index in range(NUM_PHOTOS):
        for other in (second, other_seed):
            assert first[index][0] != other[index][0]
            assert first[index][1] != other[index][1]


class Recorder(BaseModel):
    """Remember the batches of each epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.epochs = {}
        self.evaluated = {}

    def forward(self, inputs, data_samples, mode):
        batch = {'inputs': inputs, 'data_samples': data_samples}
        if mode == 'predict':
            self.evaluated.update(content(batch))
            return data_samples
        self.epochs.setdefault(data_samples[0].sample_idx.epoch, {}).update(content(batch))
        return {'loss': self.weight.sum()}


def build_runner(model, photos, work_dir, max_epochs, resume=False, **kwargs):
    return Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dataloader_config(photos),
        train_cfg={'by_epoch': True, 'max_epochs': max_epochs},
        optim_wrapper=OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1)),
        # A test before may have made this process refuse what mmengine's log history is.
        default_hooks={
            'checkpoint': {'type': 'CheckpointHook', 'interval': 1},
            'plain_checkpoint': {'type': 'mmbeitv2.PlainCheckpointHook'},
        },
        default_scope='mmpretrain',
        log_level='ERROR',
        resume=resume,
        experiment_name=f'{work_dir.name}_{max_epochs}_{resume}',
        **{'randomness': {'seed': 0}, **kwargs},
    )


def train(photos, work_dir, max_epochs, resume=False):
    model = Recorder()
    build_runner(model, photos, work_dir, max_epochs, resume).train()
    return model.epochs


class KeepEvaluated(Hook):
    """Take what the model has evaluated, after every validation."""

    def __init__(self):
        self.validations = []

    def after_val_epoch(self, runner, metrics=None):
        self.validations.append(runner.model.evaluated)
        runner.model.evaluated = {}


class Nothing(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return {'batches': len(results)}


@pytest.mark.parametrize('workers', [{}, {'num_workers': 1, 'persistent_workers': True}])
def test_held_out_crops_and_masks_are_the_same_in_every_evaluation(
    mmpretrain_scope, photos, tmp_path, workers
):
    """In each epoch, in the test after training, and in a process that only tests."""

    def runner(name, **kwargs):
        parts = {f'{phase}_evaluator': Evaluator(Nothing()) for phase in ('val', 'test')}
        for phase in ('val', 'test'):
            parts[f'{phase}_dataloader'] = dataloader_config(photos, shuffle=False, **workers)
        return build_runner(
            Recorder(),
            photos,
            tmp_path / name,
            max_epochs=3,
            val_cfg={},
            test_cfg={},
            # As in this package's configs: mmengine then gives samplers no seed.
            **{'randomness': {'seed': 0, 'diff_rank_seed': True}, **parts, **kwargs},
        )

    training = runner('training', custom_hooks=[hook := KeepEvaluated()])
    training.train()
    training.test()
    first, *others = [*hook.validations, training.model.evaluated]
    alone = runner('alone', randomness={'seed': 1, 'diff_rank_seed': True})
    alone.test()
    others.append(alone.model.evaluated)
    assert sorted(first) == list(range(NUM_PHOTOS))
    assert len(others) == 4
    assert all(other == first for other in others)


def test_resumed_run_sees_what_an_uninterrupted_one_does(mmpretrain_scope, photos, tmp_path):
    expected = train(photos, tmp_path / 'whole', max_epochs=3)
    assert sorted(expected) == [0, 1, 2]
    train(photos, tmp_path / 'parts', max_epochs=2)
    assert train(photos, tmp_path / 'parts', max_epochs=3, resume=True) == {2: expected[2]}
