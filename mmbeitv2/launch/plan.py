"""What to train on a folder of photos: the choices, and what they follow from."""

import dataclasses
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

PATCH = 16
# Looks at held-out photos in a run.
LOOKS = 10
# Starting a run, k-means, checkpoints; evaluating and the report; seconds.
START_SECONDS, END_SECONDS = 25, 60


class Size(NamedTuple):
    """Sizes of backbone and tokenizer, and how they are trained.

    Attributes:
        embed_dim: width of both.
        depth: layers of the backbone.
        num_heads: of both.
        layer: whose patches are aggregated, l.
        encoder_depth: layers of the tokenizer's encoder.
        code_dim: width of a code.
        image_size: in pixels, where photos are as large.
        narrow: initial weights, layer scale and learning rates of the demo, which narrow layers
            and short runs need; the paper's otherwise.
    """

    embed_dim: int
    depth: int
    num_heads: int
    layer: int
    encoder_depth: int
    code_dim: int
    image_size: int
    narrow: bool


SIZES = dict(
    tiny=Size(128, 6, 2, 4, 4, 16, 96, True),
    small=Size(384, 12, 6, 9, 12, 32, 224, False),
    base=Size(768, 12, 12, 9, 12, 32, 224, False),
    large=Size(1024, 24, 16, 21, 12, 32, 224, False),
)


class Machine(NamedTuple):
    """What trains.

    Attributes:
        device: ``'cuda'`` or ``'cpu'``.
        devices: number of GPUs; 1 on a CPU.
        cores: that this process may use.
        precision: ``'bfloat16'``, ``'float16'`` or ``'float32'``, which ``auto`` chooses.
        name: of the device, for the reader.
    """

    device: str
    devices: int
    cores: int
    precision: str
    name: str


class Given(NamedTuple):
    """What weights that are there already settle; None leaves the choice to the rules.

    Attributes:
        shape: of the backbone that goes on from given weights.
        image_size: in pixels, which those weights, or a given tokenizer, take.
        num_codes: of a given tokenizer, so that none is trained.
        source: which option gave the image size, for the reader.
    """

    shape: Size | None = None
    image_size: int | None = None
    num_codes: int | None = None
    source: str = ''


class Wishes(NamedTuple):
    """What the user has asked for; None leaves the choice to the rules."""

    hours: float | None = None
    size: str | None = None
    image_size: int | None = None
    num_codes: int | None = None


@dataclass(frozen=True)
class Stage:
    """One training run.

    Args:
        batch: images a step of one process.
        processes: that train together.
        epochs: over the photos.
        steps_an_epoch: the last, incomplete batch is left out.
        seconds_a_step: as measured before the run; None before that.
    """

    batch: int
    processes: int
    epochs: int
    steps_an_epoch: int
    seconds_a_step: float | None = None

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * self.steps_an_epoch

    @property
    def minutes(self) -> float | None:
        """Of the whole run, with its start and its looks at held-out photos."""
        if self.seconds_a_step is None:
            return None
        return (START_SECONDS + 1.05 * self.steps * self.seconds_a_step) / 60


@dataclass(frozen=True)
class Plan:
    """All choices of a run.

    Args:
        photos: to train on.
        held_out: to look at.
        image_size: in pixels, a multiple of the patch size.
        size: key of ``SIZES``, or ``'given'`` of a backbone that goes on from given weights.
        shape: of the backbone, and of a tokenizer that is trained.
        num_codes: K.
        tokenizer: its training; None where one is given.
        pretraining: of the backbone.
        reasons: by choice, for the reader.
    """

    photos: int
    held_out: int
    image_size: int
    size: str
    shape: Size
    num_codes: int
    tokenizer: Stage | None
    pretraining: Stage
    reasons: dict[str, str]

    @property
    def stages(self) -> dict[str, Stage]:
        """What is trained, in its order."""
        stages = dict(tokenizer=self.tokenizer, pretraining=self.pretraining)
        return {name: stage for name, stage in stages.items() if stage is not None}

    @property
    def minutes(self) -> float | None:
        """Of everything."""
        minutes = [stage.minutes for stage in self.stages.values()]
        known = [number for number in minutes if number is not None]
        return sum(known) + END_SECONDS / 60 if len(known) == len(minutes) else None

    def as_json(self) -> dict[str, Any]:
        """Everything, for ``plan.json``; minutes are for its readers."""
        content = asdict(self) | dict(shape=self.shape._asdict())
        for name, stage in self.stages.items():
            content[name]['minutes'] = stage.minutes
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> 'Plan':
        """What :meth:`as_json` gave."""
        fields = {field.name for field in dataclasses.fields(Stage)}
        stages = {
            name: content[name] and Stage(**{k: v for k, v in content[name].items() if k in fields})
            for name in ('tokenizer', 'pretraining')
        }
        return cls(**{**content, **stages, 'shape': Size(**content['shape'])})
