"""Files of embeddings: photos' paths and features in one ``.npz`` or ``.parquet``."""

import importlib.util
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmbeitv2.checkpoints.atomic import partial_file
from mmbeitv2.datasets.decoding import reason_of
from mmbeitv2.errors import InputError, MissingFileError, NotInstalledError, UserError

SUFFIXES = ('.npz', '.parquet')
PATHS, META = 'paths', 'mmbeitv2'
# Rows that a Parquet file packs and compresses together.
ROWS = 1024


class Embeddings(NamedTuple):
    """Content of a file of embeddings.

    Attributes:
        paths: of the photos, relative to ``meta['folder']``; where that is empty, absolute, or
            addresses of photos in files. ``mmbeitv2.datasets.listing.photo_path`` joins both.
        arrays: features by name, a row a photo.
        meta: what they were made of: checkpoint, size, photos that could not be read.
    """

    paths: list[str]
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def check_suffix(path: str | Path) -> None:
    """Refuse a file that could not be written.

    Raises:
        ValueError: an unknown suffix.
        ImportError: ``.parquet`` without its package.
    """
    suffix = Path(path).suffix
    if suffix not in SUFFIXES:
        raise InputError(
            f'{path} ends in {suffix or "nothing"!r}, allowed: {" or ".join(SUFFIXES)}'
        )
    if suffix == '.parquet' and importlib.util.find_spec('pyarrow') is None:
        raise NotInstalledError(
            f"{path}: Parquet needs pyarrow, which is not installed: pip install 'mmbeitv2[parquet]"
            "', or give a file that ends in .npz"
        )


def write_embeddings(
    path: str | Path,
    paths: Sequence[str],
    parts: Sequence[Mapping[str, np.ndarray]],
    meta: Mapping[str, Any],
) -> None:
    """Write a file that is whole or not there; only one part is in memory at a time.

    Args:
        path: see :func:`check_suffix`.
        paths: of the photos, in order.
        parts: arrays by name, alike in all but their rows; those of all parts are as many as paths.
        meta: what JSON can hold.

    Raises:
        ValueError: an unknown suffix.
        OSError: no space.
    """
    check_suffix(path)
    write = _write_npz if Path(path).suffix == '.npz' else _write_parquet
    with partial_file(path) as partial:
        write(partial, paths, parts, json.dumps(meta, ensure_ascii=False))


def _write_npz(
    path: Path, paths: Sequence[str], parts: Sequence[Mapping[str, np.ndarray]], meta: str
) -> None:
    with zipfile.ZipFile(path, 'w') as archive:
        for name, values in ((PATHS, np.array(paths)), (META, np.array(meta))):
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
        for name, value in parts[0].items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as file:
                header = np.lib.format.header_data_from_array_1_0(value)
                header |= dict(shape=(len(paths), *value.shape[1:]), fortran_order=False)
                np.lib.format.write_array_header_2_0(file, header)
                for part in parts:
                    file.write(np.ascontiguousarray(part[name]).tobytes())


def _write_parquet(
    path: Path, paths: Sequence[str], parts: Sequence[Mapping[str, np.ndarray]], meta: str
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    shapes = {name: value.shape[1:] for name, value in parts[0].items()}
    kinds = {
        name: pa.list_(pa.from_numpy_dtype(value.dtype), int(np.prod(shapes[name])))
        for name, value in parts[0].items()
    }
    # A column's rows are flat: how they were shaped stands beside them.
    noted = {META: meta, 'shapes': json.dumps(shapes)}
    schema = pa.schema([(PATHS, pa.string()), *kinds.items()], noted)
    with parquet.ParquetWriter(path, schema) as writer:
        start = 0
        for part in parts:
            rows = len(next(iter(part.values())))
            columns = [pa.array(paths[start : start + rows], pa.string())]
            columns += [
                pa.FixedSizeListArray.from_arrays(part[name].reshape(-1), type=kind)
                for name, kind in kinds.items()
            ]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS)
            start += rows


def read_embeddings(path: str | Path, names: Sequence[str] | None = None) -> Embeddings:
    """Content of a file of embeddings.

    Args:
        path: what :func:`write_embeddings` wrote.
        names: of the arrays that are wanted; all unless given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no file of embeddings, a damaged one, or lacks an array.
        ImportError: ``.parquet`` without its package.
    """
    check_suffix(path)
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f'no file of embeddings at {path}: `mmbeitv2 embed` writes one')
    read = _read_npz if path.suffix == '.npz' else _read_parquet
    try:
        return read(path, names)
    except UserError:
        raise
    # NumPy, zipfile, zlib and pyarrow raise a dozen types, of which pyarrow's own are the base's.
    except Exception as error:
        raise InputError(
            f'{path} is no file of embeddings, or a damaged one ({reason_of(error)}): write it '
            'again with `mmbeitv2 embed --overwrite`'
        ) from error


def read_meta(path: str | Path) -> dict[str, Any]:
    """What a file of embeddings was made of, see :func:`read_embeddings`."""
    return read_embeddings(path, ()).meta


def _read_npz(path: Path, names: Sequence[str] | None) -> Embeddings:
    with np.load(path, allow_pickle=False) as file:
        wanted = _wanted(path, [n for n in file.files if n not in (PATHS, META)], names)
        arrays = {name: file[name] for name in wanted}
        return Embeddings(file[PATHS].tolist(), arrays, json.loads(str(file[META])))


def _read_parquet(path: Path, names: Sequence[str] | None) -> Embeddings:
    from pyarrow import parquet

    noted = parquet.read_schema(path).metadata or {}
    shapes = json.loads(noted[b'shapes'])
    wanted = list(_wanted(path, list(shapes), names))
    table = parquet.read_table(path, columns=[PATHS, *wanted])
    arrays = {}
    for name in wanted:
        column = table[name].combine_chunks()
        flat = column.flatten().to_numpy(zero_copy_only=False)
        arrays[name] = flat.reshape(len(column), *shapes[name])
    return Embeddings(table[PATHS].to_pylist(), arrays, json.loads(noted[META.encode()]))


def _wanted(path: Path, found: Sequence[str], names: Sequence[str] | None) -> Iterator[str]:
    for name in found if names is None else names:
        if name not in found:
            raise InputError(f'{path} has no {name!r}, it has: {", ".join(found)}')
        yield name
