"""Linear probing of several frozen features at once."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from mmbeitv2.checks import check_count, refuse
from mmbeitv2.errors import InputError
from mmbeitv2.models.batch_norm import AnyDeviceSyncBN
from mmbeitv2.models.float32 import in_float32
from mmbeitv2.registry import MODELS

FEATURES = ('cls', 'avg')


@MODELS.register_module()
class LinearProbeHead(BaseModule):
    """One linear classifier for each feature of a backbone with ``out_type='cls_and_avg'``.

    Every feature is standardised by a batch norm without parameters, as usual for probes: the
    scales of features differ between models. Its statistics are those of all ranks' batches, so
    that every rank evaluates the same classifier. The classifiers do not influence one another, so
    many features and learning rates are compared in one run, at the cost of one pass of the
    backbone.

    A classifier is called by its layer, feature and rate, as far as there are several:
    ``layer9_cls_lr4e-3``.

    Args:
        in_channels: width C of a feature.
        num_classes: number of classes.
        features: of ``'cls'`` ([CLS]) and ``'avg'`` (mean of the patch tokens), those to probe.
        layers: a name for each of the backbone's ``out_indices``, all of which are then probed;
            None probes the last alone.
        rates: names of learning rates: each gets a classifier of its own for every feature, whose
            rate is set by ``paramwise_cfg=dict(custom_keys={NAME: dict(lr_mult=...)})``; None for
            one rate.

    Raises:
        ValueError: an unknown or no feature, a name with a dot, or, when first used, another number
            of layers than the backbone gives.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        features: Sequence[str] = FEATURES,
        layers: Sequence[str] | None = None,
        rates: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_count(self, 'in_channels', in_channels, 768)
        check_count(self, 'num_classes', num_classes, 1000)
        if not _is_list(features) or not features or not all(f in FEATURES for f in features):
            raise InputError(f'features is {features!r}, allowed: one or more of {FEATURES}.')
        for argument, given in dict(features=features, layers=layers, rates=rates).items():
            if given is None:
                continue
            if not _is_list(given) or not given or not all(isinstance(n, str) for n in given):
                raise refuse(self, argument, given, "a list of names such as ['a', 'b'], or None")
            if len(set(given)) < len(given):
                raise refuse(self, argument, given, 'a list of names that differ')
            for name in given:
                if '.' in name:
                    raise InputError(
                        f"the name {name!r} has a dot: write a rate 0.004 as 'lr4e-3'."
                    )
        self.num_classes = num_classes
        self.features = tuple(features)
        self.layers = layers
        self.rates = rates
        self._checked = False
        self.classifiers = nn.ModuleDict(
            {
                '_'.join(part for part in (layer, feature, rate) if part): nn.Sequential(
                    AnyDeviceSyncBN(in_channels, affine=False), nn.Linear(in_channels, num_classes)
                )
                for layer in layers or ('',)
                for feature in self.features
                for rate in rates or ('',)
            }
        )

    def forward(self, feats: tuple[Any, ...]) -> dict[str, Tensor]:
        """Logits float32 ``(B, num_classes)`` by classifier name, under autocast too.

        Args:
            feats: for each layer of the backbone a pair, [CLS] and mean of the patch tokens, both
                float ``(B, C)``.
        """
        if self.layers is not None and len(feats) != len(self.layers):
            raise InputError(
                f'layers names {len(self.layers)} layers but the backbone gives {len(feats)}: name '
                'each of its out_indices.'
            )
        inputs = [
            feature
            for pair in (feats[-1:] if self.layers is None else feats)
            for name, feature in zip(FEATURES, pair)
            if name in self.features
            for _ in self.rates or ('',)
        ]
        return {
            name: in_float32(classifier, feature)
            for (name, classifier), feature in zip(self.classifiers.items(), inputs)
        }

    def loss(
        self, feats: tuple[Any, ...], data_samples: list[DataSample], **kwargs: Any
    ) -> dict[str, Tensor]:
        """Cross-entropy of every classifier, ``loss_<name>``."""
        labels = self._labels(feats, data_samples)
        return {
            f'loss_{name}': F.cross_entropy(logits, labels) for name, logits in self(feats).items()
        }

    def predict(self, feats: tuple[Any, ...], data_samples: list[DataSample]) -> list[DataSample]:
        """Put ``pred_label_<name>`` into every sample.

        The last classifier's ``pred_label`` and ``pred_score`` ``(num_classes,)`` are there too,
        which mmpretrain's inferencer asks for: with ``features=('cls', 'avg')`` those of the mean
        of the patches.
        """
        for name, logits in self(feats).items():
            for sample, label in zip(data_samples, logits.argmax(-1)):
                sample.set_field(label, f'pred_label_{name}')
        for sample, scores in zip(data_samples, logits.softmax(-1)):
            sample.set_pred_score(scores).set_pred_label(scores.argmax(-1))
        return data_samples

    def _labels(self, feats: tuple[Any, ...], data_samples: list[DataSample]) -> Tensor:
        labels = torch.cat([sample.gt_label for sample in data_samples])
        # mmpretrain has put the labels on the device. To look at them there waits for it, which is
        # done in the first batch alone; torch itself stops at a wrong label later.
        if labels.is_cpu or not self._checked:
            self._check(labels)
        return labels.to(feats[-1][0].device, non_blocking=True)

    def _check(self, labels: Tensor) -> None:
        wrong = [label for label in labels.tolist() if not 0 <= label < self.num_classes]
        if wrong:
            # A negative one may mean "ignore" to the loss, which would then be of fewer images.
            raise InputError(
                f'a label is {wrong[0]}, allowed: 0 to {self.num_classes - 1}: set '
                'num_classes of the head to the number of classes of the data.'
            )
        self._checked = True


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
