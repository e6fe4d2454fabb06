import json
from pathlib import Path

import pytest

from mmbeitv2.visualization import runs
from mmbeitv2.visualization.curves import (
    Comparison,
    comparison_curves,
    pretraining_curves,
    tokenizer_curves,
)


def write_start(stage: Path, timestamp: str, lines: list[dict], test: dict | None = None) -> None:
    folder = stage / timestamp / 'vis_data'
    folder.mkdir(parents=True)
    if lines:
        (folder / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    if test is not None:
        (stage / timestamp / f'{timestamp}.json').write_text(json.dumps(test))


def train(start: int, stop: int, loss: float) -> list[dict]:
    return [dict(lr=0.1, loss=loss, iter=i, step=i) for i in range(start, stop + 1, 20)]


def test_resumed_run_continues_the_curve_and_replaces_what_was_lost(tmp_path):
    write_start(tmp_path, '20260101_000000', train(20, 100, 3.0))
    write_start(tmp_path, '20260101_010000', train(80, 140, 2.0))
    x, y = runs.series(runs.read_scalars(tmp_path), 'loss')
    assert x == [20, 40, 60, 80, 100, 120, 140]
    assert y == [3.0] * 3 + [2.0] * 4


def test_run_from_scratch_forgets_the_earlier_one(tmp_path):
    write_start(tmp_path, '20260101_000000', train(20, 100, 3.0))
    write_start(tmp_path, '20260102_000000', train(20, 40, 2.0))
    assert runs.series(runs.read_scalars(tmp_path), 'loss') == ([20, 40], [2.0, 2.0])


def test_validation_stands_at_the_iteration_before_it(tmp_path):
    lines = [*train(20, 60, 3.0), {'accuracy/top1': 50.0, 'step': 1}]
    write_start(tmp_path, '20260101_000000', lines)
    records = runs.read_scalars(tmp_path)
    assert runs.series(records, 'accuracy/top1') == ([60], [50.0])
    assert runs.last_value(records, 'accuracy/top1') == 50.0
    assert runs.last_value(records, 'mIoU') is None


def test_line_cut_by_a_kill_is_left_out(tmp_path):
    write_start(tmp_path, '20260101_000000', train(20, 40, 3.0))
    file = tmp_path / '20260101_000000/vis_data/scalars.json'
    file.write_text(file.read_text() + '{"lr": 0.1, "loss": 2')
    assert len(runs.read_scalars(tmp_path)) == 2


def test_missing_work_directory_has_no_records(tmp_path):
    assert runs.read_scalars(tmp_path / 'none') == []
    assert runs.read_test_metrics(tmp_path / 'none') == {}
    assert runs.newest_checkpoint(tmp_path / 'none') is None
    assert runs.config_file(tmp_path / 'none') is None


def test_test_metrics_come_from_the_newest_start_also_one_that_only_tests(tmp_path):
    write_start(tmp_path, '20260101_000000', train(20, 40, 3.0), {'mIoU': 10.0, 'name': 'x'})
    assert runs.read_test_metrics(tmp_path) == {'mIoU': 10.0}
    write_start(tmp_path, '20260101_010000', [], {'mIoU': 11.0})
    assert runs.read_test_metrics(tmp_path) == {'mIoU': 11.0}


def test_test_of_an_earlier_training_does_not_count(tmp_path):
    write_start(tmp_path, '20260101_000000', train(20, 40, 3.0), {'mIoU': 10.0})
    write_start(tmp_path, '20260101_010000', train(20, 40, 3.0))
    assert runs.read_test_metrics(tmp_path) == {}


def test_mmengine_writes_where_we_read(tmp_path):
    import torch
    from mmengine.evaluator import BaseMetric
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    class Line(BaseModel):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, inputs, data_samples=None, mode='tensor'):
            if mode == 'loss':
                return dict(loss=(self.weight * torch.stack(list(inputs))).mean())
            return [dict(value=1.0) for _ in inputs]

    class Constant(BaseMetric):
        default_prefix = 'constant'

        def process(self, data_batch, data_samples):
            self.results.append(1)

        def compute_metrics(self, results):
            return dict(score=0.25)

    data = dict(
        dataset=[dict(inputs=torch.ones(1))] * 4,
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    runner = Runner(
        Line(), str(tmp_path), train_dataloader=data, val_dataloader=data, test_dataloader=data,
        train_cfg=dict(by_epoch=True, max_epochs=2), val_cfg=dict(), test_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        val_evaluator=[Constant()], test_evaluator=[Constant()],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        default_scope='mmengine', experiment_name='where_we_read',
    )  # fmt: skip
    runner.train()
    runner.test()
    records = runs.read_scalars(tmp_path)
    assert runs.series(records, 'loss')[0] == [1, 2, 3, 4]
    assert runs.series(records, 'constant/score') == ([2, 4], [0.25, 0.25])
    assert runs.read_test_metrics(tmp_path)['constant/score'] == 0.25
    assert runs.newest_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'


def test_curves_of_all_kinds_are_written(tmp_path):
    records = [
        dict(iter=20, loss=2.0, loss_rec=0.7, batch_usage=0.5, loss_mim=4.0, acc_mim=0.1),
        dict(iter=40, loss=1.0, loss_rec=0.6, batch_usage=0.7, loss_mim=3.0, acc_mim=0.2, mIoU=9.0),
    ]
    task = Comparison('Segmentation', 'loss', 'mIoU', 'mIoU (%)', 1.0, [records], [], 8.0)
    for path in (
        tokenizer_curves(records, tmp_path / 'tokenizer.png', 64),
        pretraining_curves({'seed0': records, 'seed1': records}, tmp_path / 'pretraining.png'),
        comparison_curves([task], tmp_path / 'comparison.png'),
    ):
        assert path.read_bytes().startswith(b'\x89PNG')
        assert 5_000 < path.stat().st_size < 500_000


def test_checkpoint_is_found_after_the_work_directory_moved(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_3.pth')
    assert runs.newest_checkpoint(tmp_path) is None
    (tmp_path / 'epoch_3.pth').touch()
    assert runs.newest_checkpoint(tmp_path) == tmp_path / 'epoch_3.pth'


@pytest.mark.parametrize('value', [float('nan'), 'text', None])
def test_values_that_are_no_numbers_are_left_out(tmp_path, value):
    write_start(tmp_path, '20260101_000000', train(20, 20, 1.0), {'score': value, 'other': 1})
    assert runs.read_test_metrics(tmp_path) == {'other': 1}
