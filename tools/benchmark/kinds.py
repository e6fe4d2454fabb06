"""What an operator is for, by its name and the shapes of its tensors."""

from torch import Tensor

PRODUCTS, ATTENTION = 'matrix products', 'attention'
CASTS, COPIES, NORMS, GELU = 'casts', 'copies, zeros', 'norms', 'GELU'
BIAS_SUMS, ATTENTION_BIAS = 'bias-gradient sums', "attention bias and its gradient's sums"
RESIDUAL, LOGITS = 'residual sums, layer scale, drop path', 'logits: softmax, loss, accuracy'
LOOKUP, TOKENS = 'nearest codes', 'picked tokens'
OPTIMISER, OTHER = 'optimiser, clipping', 'other'

MATRIX = {'mm', 'addmm', 'bmm', 'baddbmm', 'convolution', 'convolution_backward', 'mv', 'dot'}
FILLS = {'zeros', 'zeros_like', 'new_zeros', 'ones_like', 'zero_', 'fill_', 'full', 'full_like'}
MOVES = {'clone', 'cat', 'stack', 'contiguous', 'copy_', '_to_copy', 'select_backward',
         'slice_backward', 'repeat'}  # fmt: skip
PICKING = {'gather', 'index', 'index_select', 'index_put', 'scatter_add', 'embedding', 'index_add',
           'scatter_add_', '_unsafe_index_put', 'index_put_'}  # fmt: skip
BY_WORD = {
    'layer_norm': NORMS,
    'gelu': GELU,
    'nll_loss': LOGITS,
    'log_softmax': LOGITS,
    'scaled_dot_product': ATTENTION,
    '_softmax': ATTENTION,
}


def kind_of(name: str, phase: str, inputs: list[Tensor], out: list[Tensor], classes: int) -> str:
    """The kind of an operator.

    Args:
        name: of ATen.
        phase: see ``Operator``.
        inputs: tensors that it reads.
        out: tensors that it gives.
        classes: width of the logits.
    """
    if phase == 'optimiser':
        return OPTIMISER
    if name in MATRIX:
        return PRODUCTS
    both = [t for t in [*inputs, *out] if t.dim()]
    if phase != 'tokenizer' and any(t.dim() > 1 and t.shape[-1] == classes for t in both):
        if name == 'sum' and out[0].dim() < 3 and out[0].shape[-1] == classes:
            return BIAS_SUMS
        # A cast of the head's weight has as many columns as a token.
        return LOGITS
    if phase == 'tokenizer' and name in ('amax', 'argmax'):
        return LOOKUP
    for word, kind in BY_WORD.items():
        if word in name:
            return kind
    return _by_shape(name, inputs, out)


def _by_shape(name: str, inputs: list[Tensor], out: list[Tensor]) -> str:
    if name in ('_to_copy', 'copy_') and out and any(t.dtype != out[0].dtype for t in inputs):
        return CASTS
    width = max((t.dim() for t in inputs), default=0)
    if name == 'sum' and width == 2:
        return BIAS_SUMS
    if name in PICKING:
        return TOKENS
    if width >= 4 and inputs and inputs[0].dim() == 4:
        return ATTENTION_BIAS if name in ('sum', 'constant_pad_nd', 'add', 'mul') else COPIES
    if name in FILLS or name in MOVES:
        return COPIES
    if width == 3 and name in ('add', 'add_', 'mul', 'div', 'div_', 'sum', 'bernoulli_'):
        return RESIDUAL
    return OTHER
