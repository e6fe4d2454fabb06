"""A table of names works in both directions."""

import pytest

from mmbeitv2.checkpoints.naming import rename_to_ours, rename_to_theirs, within

LAYER = (('norm', 'ln'), ('mlp.fc1', 'ffn.0'))
RULES = (
    *within('body.blocks.*', 'layers.*', LAYER),
    ('body.blocks', 'layers'),
    ('head.fc', 'head'),
)
PAIRS = {
    'body.blocks.3.norm.weight': 'layers.3.ln.weight',
    'body.blocks.12.mlp.fc1.bias': 'layers.12.ffn.0.bias',
    'body.blocks.0.gamma': 'layers.0.gamma',
    'head.fc.weight': 'head.weight',
    'other.head.fc.weight': 'other.head.fc.weight',
}


def test_renaming_and_back():
    ours = {name: i for i, name in enumerate(PAIRS)}
    theirs = rename_to_theirs(ours, RULES)
    assert theirs == {name: i for i, name in enumerate(PAIRS.values())}
    assert rename_to_ours(theirs, RULES) == ours


def test_only_whole_parts_of_a_name_match():
    state = {'head.fcx.weight': 0, 'body.blocks.1.normal': 1}
    assert rename_to_theirs(state, RULES) == {'head.fcx.weight': 0, 'layers.1.normal': 1}


def test_part_without_a_prefix():
    assert within('backbone', '', (('norm', 'norm'),)) == (('backbone.norm', 'norm'),)


def test_two_tensors_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r'two tensors .* are called head\.weight'):
        rename_to_theirs({'head.fc.weight': 0, 'head.weight': 1}, RULES)
