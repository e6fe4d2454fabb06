"""Teachers of VQ-KD: frozen networks whose patch features the tokenizer learns to reconstruct."""

from mmbeitv2.models.teachers.base import FrozenTeacher, resample_grid
from mmbeitv2.models.teachers.clip import CLIPTeacher
from mmbeitv2.models.teachers.dino import DINOTeacher
from mmbeitv2.models.teachers.timm import TimmTeacher

__all__ = ['CLIPTeacher', 'DINOTeacher', 'FrozenTeacher', 'TimmTeacher', 'resample_grid']
