"""Linear probing of several frozen features at once."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmbeitv2.registry import MODELS


@MODELS.register_module()
class LinearProbeHead(BaseModule):
    """One linear classifier for each feature of a backbone with ``out_type='cls_and_avg'``.

    Every feature is standardised by a batch norm without parameters, as usual for probes: the
    scales of features differ between models. The classifiers do not influence one another.

    Args:
        in_channels: width C of a feature.
        num_classes: number of classes.
        features: names of the backbone's features, in its order.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        features: tuple[str, ...] = ('cls', 'avg'),
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classifiers = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.BatchNorm1d(in_channels, affine=False), nn.Linear(in_channels, num_classes)
                )
                for name in features
            }
        )

    def forward(self, feats: tuple) -> dict[str, Tensor]:
        """Logits ``(B, num_classes)`` by feature name."""
        return {
            name: classifier(feature)
            for (name, classifier), feature in zip(self.classifiers.items(), feats[-1])
        }

    def loss(self, feats: tuple, data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """Cross-entropy of every classifier, ``loss_<name>``."""
        labels = self._labels(feats, data_samples)
        return {
            f'loss_{name}': F.cross_entropy(logits, labels) for name, logits in self(feats).items()
        }

    def predict(self, feats: tuple, data_samples: list[DataSample]) -> list[DataSample]:
        """Put ``pred_label_<name>`` into every sample."""
        for name, logits in self(feats).items():
            for sample, label in zip(data_samples, logits.argmax(-1)):
                sample.set_field(label, f'pred_label_{name}')
        return data_samples

    def _labels(self, feats: tuple, data_samples: list[DataSample]) -> Tensor:
        labels = torch.tensor([int(s.gt_label) for s in data_samples], device=feats[-1][0].device)
        if labels.max() >= self.num_classes:
            raise ValueError(
                f'a label is {int(labels.max())}, allowed: 0 to {self.num_classes - 1}: set '
                'num_classes of the head to the number of classes of the data.'
            )
        return labels
