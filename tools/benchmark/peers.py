"""What people would use instead, with the weights of our models.

Each peer is imported where it is built, so that a machine without one still times the others.
"""

import copy
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from mmbeitv2.checkpoints.soundness import EXTRA_STATE
from mmbeitv2.checkpoints.translation import translate
from mmbeitv2.exchange.exporting import export
from mmbeitv2.exchange.peers import mmpretrain_config
from mmbeitv2.models import VQKD, BEiTV2, BEiTViT, NormEMAQuantizer, VQKDTokenizer

MMPRETRAIN_PRETRAINING = 'mmpretrain::beitv2/beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k.py'
# Of timm and of mmpretrain.
LAYERS = ('Block', 'BEiTTransformerEncoderLayer')
SEGMENTATION_NAMES = {
    'patch_embed.proj': 'patch_embed.projection',
    'norm1': 'ln1',
    'norm2': 'ln2',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
    'blocks': 'layers',
}


def if_installed(name: str, build: Callable[[], nn.Module]) -> dict[str, nn.Module]:
    """A peer by its name; none, which is said, where a package that it needs is not installed."""
    try:
        return {name: build()}
    except ModuleNotFoundError as error:
        print(f'no peer: {name} needs the module {error.name}, which is not installed here')
        return {}


def also_compiled(peers: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Peers by their names, and copies of them whose Transformer layers are compiled as ours."""
    copies = {f'{name}, compiled': copy.deepcopy(model) for name, model in peers.items()}
    for copied in copies.values():
        for module in copied.modules():
            if type(module).__name__ in LAYERS:
                module.compile()
    return {**peers, **copies}


def mmpretrain_quantizer(ours: NormEMAQuantizer) -> nn.Module:
    """mmpretrain's quantizer with our codebook."""
    from mmpretrain.models.utils import NormEMAVectorQuantizer

    quantizer = NormEMAVectorQuantizer(
        ours.num_codes, ours.code_dim, ours.beta, ours.decay, kmeans_init=False
    )
    quantizer.embedding.weight.data.copy_(ours.codebook)
    return quantizer


def vector_quantize_pytorch(ours: NormEMAQuantizer, image: bool = True) -> nn.Module:
    """vector-quantize-pytorch's quantizer by cosine and moving average, with our codebook.

    Args:
        ours: quantizer.
        image: takes ``(B, D, H, W)``; otherwise ``(B, N, D)``.
    """
    from vector_quantize_pytorch import VectorQuantize

    quantizer = VectorQuantize(
        ours.code_dim,
        ours.num_codes,
        decay=ours.decay,
        use_cosine_sim=True,
        commitment_weight=ours.beta,
        accept_image_fmap=image,
        rotation_trick=False,
    )
    # Its moving averages are those of sums and counts, which a first step must not divide by zero.
    quantizer._codebook.embed.data.copy_(ours.codebook)
    quantizer._codebook.embed_avg.data.copy_(ours.codebook)
    quantizer._codebook.cluster_size.data.fill_(1)
    return quantizer


def mmpretrain_model(ours: nn.Module) -> nn.Module:
    """mmpretrain's model of the same architecture and weights: its own code, loaded strictly."""
    from mmpretrain.registry import MODELS as MMPRETRAIN

    checkpoint = translate(ours.state_dict(), type(ours).__name__)
    exported = export(checkpoint, 'mmpretrain')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MMPRETRAIN.build(mmpretrain_config(checkpoint.kind, exported.kept))
    model.load_state_dict(exported.state, strict=True)
    return model


def mmpretrain_tokenizer(ours: VQKDTokenizer) -> nn.Module:
    """mmpretrain's VQKD, frozen as a user has to do by hand."""
    return mmpretrain_model(ours).requires_grad_(False).eval()


def mmpretrain_pretraining(ours: BEiTV2) -> nn.Module:
    """mmpretrain's BEiT v2, in training mode but for its tokenizer."""
    model = mmpretrain_model(ours).train()
    # mmpretrain's runner would leave its tokenizer in training mode, where its codebook drifts.
    model.target_generator.requires_grad_(False).eval()
    return model


def mmpretrain_pretraining_config() -> Config:
    """mmpretrain's paper config, whose optimiser its BEiT v2 is trained with."""
    return get_config(MMPRETRAIN_PRETRAINING)


class TimmVQKD(nn.Module):
    """VQ-KD put together of timm's blocks and vector-quantize-pytorch, with our weights.

    Args:
        ours: model whose architecture and weights are taken.
    """

    def __init__(self, ours: VQKD) -> None:
        super().__init__()
        self.encoder, self.decoder = _TimmViT(ours.encoder), _TimmViT(ours.decoder)
        self.grid = ours.encoder.grid
        self.quantizer = vector_quantize_pytorch(ours.quantize, image=False)
        self.encode_task_layer = _copy(ours.encode_task_layer)
        self.decode_task_layer = _copy(ours.decode_task_layer)

    def forward(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses of Eq. 2 and the codes.

        Args:
            images: float ``(B, 3, H, W)``.
            target: teacher's features, float ``(B, N, C)``.
        """
        z = self.encode_task_layer(self.encoder(images))
        z_q, codes, commitment = self.quantizer(z)
        features = z_q.transpose(1, 2).unflatten(2, self.grid)
        decoded = self.decode_task_layer(self.decoder(features))
        return (1 - F.cosine_similarity(decoded, target, dim=-1)).mean() + commitment.sum(), codes


class _TimmViT(nn.Module):
    """timm's ViT with a norm on its patch tokens, as encoder and decoder have."""

    def __init__(self, ours: nn.Module) -> None:
        import timm
        from timm.models.vision_transformer import Block

        super().__init__()
        self.vit = timm.models.VisionTransformer(
            img_size=ours.img_size,
            patch_size=ours.patch_size,
            in_chans=ours.patch_embed.proj.in_channels,
            embed_dim=ours.embed_dim,
            depth=ours.depth,
            num_heads=ours.num_heads,
            num_classes=0,
            block_fn=Block,
        )
        own = self.vit.state_dict()
        state = {n.replace('fc_norm.', 'norm.'): v for n, v in ours.state_dict().items()}
        for i in range(ours.depth):
            attn = f'blocks.{i}.attn'
            q, v = state.pop(f'{attn}.q_bias'), state.pop(f'{attn}.v_bias')
            state[f'{attn}.qkv.bias'] = torch.cat([q, torch.zeros_like(v), v])
        self.vit.load_state_dict({name: state[name] for name in own}, strict=True)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised patch tokens ``(B, N, C)``."""
        return self.vit.forward_features(x)[:, 1:]


def _copy(layer: nn.Sequential) -> nn.Sequential:
    linear_1, _, linear_2 = layer
    copy = nn.Sequential(
        nn.Linear(linear_1.in_features, linear_1.out_features),
        nn.Tanh(),
        nn.Linear(linear_2.in_features, linear_2.out_features),
    )
    copy.load_state_dict(layer.state_dict())
    return copy


def to_mmseg_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a BEiTViT with a bias per layer by the names of mmsegmentation's BEiT."""
    renamed = {}
    for name, value in state.items():
        if name.endswith(EXTRA_STATE):
            # The architecture that our checkpoints name, no weight.
            continue
        for our_part, their_part in SEGMENTATION_NAMES.items():
            name = name.replace(our_part, their_part)
        renamed[name] = value
    return renamed


def mmseg_backbone(ours: BEiTViT, out_indices: list[int]) -> nn.Module:
    """mmsegmentation's BEiT with our weights, a bias per layer."""
    from mmseg.models.backbones import BEiT

    model = BEiT(
        img_size=ours.img_size,
        init_values=ours.init_values,
        drop_path_rate=0.0,
        norm_cfg=dict(type='LN', eps=1e-6),
        out_indices=out_indices,
    )
    left = model.load_state_dict(to_mmseg_names(ours.state_dict()), strict=False)
    assert not left.unexpected_keys
    assert all(name.endswith('relative_position_index') for name in left.missing_keys)
    return model
