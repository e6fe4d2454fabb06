"""Which figures of the looks at a run are drawn together, and listed."""

from collections.abc import Callable, Sequence

from mmbeitv2.evaluation.changes import NOISE
from mmbeitv2.evaluation.learning_record import Record
from mmbeitv2.reports.svg_curves import Chart, Curve
from mmbeitv2.visualization.style import INK, OURS, RANDOM, SECOND

PROBES = dict(
    knn_mean=('5-NN, mean of patches', OURS),
    ridge_mean=('ridge, mean of patches', SECOND),
    knn_cls=('5-NN, [CLS]', RANDOM),
    ridge_cls=('ridge, [CLS]', INK),
)


def charts_of(records: Sequence[Record]) -> list[Chart]:
    """Charts of a run's looks.

    Args:
        records: of one kind, one or more.
    """
    own = _pretraining if records[-1]['kind'] == 'pretraining' else _tokenizer
    charts = own(records)
    guess = _level(records, 'probe_guess', 'most frequent class', 100)
    probes = [_curve(records, key, *named, scale=100) for key, named in PROBES.items()]
    # Four bands one over another would hide the curves.
    for probe in probes:
        probe.errors = ()
    charts.append(Chart('Labels from frozen features (%)', probes, guess, '%'))
    return charts


def _pretraining(records: Sequence[Record]) -> list[Chart]:
    guesses = [
        *_level(records, 'acc_majority', 'most frequent code', 100),
        *_level(records, 'acc_neighbour', 'copied from the nearest visible patch', 100),
    ]
    return [
        _losses(records, 'Loss of masked codes', 'best constant prediction'),
        Chart(
            'Masked codes right (%)',
            [
                _curve(records, 'acc_held_out', 'held-out photos', OURS, 100),
                _curve(records, 'acc_training', 'training photos', RANDOM, 100),
            ],
            guesses,
            '%',
            from_zero=True,
        ),
        Chart(
            'Effective rank of frozen features',
            [
                _curve(records, 'rank_mean', 'mean of patches', OURS),
                _curve(records, 'rank_cls', '[CLS]', RANDOM),
            ],
            from_zero=True,
        ),
        Chart(
            'Entropies, of the largest possible (%)',
            [
                _curve(records, 'prediction_entropy_share', 'predictions', OURS, 100),
                _curve(records, 'attention_entropy_share', 'attention of [CLS]', SECOND, 100),
            ],
            unit='%',
            from_zero=True,
        ),
    ]


def _tokenizer(records: Sequence[Record]) -> list[Chart]:
    return [
        _losses(records, 'Reconstruction loss (1 − cosine)', 'one constant answer'),
        Chart(
            'Perplexity of the codes',
            [
                _curve(records, 'code_perplexity', 'held-out photos', OURS),
                _curve(records, 'perplexity_epoch', 'all of an epoch', SECOND),
            ],
            [(float(records[-1]['codes']), 'all codes alike')],
            from_zero=True,
        ),
        Chart(
            'Codes used, and changed since the look before (%)',
            [
                _curve(records, 'code_usage', 'used on held-out photos', OURS, 100),
                _curve(records, 'usage_epoch', 'used in an epoch', SECOND, 100),
                _curve(records, 'codes_changed', 'changed', RANDOM, 100),
            ],
            unit='%',
            from_zero=True,
        ),
        Chart(
            'Effective rank of frozen features',
            [_curve(records, 'rank_mean', 'mean of patches', OURS)],
            from_zero=True,
        ),
    ]


def _losses(records: Sequence[Record], title: str, constant: str) -> Chart:
    curves = [
        _curve(records, 'loss_held_out', 'held-out photos', OURS),
        _curve(records, 'loss_training', 'training photos', RANDOM),
    ]
    return Chart(title, curves, _level(records, 'loss_constant', constant))


def _curve(records: Sequence[Record], key: str, label: str, colour: str, scale: float = 1) -> Curve:
    having = [record for record in records if key in record['measures']]
    points = [(float(r['epoch']), scale * r['measures'][key]) for r in having]
    errors = [scale * NOISE * r['errors'].get(key, 0.0) for r in having]
    return Curve(label, points, colour, errors if any(errors) else ())


def _level(
    records: Sequence[Record], key: str, label: str, scale: float = 1
) -> list[tuple[float, str]]:
    value = records[-1]['measures'].get(key)
    return [] if value is None else [(scale * value, label)]


def columns_of(records: Sequence[Record]) -> dict[str, Callable[[Record], str]]:
    """Columns of the table of looks: from a record to its cell.

    Args:
        records: of one kind, one or more.
    """
    columns: dict[str, Callable[[Record], str]] = {
        'loss, held out': _number('loss_held_out', '.3f'),
        'loss, training': _number('loss_training', '.3f'),
    }
    if records[-1]['kind'] == 'pretraining':
        columns |= {
            'codes right': _number('acc_held_out', '.1%'),
            'over constant': _number('over_majority', '+.1%'),
            'over neighbour': _number('over_neighbour', '+.1%'),
        }
    else:
        columns |= {
            'perplexity': _number('code_perplexity', '.1f'),
            'codes used': _number('code_usage', '.0%'),
            'codes changed': _number('codes_changed', '.0%'),
        }
    columns['rank'] = _number('rank_mean', '.1f')
    if 'knn_mean' in records[-1]['measures']:
        columns['5-NN'] = _number('knn_mean', '.1%')
        columns['ridge'] = _number('ridge_mean', '.1%')
    columns['cost'] = lambda record: f'{record["cost"]["seconds"]:.1f} s'
    return columns


def _number(key: str, form: str) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        value = record['measures'].get(key)
        return '–' if value is None else format(value, form)

    return cell
