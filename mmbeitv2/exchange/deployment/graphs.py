"""Photos in, codes, features, scores or class maps out: the modules that become a graph."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbeitv2.models.quantizer import l2_normalize
from mmbeitv2.models.token_features import token_features
from mmbeitv2.models.tokenizer import VQKDTokenizer
from mmbeitv2.models.vit import VisionTransformer

# What white is in each kind of input.
INPUTS = dict(uint8=255.0, float=1.0)


class TokenizerGraph(nn.Module):
    """Codes int64 ``(N, rows, columns)`` of normalised images."""

    outputs = ('codes',)

    def __init__(self, tokenizer: VQKDTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        # Half a thousandth of the work, and all of the decision.
        self.exact = ['tokenizer.encode_task_layer', 'tokenizer.quantize']

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return (self.tokenizer.tokenize(images),)

    @torch.no_grad()
    def gaps(self, images: Tensor, codes: Tensor) -> Tensor:
        """Cosine of each patch's nearest code minus that of the given one; 0 of equal codes.

        Args:
            images: float ``(N, 3, H, W)``, normalised.
            codes: int64 ``(N, rows, columns)``.
        """
        z, _ = self.tokenizer.encode(images)
        codebook = self.tokenizer.quantize.codebook
        nearest = self.tokenizer.tokenize(images)
        difference = codebook[nearest] - codebook[codes]
        return (l2_normalize(z) * difference.flatten(1, 2)).sum(-1).view_as(codes)


class BackboneGraph(nn.Module):
    """``cls`` and ``mean`` float32 ``(N, C)`` and ``patches`` ``(N, rows · columns, C)``."""

    outputs = ('cls', 'mean', 'patches')

    def __init__(self, vit: VisionTransformer, of_tokenizer: bool) -> None:
        super().__init__()
        self.vit = vit
        self.of_tokenizer = of_tokenizer
        self.exact: list[str] = []

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        features = token_features(self.vit, images, self.of_tokenizer)
        return tuple(features[name] for name in self.outputs)


class ClassifierGraph(nn.Module):
    """``logits`` float32 ``(N, K)`` and ``scores``, their softmax."""

    outputs = ('logits', 'scores')

    def __init__(self, model: nn.Module, exact: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model
        self.exact = [f'model.{name}' for name in exact]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        logits = self.model(images, mode='tensor').float()
        return logits, logits.softmax(dim=1)


class SegmentationGraph(nn.Module):
    """``labels`` uint8, or int32 of more than 256 classes, ``(N, H, W)`` of the images' size."""

    outputs = ('labels',)

    def __init__(self, model: Any, exact: Sequence[str] = ()) -> None:
        super().__init__()
        self.model = model
        self.exact = [f'model.{name}' for name in exact]
        few = model.decode_head.num_classes <= 256
        self.kind = torch.uint8 if few else torch.int32

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        # mmsegmentation reads that of the first alone; one for each would fix the batch.
        size = dict(img_shape=tuple(images.shape[-2:]))
        logits = self.model.encode_decode(images, [size])
        return (logits.float().argmax(dim=1).to(self.kind),)


class PhotoGraph(nn.Module):
    """A model together with its normalisation: what is exported.

    Args:
        body: one of the above.
        mean: of red, green and blue on the scale [0, 1].
        std: likewise.
        kind: ``'uint8'`` for pixels in [0, 255] or ``'float'`` for float32 in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, body: Any, mean: Sequence[float], std: Sequence[float], kind: str = 'uint8'
    ) -> None:
        super().__init__()
        self.body = body
        self.white = INPUTS[kind]
        self.dtype_of_pixels = torch.uint8 if kind == 'uint8' else torch.float32
        self.dtype = torch.float32
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Outputs of RGB photos ``(N, 3, H, W)`` of the kind of pixels chosen."""
        return self.body(self.normalized(pixels))

    def normalized(self, pixels: Tensor) -> Tensor:
        """What the body sees."""
        return ((pixels.float() / self.white - self.mean) / self.std).to(self.dtype)

    def halve(self) -> None:
        """Turn the weights into float16, but for what decides: heads and codebook."""
        self.body.half()
        for name in self.body.exact:
            self.body.get_submodule(name).float()
        self.dtype = torch.float16
