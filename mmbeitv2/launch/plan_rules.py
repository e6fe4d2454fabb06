"""The rules by which a plan for a folder of photos is made."""

import math
from dataclasses import replace

from mmbeitv2.datasets.survey import Survey
from mmbeitv2.errors import InputError
from mmbeitv2.launch.plan import (
    END_SECONDS,
    PATCH,
    SIZES,
    START_SECONDS,
    Given,
    Machine,
    Plan,
    Size,
    Stage,
    Wishes,
)

# Fewer show too little of anything, whatever is trained on them.
FEWEST_PHOTOS = 100
# Of the files that look like photos; more say that something is wrong with the folder.
MOST_UNREADABLE = 0.1
# Held out: one in twenty, within these numbers.
HELD_OUT, FEWEST_HELD_OUT, MOST_HELD_OUT = 0.05, 30, 1000
# The rule of docs/small_data.md: so many patches of all photos for each code, within these numbers.
PATCHES_A_CODE = 200
FEWEST_CODES, MOST_CODES = 128, 8192
SMALLEST_IMAGE = 64
# Below so many photos the paper's base model only learns them by heart.
PHOTOS_OF_BASE = 20_000
# Of an epoch, at least.
FEWEST_STEPS = 10
# Of a run's time, the share that the tokenizer gets.
TOKENIZER_SHARE = 0.25
# In fewer steps nothing is learned.
SHORTEST = 200


def check_photos(survey: Survey) -> None:
    """Refuse photos that nothing can be learned from, before any work.

    Raises:
        InputError: too few, too few different ones, or too many that cannot be read.
    """
    check_readable(survey)
    if len(survey.photos) < FEWEST_PHOTOS:
        raise InputError(
            f'{survey.shown} has {len(survey.photos)} photos, needed: {FEWEST_PHOTOS} or more. '
            'With fewer, take features of published weights: `mmbeitv2 embed`'
        )
    if survey.different < FEWEST_PHOTOS:
        raise InputError(
            f'{survey.shown} has {len(survey.photos)} photos, of which only {survey.different} '
            f'look different, needed: {FEWEST_PHOTOS} or more. Add others'
        )


def check_readable(survey: Survey) -> None:
    """Refuse photos of which so many cannot be read that something is wrong with their folder.

    Raises:
        InputError: too many that cannot be read.
    """
    found = len(survey.photos) + len(survey.unreadable)
    if len(survey.unreadable) > MOST_UNREADABLE * found:
        first, reason = next(iter(survey.unreadable.items()))
        raise InputError(
            f'{len(survey.unreadable)} of {found} files of {survey.shown} cannot be read, '
            f'allowed: {MOST_UNREADABLE:.0%}; the first is {first} ({reason}). Restore or '
            'remove them: `mmbeitv2 check-images` lists all'
        )


def number_held_out(photos: int) -> int:
    """How many photos to hold out, of so many."""
    return min(MOST_HELD_OUT, max(FEWEST_HELD_OUT, round(HELD_OUT * photos)))


def make_plan(
    survey: Survey,
    photos: int,
    held_out: int,
    machine: Machine,
    wishes: Wishes,
    given: Given,
) -> Plan:
    """Choose everything but the length, for which steps have to be timed.

    Args:
        survey: of the folder.
        photos: to train on.
        held_out: to look at.
        machine: that trains.
        wishes: of the user.
        given: weights to start from.

    Raises:
        InputError: a wish that cannot be granted.
    """
    _check_wishes(wishes, given)
    size = _size(photos, machine, wishes)
    batches_of = size
    shape, size_reason = SIZES[size], _size_reason(photos, machine, wishes)
    if given.shape is not None:
        size, shape, size_reason = 'given', given.shape, 'of the weights to go on from'
        batches_of = _like(shape)
    side, side_reason = _image_size(survey, shape.image_size, wishes, given)
    first, second = _batches(batches_of, photos, machine)
    patches = (side // PATCH) ** 2
    step = patches * first.batch * first.processes
    num_codes, codes_reason = _num_codes(photos, patches, step, wishes, given)
    tokenizer = first if given.num_codes is None else None
    reasons = dict(size=size_reason, image_size=side_reason, num_codes=codes_reason)
    return Plan(photos, held_out, side, size, shape, num_codes, tokenizer, second, reasons)


def with_lengths(plan: Plan, seconds: dict[str, float], hours: float | None) -> Plan:
    """Settle epochs by how long a step takes.

    Args:
        plan: without lengths.
        seconds: of a step, by the stage's name.
        hours: for everything; None for as many steps as usual.

    Raises:
        InputError: so little time that nothing would be learned.
    """
    timed = {
        name: replace(stage, seconds_a_step=seconds[name]) for name, stage in plan.stages.items()
    }
    if hours is None:
        usual = {n: _usual_steps(n, plan.shape) for n in timed}
    else:
        left = 3600 * hours - END_SECONDS - START_SECONDS * len(timed)
        shares = dict(tokenizer=TOKENIZER_SHARE, pretraining=1 - TOKENIZER_SHARE)
        total = sum(shares[name] for name in timed)
        usual = {n: int(left * shares[n] / total / 1.05 / seconds[n]) for n in timed}
        if min(usual.values()) < SHORTEST:
            longest = max(SHORTEST * seconds[n] / shares[n] * total * 1.05 for n in timed)
            needed = (longest + END_SECONDS + START_SECONDS * len(timed)) / 3600
            raise InputError(
                f'--hours is {hours:g}, in which nothing is learned on this machine, needed: '
                f'{needed:.2g} or more. Give more time, smaller images (--image-size) or a smaller '
                'model (--size)'
            )
    lengths = {
        name: replace(
            stage,
            epochs=min(
                _most_epochs(name, hours), max(1, math.ceil(usual[name] / stage.steps_an_epoch))
            ),
        )
        for name, stage in timed.items()
    }
    return replace(plan, tokenizer=lengths.get('tokenizer'), pretraining=lengths['pretraining'])


def _usual_steps(stage: str, shape: Size) -> int:
    """Steps where no time is given: of the demo, or a tenth of the paper's 187,000."""
    if shape.narrow:
        return dict(tokenizer=800, pretraining=4000)[stage]
    return dict(tokenizer=6000, pretraining=18_700)[stage]


def _most_epochs(stage: str, hours: float | None) -> int:
    """Of the paper's longest runs; a user who gives hours wants them used."""
    if hours is not None:
        return 10_000
    return dict(tokenizer=200, pretraining=1600)[stage]


def _check_wishes(wishes: Wishes, given: Given) -> None:
    """What given weights settle cannot be wished otherwise."""
    if wishes.num_codes is not None and given.num_codes not in (None, wishes.num_codes):
        raise InputError(
            f'--codes is {wishes.num_codes}, but the tokenizer that is given has '
            f'{given.num_codes}: leave --codes out'
        )
    if wishes.image_size is not None and given.image_size not in (None, wishes.image_size):
        raise InputError(
            f'--image-size is {wishes.image_size}, but the weights of {given.source} take images '
            f'of {given.image_size} pixels: leave --image-size out'
        )
    if wishes.size is not None and given.shape is not None:
        raise InputError(
            f'--size is {wishes.size!r}, but --from settles the size of the model: leave --size out'
        )


def _like(shape: Size) -> str:
    """The size whose batches suit this width."""
    return next((n for n, known in SIZES.items() if shape.embed_dim <= known.embed_dim), 'large')


def _size(photos: int, machine: Machine, wishes: Wishes) -> str:
    if wishes.size is not None:
        if wishes.size not in SIZES:
            raise InputError(f'--size is {wishes.size!r}, allowed: {", ".join(SIZES)}')
        return wishes.size
    if machine.device == 'cpu':
        return 'tiny'
    return 'base' if photos >= PHOTOS_OF_BASE else 'small'


def _size_reason(photos: int, machine: Machine, wishes: Wishes) -> str:
    if wishes.size is not None:
        return 'as asked'
    if machine.device == 'cpu':
        return 'a CPU trains no larger one in a reasonable time'
    return f'{photos:,} photos; base from {PHOTOS_OF_BASE:,} on'


def _image_size(survey: Survey, usual: int, wishes: Wishes, given: Given) -> tuple[int, str]:
    if given.image_size is not None:
        return given.image_size, f'of {given.source}'
    if wishes.image_size is not None:
        if wishes.image_size < SMALLEST_IMAGE or wishes.image_size % PATCH:
            raise InputError(
                f'--image-size is {wishes.image_size}, allowed: a multiple of {PATCH} from '
                f'{SMALLEST_IMAGE} on'
            )
        return wishes.image_size, 'as asked'
    largest = survey.short_side // PATCH * PATCH
    if largest >= usual:
        return usual, 'usual for this size of model'
    side = max(SMALLEST_IMAGE, largest)
    return side, f'half of the photos have a short side of {survey.short_side} pixels or less'


def _num_codes(
    photos: int, patches: int, step: int, wishes: Wishes, given: Given
) -> tuple[int, str]:
    """K, and why.

    Args:
        photos: to train on.
        patches: of an image.
        step: patches of a step of all processes: more codes than these change to the end.
        wishes: of the user.
        given: weights to start from.
    """
    if given.num_codes is not None:
        return given.num_codes, 'of the tokenizer that is given'
    if wishes.num_codes is not None:
        if not 2 <= wishes.num_codes <= 2**20:
            raise InputError(f'--codes is {wishes.num_codes}, allowed: 2 or more; usual is 8192')
        return wishes.num_codes, 'as asked'
    most = min(max(photos * patches / PATCHES_A_CODE, FEWEST_CODES), step, MOST_CODES)
    reason = f'{photos:,} photos × {patches} patches / {PATCHES_A_CODE}, at least {FEWEST_CODES}'
    return 2 ** int(math.log2(most)), f'{reason}, at most the {step:,} of a step and {MOST_CODES}'


def _batches(size: str, photos: int, machine: Machine) -> tuple[Stage, Stage]:
    """Batches of tokenizer and pretraining, whose epochs have ten steps or more."""
    if machine.device == 'cpu':
        # Small models gain little from a second core; two processes do for the tokenizer, whose
        # steps are few, and many small steps teach the backbone more than few large ones.
        processes = (min(2, machine.cores), 1)
        batches = (32, 32)
    else:
        processes = (machine.devices, machine.devices)
        batches = dict(tiny=(64, 64), small=(64, 256), base=(64, 256), large=(64, 128))[size]
    tokenizer, pretraining = (
        _stage(photos, min(batch, photos // (FEWEST_STEPS * count)), count)
        for batch, count in zip(batches, processes)
    )
    return tokenizer, pretraining


def _stage(photos: int, batch: int, processes: int) -> Stage:
    batch = max(1, batch)
    return Stage(batch, processes, epochs=1, steps_an_epoch=photos // (batch * processes))
