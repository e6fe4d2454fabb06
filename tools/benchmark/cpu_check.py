"""Check the prediction where there is something to measure: ratios of steps on this processor.

By processor time, of which other programs take less than of the clock.
"""

import statistics
import time
from itertools import combinations

import torch
from cards import Card
from costs import Step
from paired import spread
from record import Recorder
from steps import (
    masked_samples,
    pretraining_config,
    pretraining_model,
    quantizer_step,
    random_images,
    tokenizing_step,
    train_step,
)
from timing import step_seconds

TURNS = 3
# Seconds that PyTorch takes to call an operator.
CALL = 5e-6


def compare() -> dict:
    """Time steps of different kinds in turns; print and return predicted and measured ratios."""
    steps = _steps()
    operators = {}
    for name, step in steps.items():
        step()
        with Recorder('cpu') as recorder:
            step()
        operators[name] = recorder.operators
    measured = {name: [] for name in steps}
    predicted = {name: [] for name in steps}
    for _ in range(TURNS):
        card = measured_card()
        for name, step in steps.items():
            measured[name].append(_seconds(step))
            timing = step_seconds(operators[name], card, compiled=False)
            predicted[name].append(timing.device_seconds)
    print(f'{"seconds of processor time":<36} {"predicted":>10} {"measured":>10}')
    for name in steps:
        both = [statistics.median(times[name]) for times in (predicted, measured)]
        print(f'{name:<36} {both[0]:>10.4f} {both[1]:>10.4f}')
    ratios = {}
    print(f'{"ratio of":<36} {"predicted":>10} {"measured":>22}')
    for one, other in combinations(steps, 2):
        name = f'{one} / {other}'
        ratios[name] = dict(
            predicted=spread([a / b for a, b in zip(predicted[one], predicted[other])]),
            measured=spread([a / b for a, b in zip(measured[one], measured[other])]),
        )
        found = ratios[name]['measured']
        print(
            f'{name:<36} {ratios[name]["predicted"]["median"]:>10.2f} {found["median"]:>10.2f} '
            f'({found["lowest"]:.2f}–{found["highest"]:.2f})'
        )
    return dict(predicted=predicted, measured=measured, ratios=ratios)


def measured_card() -> Card:
    """The processor at the rates that it reaches now, in float32."""
    # Of the shape of a layer's products with two images.
    a, b = torch.randn(2 * 197, 768), torch.randn(768, 3072)
    product = 2 * a.numel() * b.shape[1] / min(_seconds(lambda: a @ b) for _ in range(10))
    # Added, not copied: a processor reads what it is going to write, and a GPU does not.
    x, y = torch.randn(2, 2**25)
    memory = 3 * x.nbytes / min(_seconds(lambda: y.add_(x)) for _ in range(3))
    rate = {torch.float32: product}
    # What is measured is what is reached, so all fractions are 1.
    return Card('this processor', rate, memory, rate, 'measured', 1, 1, CALL, (1, 1), (1, 1))


def _seconds(step: Step) -> float:
    begin = time.process_time()
    step()
    return (time.process_time() - begin) / torch.get_num_threads()


def _steps() -> dict[str, Step]:
    torch.manual_seed(0)
    return {
        'pretraining': _pretraining(depth=12, layer=9),
        'pretraining, 6 layers': _pretraining(depth=6, layer=4),
        'tokenizing': tokenizing_step(2, 'cpu'),
        'quantizer': quantizer_step(16, 'cpu'),
        'AdamW': _adamw(),
    }


def _pretraining(depth: int, layer: int) -> Step:
    cfg = pretraining_config()
    cfg.model.backbone.arch = dict(embed_dim=768, depth=depth, num_heads=12)
    cfg.model.neck.layer = layer
    model = pretraining_model(cfg)
    views = [random_images(2, 'cpu') for _ in range(2)]
    return train_step(model, cfg, views, masked_samples(2), 'float32')


def _adamw() -> Step:
    """The optimiser alone, which is nothing but memory."""
    weights = [torch.randn(3072, 768, requires_grad=True) for _ in range(40)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    return torch.optim.AdamW(weights, fused=True).step
