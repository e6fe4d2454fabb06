"""Checkpoints of other projects, made by their own code, compute here what they compute there."""

import pytest
import timm
import torch
from mmengine.registry import DefaultScope
from models_of_projects import assert_equal
from torch.testing import assert_close

from mmbeitv2.apis import extract_features, load_pretrained, load_tokenizer, tokenize
from mmbeitv2.models import BEiTViT, VQKDTokenizer

ARCH = dict(embed_dim=48, depth=4, num_heads=4)
MMPRETRAIN_ARCH = dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=192)
VQKD = dict(
    type='VQKD',
    encoder_config=dict(
        arch=MMPRETRAIN_ARCH,
        img_size=64,
        final_norm=True,
        out_type='featmap',
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        layer_scale_init_value=0.0,
    ),
    num_embed=64,
    embed_dims=8,
    quantize_kmeans_init=False,
)
PRETRAINING = dict(
    type='BEiT',
    backbone=dict(
        type='BEiTPretrainViT',
        arch=MMPRETRAIN_ARCH,
        img_size=64,
        out_indices=[0, 3],
        final_norm=False,
        out_type='raw',
    ),
    neck=dict(
        type='BEiTV2Neck',
        num_layers=2,
        early_layers=1,
        backbone_arch=dict(MMPRETRAIN_ARCH, depth=4),
    ),
    head=dict(type='BEiTV2Head', embed_dims=48, num_embed=64, loss=dict(type='CrossEntropyLoss')),
    target_generator=VQKD,
)


@pytest.fixture
def save(tmp_path):
    """Save a model's state dict under a key, as its project does."""

    def write(model, key):
        state = model.state_dict()
        torch.save(state if key is None else {key: state, 'meta': {}}, tmp_path / 'file.pth')
        return str(tmp_path / 'file.pth')

    return write


class TestMMPretrain:
    def test_tokenizer(self, build_mmpretrain, save, images):
        library = build_mmpretrain(VQKD)
        tokenizer = load_tokenizer(save(library, 'state_dict'), num_heads=4)
        assert torch.equal(
            tokenize(tokenizer, images).flatten(1), library.get_tokens(images)['token']
        )

    def test_pretraining(self, build_mmpretrain, save, images, mask):
        library = build_mmpretrain(PRETRAINING)
        model = load_pretrained(save(library, 'state_dict'), num_heads=4)
        assert model.neck.layer == 1
        positions = mask.nonzero()[:, 1].view(2, -1)
        with torch.no_grad():
            found = model.predict_codes(images, mask, positions)
            tokens = library.backbone(images, mask.view(2, 4, 4))
            expected = library.neck(tokens, rel_pos_bias=library.backbone.shared_rel_pos_bias)
            for name, branch in zip(('mim', 'cls'), expected):
                logits = library.head.cls_head(branch[mask]).view(2, -1, 64)
                assert_equal(found[name], logits)
        codes = library.target_generator(images)
        assert torch.equal(tokenize(model.target_generator, images).flatten(1), codes)

    def test_tokenizer_inside_pretraining(self, build_mmpretrain, save, images):
        library = build_mmpretrain(PRETRAINING)
        tokenizer = VQKDTokenizer(
            encoder=dict(img_size=64, **ARCH),
            quantizer=dict(num_codes=64, code_dim=8),
            init_cfg=dict(type='Pretrained', checkpoint=save(library, 'state_dict')),
        )
        tokenizer.init_weights()
        codes = library.target_generator(images)
        assert torch.equal(tokenizer.tokenize(images).flatten(1), codes)

    def test_pretraining_starts_fine_tuning(self, build_mmpretrain, save, fine_tuning_backbone):
        library = build_mmpretrain(PRETRAINING)
        fine_tuning_backbone.load_checkpoint(save(library, 'state_dict'))
        table = library.backbone.rel_pos_bias.relative_position_bias_table
        assert torch.equal(fine_tuning_backbone.blocks[2].attn.relative_position_bias_table, table)
        fc2 = library.backbone.layers[2].ffn.layers[1].weight
        assert torch.equal(fine_tuning_backbone.blocks[2].mlp.fc2.weight, fc2)

    def test_classifier(self, build_mmpretrain, save, images, fine_tuning_backbone):
        library = build_mmpretrain(
            dict(
                type='ImageClassifier',
                backbone=dict(type='BEiTViT', arch=MMPRETRAIN_ARCH, img_size=64),
                head=dict(type='LinearClsHead', num_classes=10, in_channels=48),
            )
        )
        fine_tuning_backbone.load_checkpoint(save(library, 'state_dict'))
        with torch.no_grad():
            assert_equal(fine_tuning_backbone(images)[0], library.extract_feat(images)[0])

    def test_bare_backbone(self, build_mmpretrain, save, images):
        library = build_mmpretrain(
            dict(type='BEiTViT', arch=MMPRETRAIN_ARCH, img_size=64, final_norm=True, out_type='raw')
        )
        backbone = BEiTViT(
            ARCH,
            img_size=64,
            init_values=0.1,
            use_abs_pos_emb=False,
            use_rel_pos_bias=True,
            out_type='raw',
        ).eval()
        backbone.load_checkpoint(save(library, None))
        with torch.no_grad():
            assert_equal(backbone(images)[0], library(images)[0])


def test_mmsegmentation_backbone(randomize, save, images):
    from mmseg.registry import MODELS

    with DefaultScope.overwrite_default_scope('mmseg'):
        library = MODELS.build(
            dict(
                type='BEiT',
                img_size=64,
                embed_dims=48,
                num_layers=4,
                num_heads=4,
                out_indices=(1, 3),
                norm_cfg=dict(type='LN', eps=1e-6),
            )
        )
    randomize(library)
    backbone = BEiTViT(
        ARCH,
        img_size=64,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        final_norm=None,
        out_type='featmap',
        out_indices=(1, 3),
    ).eval()
    backbone.load_checkpoint(save(library, 'state_dict'))
    with torch.no_grad():
        for found, expected in zip(backbone(images), library(images)):
            assert_equal(found, expected)


def test_timm_classifier(randomize, save, images, fine_tuning_backbone):
    library = randomize(
        timm.create_model('beitv2_base_patch16_224', img_size=64, num_classes=10, **ARCH)
    )
    fine_tuning_backbone.load_checkpoint(save(library, None))
    with torch.no_grad():
        tokens = library.forward_features(images)
        assert_equal(fine_tuning_backbone(images)[0], library.forward_head(tokens, pre_logits=True))


class TestTransformers:
    @pytest.fixture
    def config(self):
        transformers = pytest.importorskip('transformers')
        return transformers.BeitConfig(
            hidden_size=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            image_size=64,
            layer_norm_eps=1e-6,
            use_relative_position_bias=True,
            num_labels=10,
        )

    @pytest.mark.parametrize('file', ['saved folder', 'state dict'])
    def test_classifier(
        self, file, config, randomize, save, tmp_path, images, fine_tuning_backbone
    ):
        from transformers import BeitForImageClassification

        library = randomize(BeitForImageClassification(config))
        path = save(library, None)
        if file == 'saved folder':
            path = str(tmp_path / 'folder')
            library.save_pretrained(path)
        fine_tuning_backbone.load_checkpoint(path)
        with torch.no_grad():
            assert_equal(fine_tuning_backbone(images)[0], library.beit(images).pooler_output)

    @pytest.mark.parametrize('file', ['saved folder', 'state dict'])
    def test_model_of_tokens(self, file, config, randomize, save, tmp_path, images):
        from transformers import BeitModel

        config.use_mean_pooling = False
        config.use_relative_position_bias = False
        config.use_shared_relative_position_bias = True
        library = randomize(BeitModel(config))
        path = save(library, None)
        if file == 'saved folder':
            path = str(tmp_path / 'folder')
            library.save_pretrained(path)
        backbone = BEiTViT(
            ARCH,
            img_size=64,
            init_values=0.1,
            use_abs_pos_emb=False,
            use_shared_rel_pos_bias=True,
            out_type='raw',
        ).eval()
        backbone.load_checkpoint(path)
        with torch.no_grad():
            assert_equal(backbone(images)[0], library(images).last_hidden_state)

    def test_masked_image_modelling(self, config, randomize, tmp_path, images, mask):
        from transformers import BeitForMaskedImageModeling

        config.use_mask_token = True
        config.vocab_size = 64
        library = randomize(BeitForMaskedImageModeling(config))
        library.save_pretrained(tmp_path)
        model = load_pretrained(str(tmp_path))
        positions = mask.nonzero()[:, 1].view(2, -1)
        with torch.no_grad():
            found = model.predict_codes(images, mask, positions)
            expected = library(images, bool_masked_pos=mask).logits
        assert_equal(found['mim'], expected[mask].view(2, -1, 64))


class TestOfficialPretraining:
    """Its files hold no tokenizer."""

    @pytest.fixture
    def file(self, golden, tmp_path):
        values = golden('pretrain_tiny')
        state = {n.removeprefix('state/'): v for n, v in values.items() if n.startswith('state/')}
        torch.save({'model': state}, tmp_path / 'official.pth')
        return str(tmp_path / 'official.pth'), values

    def test_model_extracts_features_and_predicts_codes(self, file):
        path, values = file
        model = load_pretrained(path)
        model.neck.layer = 3
        mask = values['mask'].flatten(1)
        positions = mask.nonzero()[:, 1].view(mask.shape[0], -1)
        with torch.no_grad():
            logits = model.predict_codes(values['images'], mask, positions)
        assert_close(logits['mim'].flatten(0, 1), values['logits_mim'], atol=1e-5, rtol=1e-5)
        assert_close(logits['cls'].flatten(0, 1), values['logits_cls'], atol=1e-5, rtol=1e-5)
        assert extract_features(model, values['images'] / 4)['cls_token'].shape[1] == 48

    def test_loss_needs_a_tokenizer(self, file, images, masked_samples):
        path, _ = file
        model = load_pretrained(path)
        with pytest.raises(ValueError, match=r'no tokenizer .*tokenizer=FILE'):
            model.loss([images, images], masked_samples)

    def test_tokenizer_from_another_file(self, file, vqkd, save, images, masked_samples):
        path, _ = file
        model = load_pretrained(path, num_heads=4, tokenizer=save(vqkd, 'state_dict'))
        assert model.loss([images, images], masked_samples)['loss_mim'] > 0

    def test_tokenizer_of_other_codes_is_refused(self, file, vqkd_config, save):
        from mmbeitv2.models import VQKD as OurVQKD

        vqkd_config['quantizer']['num_codes'] = 32
        path, _ = file
        with pytest.raises(ValueError, match='predicts 64 codes but the tokenizer has 32'):
            load_pretrained(path, num_heads=4, tokenizer=save(OurVQKD(**vqkd_config), None))
