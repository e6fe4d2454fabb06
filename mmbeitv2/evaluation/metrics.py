"""Metrics, each over the whole validation set and all ranks."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from torch import Tensor

from mmbeitv2.evaluation.code_meaning import copied_right
from mmbeitv2.models.quantizer import perplexity
from mmbeitv2.registry import METRICS


@METRICS.register_module()
class TokenizerMetric(BaseMetric):
    """Quality of a tokenizer on held-out images.

    ``reconstruction`` (1 − cos, 0 to 2), ``commitment``, ``codebook_usage`` (share of codes, 0 to
    1) and ``codebook_perplexity`` (1 to K). Where the data set gives labels (``with_label=True``),
    also ``class_nmi``, see :func:`normalized_mutual_information`.

    Args:
        num_codes: K.
        **kwargs: of mmengine's ``BaseMetric``.
    """

    default_prefix = 'tokenizer'

    def __init__(self, num_codes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_codes = num_codes

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep codes and losses of every image."""
        for sample in data_samples:
            result = dict(
                codes=sample['codes'].flatten().cpu(),
                reconstruction=float(sample['reconstruction_loss']),
                commitment=float(sample['commitment_loss']),
            )
            if 'gt_label' in sample:
                result['label'] = int(sample['gt_label'])
            self.results.append(result)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Means of the losses; usage and perplexity of all codes together."""
        codes = torch.cat([r['codes'] for r in results])
        counts = torch.bincount(codes, minlength=self.num_codes).float()
        metrics = dict(
            reconstruction=sum(r['reconstruction'] for r in results) / len(results),
            commitment=sum(r['commitment'] for r in results) / len(results),
            codebook_usage=(counts > 0).float().mean().item(),
            codebook_perplexity=perplexity(counts).item(),
        )
        if 'label' in results[0]:
            labels = torch.tensor([r['label'] for r in results]).repeat_interleave(
                torch.tensor([len(r['codes']) for r in results])
            )
            metrics['class_nmi'] = normalized_mutual_information(codes, labels)
        return metrics


def normalized_mutual_information(codes: Tensor, labels: Tensor) -> float:
    """How much the code of a patch tells of the class of its image.

    I(code; class) / √(H(code) H(class)), 0 for codes that know nothing of classes to 1 for codes
    that are classes. It compares tokenizers before any pretraining, on the same images; with few
    patches for each code it is too high, so compare at equal numbers of codes and patches.

    Args:
        codes: int64 ``(N,)``, 0 or more.
        labels: int64 ``(N,)``, 0 or more; a patch has its image's.

    Returns:
        0 to 1; 0 if all codes or all labels are the same.
    """
    num_labels = int(labels.max()) + 1
    joint = torch.bincount(codes * num_labels + labels, minlength=num_labels).double()
    joint = F.pad(joint, (0, -joint.numel() % num_labels)).view(-1, num_labels) / codes.numel()
    of_codes, of_labels, of_both = (
        torch.special.entr(p).sum() for p in (joint.sum(dim=1), joint.sum(dim=0), joint)
    )
    if of_codes == 0 or of_labels == 0:
        return 0.0
    return ((of_codes + of_labels - of_both) / (of_codes * of_labels).sqrt()).clamp(0, 1).item()


@METRICS.register_module()
class MaskedCodeMetric(BaseMetric):
    """Accuracy of the predicted codes of masked patches, beside that of always guessing one code.

    ``acc_mim`` and, with patch aggregation, ``acc_cls`` (0 to 1); ``acc_majority``: the share of
    the most frequent code among these masked patches, the best that a constant guess can reach.
    Where samples have the codes of all patches, also ``acc_neighbour``: of giving every masked
    patch the code of the nearest visible one, see :func:`copied_right`.
    """

    default_prefix = 'masked_codes'

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep true and predicted codes of every image, and how right its neighbours' are."""
        for sample in data_samples:
            kept = {
                name: value.cpu()
                for name, value in sample.items()
                if name == 'masked_codes' or name.startswith('pred_codes_')
            }
            if 'codes' in sample:
                kept['copied'] = copied_right(sample['codes'].cpu(), sample['mask'].cpu())
            self.results.append(kept)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Accuracies over all masked patches."""
        codes = torch.cat([r['masked_codes'] for r in results])
        metrics = dict(acc_majority=codes.bincount().max().item() / codes.numel())
        if 'copied' in results[0]:
            metrics['acc_neighbour'] = torch.cat([r['copied'] for r in results]).mean().item()
        for name in results[0]:
            if name.startswith('pred_codes_'):
                predicted = torch.cat([r[name] for r in results])
                accuracy = (predicted == codes).float().mean().item()
                metrics[name.replace('pred_codes_', 'acc_')] = accuracy
        return metrics


@METRICS.register_module()
class LinearProbeMetric(BaseMetric):
    """Top-1 accuracy (0 to 1) of every feature that ``LinearProbeHead`` probes: ``top1_<name>``."""

    default_prefix = 'probe'

    def process(self, data_batch: dict[str, Any], data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep whether each feature's prediction is right."""
        for sample in data_samples:
            label = int(sample['gt_label'])
            self.results.append(
                {
                    name.replace('pred_label_', 'top1_'): float(int(value) == label)
                    for name, value in sample.items()
                    if name.startswith('pred_label_')
                }
            )

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Mean over all images."""
        return {name: sum(r[name] for r in results) / len(results) for name in results[0]}
