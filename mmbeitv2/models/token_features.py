"""What a vision Transformer of any checkpoint gives as the features of an image."""

from torch import Tensor

from mmbeitv2.models.vit import VisionTransformer


def token_features(
    vit: VisionTransformer, images: Tensor, of_tokenizer: bool = False
) -> dict[str, Tensor]:
    """Features of images after the last layer.

    Args:
        vit: of a tokenizer, of pretraining, or of a fine-tuned model.
        images: float ``(B, C, H, W)``, normalised as ``vit`` was trained.
        of_tokenizer: its ``fc_norm`` is one of every token; a classifier's is one of the mean.

    Returns:
        float32 ``cls`` ``(B, C)``, ``mean`` of the patches ``(B, C)`` and ``patches``
        ``(B, N, C)``, after the final norm. A fine-tuned classifier normalises the mean alone.
    """
    x, grid = vit.embed(images)
    return features_of_tokens(vit, vit.layers(x, grid, vit.shared_bias(grid)), of_tokenizer)


def features_of_tokens(
    vit: VisionTransformer, x: Tensor, of_tokenizer: bool = False
) -> dict[str, Tensor]:
    """As :func:`token_features`, of the tokens ``(B, 1 + N, C)`` that the last layer gives."""
    norm = vit.norm or (vit.fc_norm if of_tokenizer else None)
    x = x.float() if norm is None else norm(x).float()
    mean = x[:, 1:].mean(1)
    if vit.fc_norm is not None and not of_tokenizer:
        mean = vit.fc_norm(mean.to(vit.fc_norm.weight.dtype)).float()
    return dict(cls=x[:, 0], mean=mean, patches=x[:, 1:])
