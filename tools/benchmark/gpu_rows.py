"""The rows of ``gpu.sh``: what is run on a GPU, and the same commands made tiny for a CPU."""

from collections.abc import Sequence

from rows import Row

KINDS = ('pretraining', 'vqkd', 'finetuning', 'segmentation')
# One run that counts epochs, one that counts iterations.
KILLED = ('pretraining', 'segmentation')
PROFILED = ('pretraining', 'tokenizing', 'vqkd')


def row(stage: int, name: str, command: str, limit: float) -> Row:
    """A row whose command is written as a user types it."""
    return Row(name, stage, tuple(command.split()), limit)


def gpu_rows() -> list[Row]:
    """All rows of a GPU, in the order of their stages."""
    return [
        *correctness('cuda', 'bfloat16', steps=50, limit=240),
        *gpu_table(),
        *(
            row(
                3,
                f'profile-{step}',
                f'profiling.py {step} --device cuda --batch 128 --precision bfloat16 --compile',
                300,
            )
            for step in PROFILED
        ),
    ]


def correctness(
    device: str, precision: str, steps: int, limit: float, trained: Sequence[str] = KINDS
) -> list[Row]:
    """Stage 1: the CPU's numbers, training that learns, and runs that survive a kill."""
    training = f'--work {{folder}}/work --device {device} --precision {precision} --steps {steps}'
    return [
        *(row(1, f'agree-{k}', f'agreement.py {k} --device {device}', 180) for k in KINDS),
        *(row(1, f'train-{k}', f'training.py {k} {training}', limit) for k in trained),
        *(row(1, f'resume-{k}', f'training.py {k} {training} --kill', limit) for k in KILLED),
    ]


def gpu_table() -> list[Row]:
    """Stage 2: our steps beside the peers', the roofline, growth and counts."""
    low = '--device cuda --precision bfloat16'
    few = f'{low} --pairs 5 --steps 3'
    compiled = f'{low} --pairs 5 --compile'
    return [
        row(2, 'rate', f'rate.py {low} --batch 128 --step pretraining', 120),
        row(2, 'quantizer', 'quantizer.py --device cuda --pairs 20 --steps 10', 120),
        row(2, 'attention', f'attention.py {low} --batch 256 --pairs 10 --steps 5', 120),
        row(2, 'tokenizing-float32', 'tokenizing.py --device cuda --batch 64 --pairs 5', 120),
        row(2, 'tokenizing-bfloat16', f'tokenizing.py {few} --batch 256', 120),
        row(2, 'pretraining-float32', 'pretraining.py --device cuda --batch 32 --pairs 5', 120),
        row(2, 'pretraining-bfloat16', f'pretraining.py {few} --batch 128', 120),
        row(2, 'vqkd-bfloat16', f'vqkd.py {few} --batch 128', 120),
        row(2, 'segmentation-bfloat16', f'segmentation.py {few} --batch 8', 120),
        row(2, 'upernet-bfloat16', f'segmentation.py {few} --part upernet --batch 4', 120),
        row(2, 'scaling', f'scaling.py {low} --batch 16 --pairs 5 --pretraining-batch 128', 240),
        row(2, 'count', 'count.py --device cuda --batch 16', 180),
        # Last, since compiling takes minutes.
        row(2, 'tokenizing-compiled', f'tokenizing.py {compiled} --batch 256', 420),
        row(2, 'pretraining-compiled', f'pretraining.py {compiled} --batch 128', 420),
        row(2, 'vqkd-compiled', f'vqkd.py {compiled} --batch 128', 420),
    ]


def cpu_rows(mixed_precision: bool) -> list[Row]:
    """Every command with tiny settings on the CPU, to see that all of them work.

    Args:
        mixed_precision: the CPU has instructions for bfloat16; without them a single step in it
            takes minutes.
    """
    precision = 'bfloat16' if mixed_precision else 'float32'
    quick = '--device cpu --batch 1 --pairs 1'
    return [
        # Killed runs have to learn as well; here that is enough of the others.
        *correctness('cpu', precision, 20, 600, [k for k in KINDS if k not in KILLED]),
        row(2, 'rate', 'rate.py --device cpu --pairs 1', 300),
        row(2, 'quantizer', f'quantizer.py {quick} --num-codes 512', 300),
        row(2, 'tokenizing', f'tokenizing.py {quick}', 300),
        row(2, f'pretraining-{precision}', f'pretraining.py {quick} --precision {precision}', 600),
        row(2, f'vqkd-{precision}', f'vqkd.py {quick} --precision {precision}', 600),
        row(2, 'segmentation', f'segmentation.py {quick} --size 128', 300),
        row(2, 'upernet', f'segmentation.py {quick} --part upernet --batch 2 --size 64', 300),
        row(
            2,
            'scaling',
            f'scaling.py {quick} --sides 64 128 --codes 256 512 --quantizer-batch 4 '
            '--pretraining-batch 1',
            1200,
        ),
        row(2, 'count', 'count.py --device cpu --batch 1 --step quantizer', 300),
        row(2, 'tokenizing-compiled', f'tokenizing.py {quick} --compile', 600),
        row(3, 'profile-tokenizing', 'profiling.py tokenizing --device cpu --batch 1', 300),
    ]
