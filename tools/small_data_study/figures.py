"""What a tokenizer's codes are worth on photos that nothing has been trained on."""

from typing import NamedTuple

import numpy as np
import torch
from quickstart_codes import class_shares
from torch import Tensor

from mmbeitv2.apis import for_tokenizer
from mmbeitv2.evaluation.code_meaning import told_by_code
from mmbeitv2.models import VQKD
from mmbeitv2.models.quantizer import count_codes, perplexity

from .crops import Crops, held_out_crops
from .settings import Settings

BATCH = 100
# Training crops whose reconstruction is compared with that of held-out photos.
COMPARED = 1000


class HeldOut(NamedTuple):
    """Held-out photos with the teacher's features and the class of every patch.

    Attributes:
        crops: the photos.
        classes: int64 ``(N, patches)``, that covers most of a patch; 0 is the background.
    """

    crops: Crops
    classes: Tensor

    @classmethod
    def of(cls, settings: Settings, teacher: str) -> 'HeldOut':
        """Of a study."""
        crops = held_out_crops(settings, teacher)
        grid = crops.pixels.shape[-1] // 16
        shares = class_shares(settings.held_out_photos(), (grid, grid))
        return cls(crops, shares.argmax(1).flatten(1))

    def codes(self, model: VQKD) -> Tensor:
        """Codes int64 ``(N, patches)``."""
        return codes_and_losses(model, self.crops)[0]


@torch.no_grad()
def codes_and_losses(model: VQKD, crops: Crops) -> tuple[Tensor, float]:
    """Codes int64 ``(N, patches)`` and mean reconstruction loss of crops, in eval mode."""
    model.eval()
    codes, losses = [], []
    for start in range(0, len(crops.pixels), BATCH):
        part = slice(start, start + BATCH)
        images = for_tokenizer(torch.from_numpy(np.array(crops.pixels[part])))
        z_q, found, _ = model.quantized(images)
        target = torch.from_numpy(np.array(crops.features[part])).float()
        losses.append(model.reconstruction_loss(model.decode(z_q), target).flatten())
        codes.append(found.flatten(1))
    return torch.cat(codes), torch.cat(losses).mean().item()


def figures_of(model: VQKD, held_out: HeldOut, training: Crops) -> dict[str, float]:
    """All figures of a trained tokenizer.

    Returns:
        ``usage`` (0 to 1) and ``perplexity`` (1 to K); ``told``, see :func:`told_by_code`;
        ``purity`` and its guess, see :func:`purity`; ``reconstruction`` (1 − cos, 0 to 2) and
        ``reconstruction_train`` of training crops.
    """
    codes, reconstruction = codes_and_losses(model, held_out.crops)
    seen = Crops(*(part[:COMPARED] for part in training))
    right, guess = purity(codes, held_out.classes)
    return dict(
        **usage_figures(codes, model.quantize.num_codes),
        told=told_by_code(codes.flatten(), held_out.classes.flatten()),
        purity=right,
        purity_guess=guess,
        reconstruction=reconstruction,
        reconstruction_train=codes_and_losses(model, seen)[1],
    )


def usage_figures(codes: Tensor, num_codes: int) -> dict[str, float]:
    """Share of the codes that occur, 0 to 1, and their perplexity, 1 to K."""
    counts = count_codes(codes, num_codes)
    return dict(usage=(counts > 0).float().mean().item(), perplexity=perplexity(counts).item())


def changed_codes(before: Tensor, after: Tensor) -> float:
    """Share of the patches that have got another code, 0 to 1."""
    return (before != after).double().mean().item()


def purity(codes: Tensor, classes: Tensor) -> tuple[float, float]:
    """How often the commonest class of a code is right, and how often that of all patches.

    The classes of codes are learned on every other photo and asked about on the rest, and the other
    way round: on the same photos, many codes of few patches each would look pure.

    Args:
        codes: int64 ``(N, patches)``.
        classes: likewise.

    Returns:
        Mean over the classes of the share of their patches that are told right, 0 to 1 both: most
        patches are background, which would hide the rest.
    """
    halves = [slice(0, None, 2), slice(1, None, 2)]
    found = [
        _asked(codes[known], classes[known], codes[asked], classes[asked])
        for known, asked in (halves, halves[::-1])
    ]
    right, guess = (sum(values) / len(values) for values in zip(*found))
    return right, guess


def _asked(codes: Tensor, classes: Tensor, asked: Tensor, answers: Tensor) -> tuple[float, float]:
    codes, classes, asked, answers = (x.flatten() for x in (codes, classes, asked, answers))
    number = int(torch.cat([classes, answers]).max()) + 1
    table = torch.zeros(int(torch.cat([codes, asked]).max()) + 1, number)
    table.index_put_((codes, classes), torch.ones(len(codes)), accumulate=True)
    # Each class counts alike, as in the mean below.
    weighed = table / table.sum(0).clamp(min=1)
    told = weighed.argmax(1)[asked]
    shares = [(told[answers == c] == c).double().mean() for c in answers.unique()]
    return torch.stack(shares).mean().item(), 1 / len(shares)
