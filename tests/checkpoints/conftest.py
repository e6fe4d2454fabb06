from models_of_projects import (
    as_checkpoint,
    build_mmpretrain,
    classifier,
    fine_tuning_backbone,
    randomize,
    segmentor,
)

__all__ = [
    'as_checkpoint',
    'build_mmpretrain',
    'classifier',
    'fine_tuning_backbone',
    'randomize',
    'segmentor',
]
