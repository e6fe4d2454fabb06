"""The lines of Python that load a converted checkpoint in the project it was written for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.exchange.architecture import vit_architecture
from mmbeitv2.exchange.building import FC_NORM
from mmbeitv2.exchange.peers import mmpretrain_config
from mmbeitv2.exchange.run_notes import RunNotes

# Arguments of timm's models of BEiT v2, as vit_architecture names them.
TIMM_BASE = dict(
    img_size=224,
    patch_size=16,
    in_chans=3,
    embed_dim=768,
    depth=12,
    num_heads=12,
    mlp_ratio=4.0,
    use_abs_pos_emb=False,
    use_rel_pos_bias=True,
    use_shared_rel_pos_bias=False,
)
TIMM_MODELS = {
    'beitv2_base_patch16_224': TIMM_BASE,
    'beitv2_large_patch16_224': TIMM_BASE | dict(embed_dim=1024, depth=24, num_heads=16),
}


# Of a folder, as timm names it.
TIMM_LOCAL_SCHEME = 'local-dir:'


@dataclass(frozen=True)
class Written:
    """A converted checkpoint.

    Attributes:
        path: the file, or transformers' folder.
        kind: of the checkpoint, as of :class:`Checkpoint`.
        state: tensors by our names, as the project stores them.
        num_heads: heads, where the tensors do not show them; None where they do, or are width / 64.
        notes: of the run.
        address: under which its readers will find it; the path where empty.
    """

    path: Path
    kind: str
    state: dict[str, Tensor]
    num_heads: int | None
    notes: RunNotes
    address: str = ''

    @property
    def vit(self) -> dict[str, Any]:
        """Arguments of the backbone's :class:`VisionTransformer`."""
        return vit_architecture(with_prefix(self.state, 'backbone.'), self.num_heads)

    @property
    def sees_photos(self) -> bool:
        """Whether it sees RGB, as those see photos who load it."""
        return bool(self.vit['in_chans'] == 3)

    @property
    def name(self) -> str:
        """The address as a literal of Python."""
        return repr(self.address or str(self.path))


def loading_lines(written: Written, project: str) -> str:
    """Python that loads a converted checkpoint; its last assignment is the model.

    Args:
        written: the checkpoint.
        project: a key of ``TARGETS``.
    """
    lines = {
        'timm': _timm,
        'transformers': _transformers,
        'transformers-mim': _masked_modelling,
        'mmpretrain': _mmpretrain,
        'official': _official,
    }
    return lines.get(project, _ours)(written)


def timm_model(written: Written) -> tuple[str, dict[str, Any]]:
    """Name of timm's model that is most like a converted checkpoint, and what differs from it.

    Args:
        written: a classifier or the backbone of one.

    Returns:
        The name, and further arguments of ``timm.create_model``.
    """
    vit = written.vit
    scaled = vit.pop('init_values') is not None
    name, usual = max(
        TIMM_MODELS.items(), key=lambda item: sum(vit[k] == v for k, v in item[1].items())
    )
    arguments = {k: v for k, v in vit.items() if v != usual[k]}
    if not scaled:
        # None is left out by create_model, and the model's own value taken.
        arguments['init_values'] = 0.0
    if written.kind == 'classifier':
        arguments['num_classes'] = written.state['head.fc.weight'].shape[0]
    else:
        arguments['num_classes'] = 0
        if FC_NORM not in written.state:
            arguments['global_pool'] = 'token'
    return name, arguments


def _timm(written: Written) -> str:
    name, arguments = timm_model(written)
    if written.address:
        # Before 1.0.26 timm reads no file of safetensors from a folder that is only named.
        local = written.address.startswith(TIMM_LOCAL_SCHEME)
        weights = f'checkpoint_path={str(written.path)!r}' if local else 'pretrained=True'
        return f'import timm\n\nmodel = timm.create_model({written.name}, {weights}).eval()\n'
    given = ''.join(f'    {k}={v!r},\n' for k, v in arguments.items())
    return (
        'import timm\n\n'
        'model = timm.create_model(\n'
        f'    {name!r},\n'
        f'    checkpoint_path={written.name},\n'
        f'{given}'
        ').eval()\n'
    )


def _transformers(written: Written) -> str:
    classifies = written.kind == 'classifier'
    auto = 'AutoModelForImageClassification' if classifies else 'AutoModel'
    processor = 'AutoImageProcessor, ' if written.sees_photos else ''
    lines = f'from transformers import {processor}{auto}\n\n'
    if written.sees_photos:
        lines += f'processor = AutoImageProcessor.from_pretrained({written.name})\n'
    lines += f'model = {auto}.from_pretrained({written.name})\n'
    if classifies and written.sees_photos:
        lines += (
            "# Or both at once: transformers.pipeline('image-classification', "
            f"{written.name})('photo.jpg')\n"
        )
    return lines


def _masked_modelling(written: Written) -> str:
    """The head of the last layer alone: patch aggregation has no place there."""
    lines = _transformers(written).replace('AutoModel', 'BeitForMaskedImageModeling')
    return f'{lines}# model(pixel_values, bool_masked_pos=mask).logits: codes of all patches\n'


def _mmpretrain(written: Written) -> str:
    if written.kind == 'tokenizer':
        config = mmpretrain_config('tokenizer', written.state, written.num_heads)
        # Found from every default scope.
        config['type'] = f'mmpretrain.{config["type"]}'
        return (
            'from mmengine.runner import load_checkpoint\n'
            'from mmpretrain.registry import MODELS\n\n'
            f'{_assigned("tokenizer", config)}'
            'model = MODELS.build(tokenizer)\n'
            f'load_checkpoint(model, {written.name}, strict=True)\n'
            'model.eval()\n'
        )
    imports = 'from mmengine.config import Config\nfrom mmpretrain import get_model\n\n'
    photos = _mmpretrain_photos(written)
    if written.kind == 'classifier':
        config = mmpretrain_config('classifier', written.state, written.num_heads)
        config['data_preprocessor'] = dict(photos, num_classes=config['head']['num_classes'])
        return (
            f'{imports}'
            f'{_assigned("classifier", config)}'
            'model = get_model(Config(dict(model=classifier)), '
            f'pretrained={written.name}).eval()\n'
        )
    config = dict(
        type='ImageClassifier',
        data_preprocessor=photos,
        # Without the prefix nothing of the file's backbone would be found, and the log alone says
        # so: it calls every tensor ``backbone.…``.
        backbone=dict(
            _mmpretrain_backbone(written),
            init_cfg=dict(type='Pretrained', checkpoint=str(written.path), prefix='backbone.'),
        ),
    )
    return (
        f'{imports}'
        '# Give it a head to fine-tune it: the backbone stays as it is here.\n'
        f'{_assigned("features", config)}'
        'model = get_model(Config(dict(model=features)))\n'
        'model.init_weights()\n'
        'model.eval()\n'
    )


def _mmpretrain_photos(written: Written) -> dict[str, Any]:
    """Settings of its data preprocessor; it reads photos as BGR, on the scale [0, 255]."""
    if not written.sees_photos:
        return {}
    mean, std = ([round(255 * v, 3) for v in values] for values in written.notes.normalization)
    return dict(mean=mean, std=std, to_rgb=not written.notes.bgr)


def _mmpretrain_backbone(written: Written) -> dict[str, Any]:
    """The backbone that is fine-tuned: its positions are of every layer, as mmpretrain has them."""
    backbone = mmpretrain_config('backbone', written.state, written.num_heads)
    if backbone['use_shared_rel_pos_bias']:
        backbone.update(use_shared_rel_pos_bias=False, use_rel_pos_bias=True)
    return backbone | dict(out_type='avg_featmap', final_norm=False)


def _official(written: Written) -> str:
    option = {
        'pretraining': 'run_class_finetuning.py --finetune',
        'tokenizer': 'run_beitv2_pretraining.py --tokenizer_weight',
        'classifier': 'run_class_finetuning.py --eval --resume',
    }.get(written.kind)
    # Its scripts read files of PyTorch.
    if option is None or written.path.suffix == '.safetensors':
        return _ours(written)
    return f'# There: python {option} {written.path}\n# Here:\n{_ours(written)}'


def _ours(written: Written) -> str:
    function = {'tokenizer': 'load_tokenizer', 'pretraining': 'load_pretrained'}.get(
        written.kind, 'load_encoder'
    )
    heads = '' if written.num_heads is None else f', num_heads={written.num_heads}'
    return f'from mmbeitv2.apis import {function}\n\nmodel = {function}({written.name}{heads})\n'


def _assigned(name: str, value: dict[str, Any]) -> str:
    """``name = dict(...)`` as a config is written."""
    return Config({name: value}).pretty_text
