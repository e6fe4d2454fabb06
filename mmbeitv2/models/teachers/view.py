"""What a teacher sees of images that are not RGB, which is chosen, never guessed."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmbeitv2.datasets.channels import RGBView
from mmbeitv2.registry import MODELS

KEY = 'model.teacher.view'


class ViewingTeacher(nn.Module):
    """A teacher of RGB that is shown a view of other channels.

    Args:
        teacher: takes float RGB in [-1, 1].
        view: of the images.
    """

    def __init__(self, teacher: nn.Module, view: RGBView) -> None:
        super().__init__()
        self.teacher = teacher
        self.view = view
        self.embed_dim = teacher.embed_dim

    def forward(self, images: Tensor, grid_size: int | tuple[int, int]) -> Tensor:
        """Patch features of images, float (B, C, H, W) in [-1, 1], at the student's grid.

        Args:
            images: the tokenizer's view, of all channels.
            grid_size: the student's grid, (h, w), or one integer for a square.

        Returns:
            float32 (B, h * w, ``embed_dim``), row-major, without gradient.
        """
        return self.teacher(self.view(images), grid_size)


def build_teacher(config: Mapping[str, Any], channels: int) -> Any:
    """Build a teacher for images of so many channels.

    Args:
        config: of a teacher. Its key ``view`` says what a teacher of RGB sees, see
            :class:`mmbeitv2.datasets.channels.RGBView`.
        channels: of the tokenizer's images.

    Raises:
        ValueError: images of other channels than three, and no ``view``.
    """
    config = dict(config)
    view = config.pop('view', None)
    if channels == 3 and view is None:
        return MODELS.build(config)
    # First, since it is the config's fault, and a teacher may take a download.
    shown = RGBView(channels, view, KEY)
    return ViewingTeacher(MODELS.build(config), shown)
