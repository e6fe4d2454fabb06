"""Checkpoints that a run on a GPU has written, read, resumed and evaluated on a CPU."""

import zipfile

import pytest
import torch
from mmengine.hooks import Hook

from mmbeitv2.checkpoints.reading import read_state_dict
from mmbeitv2.launch.runner import load_weights
from mmbeitv2.models import VQKD, BEiTViT


def pickled(text):
    """A string in the pickle of a checkpoint."""
    return b'X' + len(text).to_bytes(4, 'little') + text.encode()


def as_saved_on_gpu(path):
    """Rewrite a file as ``torch.save`` on a GPU would have written it: storages name it."""
    target = path.with_stem(f'{path.stem}_gpu')
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, 'w') as copy:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith('/data.pkl'):
                content = content.replace(pickled('cpu'), pickled('cuda:0'))
            copy.writestr(entry.filename, content)
    return target


@pytest.fixture
def checkpoint(vqkd, make_runner, tmp_path):
    """After the first of two epochs, with the state of the optimiser."""
    make_runner(vqkd).train()
    return as_saved_on_gpu(tmp_path / 'work/epoch_1.pth')


def test_the_file_wants_a_gpu(checkpoint):
    if torch.cuda.is_available():
        assert torch.load(checkpoint)['state_dict']['encoder.cls_token'].is_cuda
    else:
        with pytest.raises(RuntimeError, match='deserialize object on a CUDA device'):
            torch.load(checkpoint)


def test_weights_are_read_to_the_cpu(vqkd, checkpoint):
    found, expected = read_state_dict(checkpoint), vqkd.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name].cpu()) for name in expected)


def test_backbone_starts_from_it(vqkd, checkpoint):
    arch = dict(embed_dim=48, depth=3, num_heads=4)
    backbone = BEiTViT(arch=arch, img_size=64, final_norm='fc_norm', out_type='avg_featmap')
    backbone.load_checkpoint(str(checkpoint), prefix='encoder.')
    assert torch.equal(backbone.blocks[2].mlp.fc2.weight, vqkd.encoder.blocks[2].mlp.fc2.weight)


def test_run_is_resumed_from_it(vqkd_config, vqkd, make_runner, checkpoint):
    class Start(Hook):
        """Keep what the run starts from."""

        def before_train(self, runner):
            optimizer = runner.optim_wrapper.optimizer
            self.weights = {k: v.clone() for k, v in runner.model.state_dict().items()}
            self.steps = {float(state['step']) for state in optimizer.state.values()}

    start = Start()
    expected = {name: value.clone() for name, value in vqkd.state_dict().items()}
    runner = make_runner(
        VQKD(**vqkd_config), epochs=2, hooks=[start], resume=True, load_from=str(checkpoint)
    )
    runner.train()
    assert all(torch.equal(start.weights[name], expected[name]) for name in expected)
    assert start.steps == {4.0}
    assert (runner.epoch, runner.iter) == (2, 8)


def test_evaluation_loads_it(vqkd_config, vqkd, make_runner, checkpoint):
    runner = make_runner(VQKD(**vqkd_config))
    load_weights(runner, str(checkpoint))
    expected = vqkd.state_dict()
    assert all(torch.equal(v, expected[name]) for name, v in runner.model.state_dict().items())
