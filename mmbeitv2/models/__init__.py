"""The models of the paper."""

from mmbeitv2.models.backbone import BEiTViT
from mmbeitv2.models.batch_norm import AnyDeviceSyncBN
from mmbeitv2.models.beitv2 import BEiTV2
from mmbeitv2.models.cls_head import LinearClsHead
from mmbeitv2.models.linear_probe import LinearProbeHead
from mmbeitv2.models.mim_head import MIMHead
from mmbeitv2.models.patch_aggregation import PatchAggregationNeck
from mmbeitv2.models.quantizer import NormEMAQuantizer
from mmbeitv2.models.teachers import CLIPTeacher, DINOTeacher, TimmTeacher
from mmbeitv2.models.timm_vit import TimmViT
from mmbeitv2.models.tokenizer import VQKDTokenizer
from mmbeitv2.models.vit import VisionTransformer
from mmbeitv2.models.vqkd import VQKD

__all__ = [
    'VQKD',
    'AnyDeviceSyncBN',
    'BEiTV2',
    'BEiTViT',
    'CLIPTeacher',
    'DINOTeacher',
    'LinearClsHead',
    'LinearProbeHead',
    'MIMHead',
    'NormEMAQuantizer',
    'PatchAggregationNeck',
    'TimmTeacher',
    'TimmViT',
    'VQKDTokenizer',
    'VisionTransformer',
]
