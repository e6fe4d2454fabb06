"""Files that torch reads and that hold no model, or not what was saved: one line each."""

import pytest
import torch

from mmbeitv2.apis import load_pretrained, load_tokenizer
from mmbeitv2.checkpoints.kinds import fault
from mmbeitv2.checkpoints.reading import read_state_dict, read_training_checkpoint
from mmbeitv2.checkpoints.translation import open_checkpoint
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError, UserError

WEIGHT = 'encoder.blocks.0.mlp.fc1.weight'
PATCHES = 'encoder.patch_embed.proj.weight'
CODEBOOK = 'quantize.embedding.weight'
READERS = (load_tokenizer, read_training_checkpoint)


def one_line(error) -> str:
    message = str(error.value)
    assert '\n' not in message
    return message


def test_no_flipped_bit_of_an_archives_directory_changes_a_tensor(tmp_path):
    """One of them marks a tensor as a folder, whose memory torch then leaves as it is."""
    saved = torch.rand(64)
    torch.save({'state_dict': {'a': saved}}, tmp_path / 'file.pth')
    content = (tmp_path / 'file.pth').read_bytes()
    entry = content.rindex(b'PK\x01\x02', 0, content.rindex(b'file/data/0'))
    end = content.index(b'PK', entry + 4)
    found = 0
    for bit in range(8 * entry, 8 * end):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (tmp_path / 'flipped.pth').write_bytes(flipped)
        try:
            assert torch.equal(read_state_dict(tmp_path / 'flipped.pth')['a'], saved)
        except UserError:
            found += 1
    assert found > 100


def test_tensor_marked_as_a_folder_is_named(tmp_path):
    torch.save({'state_dict': {'a': torch.rand(64)}}, tmp_path / 'file.pth')
    content = bytearray((tmp_path / 'file.pth').read_bytes())
    # Of the member's entry in the archive's directory, the low byte of its external attributes.
    content[content.rindex(b'PK\x01\x02', 0, content.rindex(b'file/data/0')) + 38] |= 0x10
    (tmp_path / 'file.pth').write_bytes(content)
    with pytest.raises(InputError, match=r'file\.pth is damaged \(file/data/0 is marked'):
        read_state_dict(tmp_path / 'file.pth')


@pytest.mark.parametrize(
    'change',
    [
        {WEIGHT: 'text'},
        {WEIGHT: None},
        {WEIGHT: torch.tensor(1.0)},
        {WEIGHT: torch.ones(2, 3, 4)},
        {WEIGHT: torch.ones(0, 0)},
        {WEIGHT: torch.ones(4, 4).to_sparse()},
        {WEIGHT: torch.ones(4, 4, device='meta')},
        {PATCHES: torch.ones(3, 4)},
        {PATCHES: 'text'},
        {CODEBOOK: torch.ones(4)},
        {7: torch.ones(1)},
    ],
    ids=lambda change: '-'.join(f'{n} {getattr(v, "shape", v)}' for n, v in change.items()),
)
def test_tokenizer_with_a_tensor_that_is_none_names_it(change, vqkd, tmp_path):
    torch.save(dict(state_dict={**vqkd.state_dict(), **change}), tmp_path / 'file.pth')
    with pytest.raises(InputError) as error:
        load_tokenizer(str(tmp_path / 'file.pth'))
    (name,) = change
    message = one_line(error)
    assert 'file.pth' in message
    assert str(name).removeprefix('encoder.').removeprefix('blocks.0.') in message


def test_pretraining_model_with_a_malformed_head_names_it(beitv2, tmp_path):
    torch.save({**beitv2.state_dict(), 'head.lm_head.weight': torch.ones(4)}, tmp_path / 'file.pth')
    with pytest.raises(InputError, match=r'file\.pth.*head\.lm_head\.weight has shape \(4,\)'):
        load_pretrained(str(tmp_path / 'file.pth'))


def test_note_of_the_aggregated_layer_that_is_no_number_is_named(beitv2, tmp_path):
    state = beitv2.state_dict()
    state.pop('neck._extra_state')
    torch.save({'mmbeitv2': {'layer': 'nine'}, 'state_dict': state}, tmp_path / 'file.pth')
    with pytest.raises(InputError, match=r"layer 'nine'"):
        open_checkpoint(tmp_path / 'file.pth')


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        (b'\xef\xbb\xbf<!DOCTYPE html>', 'is a web page'),
        (b'<!-- login --><html>', 'is a web page'),
        (b'<Error><Code>AccessDenied</Code></Error>', 'is a web page'),
        (b'\x0c', 'is a text file'),
        (b'\xc3', 'is a text file'),
    ],
)
def test_more_of_what_servers_answer_is_called_so(content, named, tmp_path):
    (tmp_path / 'file.pth').write_bytes(content)
    assert named in fault(tmp_path / 'file.pth')


@pytest.mark.parametrize('read', READERS)
@pytest.mark.parametrize(
    ('source', 'kind'),
    [
        ('a' * 5000, UnreadableFileError),
        ('package://os/x', MissingFileError),
        ('http://[::1/x.pth', InputError),
    ],
)
def test_addresses_that_cannot_be_are_one_line(read, source, kind):
    with pytest.raises(kind) as error:
        read(source)
    assert source[:20] in one_line(error)
