"""What ``torch.compile`` makes of a recorded step, by an explicit rule.

Within one pass (forward or backward) of a Transformer layer, point-wise operators and reductions
between two products or attentions are one kernel if they share a tensor. It reads every tensor from
outside once, and writes once what an operator outside of it reads later; what only it uses stays in
registers. Products and attention stay as they are, and so does all that is outside of the layers.

This is the least that a compiler must move: inductor splits a reduction over rows from one over
columns unless it can make both in one kernel, and may recompute what it would have to keep.
"""

from dataclasses import replace

from traffic import Operator

FUSED = 'fused point-wise kernels'


def fuse(operators: list[Operator]) -> list[Operator]:
    """The kernels of a compiled step.

    Args:
        operators: recorded from a step whose layers were told that they are compiled.
    """
    readers: dict[int, list[int]] = {}
    for i, operator in enumerate(operators):
        for number in operator.reads:
            readers.setdefault(number, []).append(i)
    places: dict[int, list[int]] = {}
    kernels = []
    for i, operator in enumerate(operators):
        if operator.layer is not None:
            places.setdefault(operator.layer, []).append(i)
        elif operator.is_kernel:
            kernels.append((i, operator))
    for chosen in places.values():
        kernels += _of_layer(operators, chosen, readers)
    return [kernel for _, kernel in sorted(kernels, key=lambda item: item[0])]


def _of_layer(
    operators: list[Operator], places: list[int], readers: dict[int, list[int]]
) -> list[tuple[int, Operator]]:
    stage: dict[int, int] = {}
    kernels, by_stage = [], {}
    for i in places:
        operator = operators[i]
        after = max((stage.get(number, 0) for number in operator.reads), default=0)
        if operator.fusible:
            by_stage.setdefault(after, []).append(i)
        elif operator.is_kernel:
            kernels.append((i, operator))
            after += 1
        stage.update(dict.fromkeys(operator.writes, after))
    for members in by_stage.values():
        for group in _connected(operators, members):
            kernels.append((group[-1], _one_kernel(operators, group, readers)))
    return kernels


def _connected(operators: list[Operator], members: list[int]) -> list[list[int]]:
    """Groups of operators that share a tensor, directly or through others."""
    groups: list[tuple[set[int], list[int]]] = []
    for i in members:
        shared, joined = {*operators[i].reads, *operators[i].writes}, [i]
        apart = []
        for numbers, group in groups:
            if numbers & shared:
                shared, joined = shared | numbers, group + joined
            else:
                apart.append((numbers, group))
        groups = [*apart, (shared, sorted(joined))]
    return [group for _, group in groups]


def _one_kernel(
    operators: list[Operator], group: list[int], readers: dict[int, list[int]]
) -> Operator:
    members = [operators[i] for i in group]
    made: dict[int, int] = {}
    reads: dict[int, int] = {}
    for operator in members:
        for number, size in operator.reads.items():
            if number not in made:
                reads[number] = max(reads.get(number, 0), size)
        for number, size in operator.writes.items():
            made[number] = max(made.get(number, 0), size)
    inside = set(group)
    writes = {
        number: size
        for number, size in made.items()
        if number in reads or not inside.issuperset(readers.get(number, [-1]))
    }
    if len(members) == 1:
        return members[0]
    names = '+'.join(dict.fromkeys(operator.name.strip('_') for operator in members))
    return replace(
        members[-1],
        name=names,
        kind=FUSED,
        reads=reads,
        writes=writes,
        extra_bytes=0,
        shapes='',
    )
