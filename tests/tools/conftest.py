import pytest
import torch
from models_of_projects import as_checkpoint, classifier, fine_tuning_backbone

__all__ = ['as_checkpoint', 'classifier', 'fine_tuning_backbone']


@pytest.fixture
def checkpoint(beitv2, tmp_path):
    """File of a small pretraining model."""
    torch.save(dict(state_dict=beitv2.state_dict()), tmp_path / 'model.pth')
    return tmp_path / 'model.pth'


@pytest.fixture
def refusal(run, capsys):
    """The one line that a call of the test file’s `run` ends with."""

    def refuse(*arguments, **options):
        with pytest.raises(SystemExit, match='2'):
            run(*arguments, **options)
        printed = capsys.readouterr().err
        assert printed.count('\n') == 1, printed
        return printed

    return refuse
