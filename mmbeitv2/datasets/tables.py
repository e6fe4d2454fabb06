"""Photos in Hugging Face datasets on this machine: Parquet files, and folders of save_to_disk."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.fileio import BaseStorageBackend, register_backend

from mmbeitv2.errors import InputError, NotInstalledError, UnreadableFileError

from .listing import in_address
from .open_files import OpenFiles
from .photo_stamps import BY_CONTENT

SAVED = 'dataset_info.json'
SAVED_SPLITS = 'dataset_dict.json'
# Where datasets notes the names of classes in a file's schema.
NOTED = b'huggingface'
# Read of a Parquet file to tell it from another of its size: its footer, and blocks all over it.
BLOCKS, BLOCK_BYTES = 32, 2**15


def import_datasets() -> Any:
    """The package ``datasets``.

    Raises:
        ImportError: It is missing.
    """
    try:
        import datasets
    except ImportError as error:
        raise NotInstalledError(
            'Parquet files and saved Hugging Face datasets need the package datasets: '
            '`pip install "mmbeitv2[huggingface]"`'
        ) from error
    return datasets


class Table:
    """Columns and rows of a data set, read from headers alone.

    Args:
        files: Parquet files of one schema; or one folder that ``save_to_disk`` wrote.
        image_column: Column of the images; None for the only one that holds image files.
        label_column: Column of the labels; None for ``label``.
        with_label: Whether there are labels.

    Raises:
        ValueError: No such column, with the names of those that there are; or no row.
        OSError: A file that cannot be read.
        ImportError: The package datasets is missing.
    """

    def __init__(
        self,
        files: Sequence[str],
        image_column: str | None = None,
        label_column: str | None = None,
        with_label: bool = False,
    ) -> None:
        self.files = list(files)
        self.saved = os.path.isdir(self.files[0])
        self.dataset = self._load_saved() if self.saved else None
        schema, self.rows = self._header()
        self.schema = schema
        self.image_column = self._image_column(schema, image_column)
        self.label_column = self._label_column(schema, label_column) if with_label else None
        if not self.rows:
            raise InputError(f'{self} has no row: give files with photos, one a row')

    def __str__(self) -> str:
        more = f' and {len(self.files) - 1} more' if len(self.files) > 1 else ''
        return f"'{self.files[0]}'{more}"

    def _load_saved(self) -> Any:
        datasets = import_datasets()
        try:
            dataset = datasets.load_from_disk(self.files[0])
        except Exception as error:
            raise _unreadable(self, error) from error
        if isinstance(dataset, datasets.DatasetDict):
            raise InputError(
                f'{self} holds the splits {", ".join(dataset)}: name one of their folders, such as '
                f"'{self.files[0].rstrip('/')}/{next(iter(dataset))}'"
            )
        return dataset

    def _header(self) -> tuple[Any, int]:
        if self.saved:
            dataset: Any = self.dataset
            return dataset.data.schema, len(dataset)
        import_datasets()
        # It comes with datasets.
        from pyarrow import parquet

        schema, rows = None, 0
        for file in self.files:
            try:
                header = parquet.read_metadata(file)
                found = header.schema.to_arrow_schema()
            except Exception as error:
                raise _unreadable(f"'{file}'", error) from error
            schema = found if schema is None else schema
            if found.names != schema.names:
                raise InputError(
                    f"'{file}' has the columns {', '.join(found.names)}, but '{self.files[0]}' "
                    f'{", ".join(schema.names)}: give files of one table'
                )
            rows += header.num_rows
        return schema, rows

    def _image_column(self, schema: Any, given: str | None) -> str:
        images = [field.name for field in schema if _holds_files(field.type)]
        if given is not None and given in images and '#' not in given:
            return given
        if given is None and len(images) == 1:
            return images[0]
        problem = 'no image column' if not images else f'several image columns, {images}'
        if given is not None:
            problem = f'no image column {given!r}'
        raise InputError(
            f'{self} has {problem}; its columns are '
            f'{", ".join(f"{field.name} ({field.type})" for field in schema)}: set image_column of '
            'the dataset, --image-column of a command, to one of bytes, or of a struct with the '
            'field bytes'
        )

    def _label_column(self, schema: Any, given: str | None) -> str:
        from pyarrow import types

        wanted = given or 'label'
        if wanted in schema.names and types.is_integer(schema.field(wanted).type):
            return wanted
        raise InputError(
            f'{self} has no column {wanted!r} of whole numbers; its columns are '
            f'{", ".join(f"{field.name} ({field.type})" for field in schema)}: set label_column of '
            'the dataset, or with_label=False for images without labels'
        )

    def load(self) -> Any:
        """The data set as memory-mapped Arrow files; those of Parquet are written once, to the
        cache of ``datasets`` (``HF_DATASETS_CACHE``), since a row of Parquet cannot be read alone.

        Raises:
            OSError: A file that cannot be read, or was replaced since its header was.
        """
        if self.dataset is None:
            datasets = import_datasets()
            try:
                # It tells files by path and time of change, which a file that comes into the place
                # of another may share with it.
                cache = os.path.join(datasets.config.HF_DATASETS_CACHE, _folder_of(self.files))
                self.dataset = datasets.load_dataset(
                    'parquet', data_files=self.files, split='train', cache_dir=cache
                )
            except Exception as error:
                raise _unreadable(self, error) from error
            if len(self.dataset) != self.rows:
                raise UnreadableFileError(
                    f'{self} had {self.rows} rows, and {len(self.dataset)} when they were read: it '
                    'was replaced in between, start again'
                )
        return self.dataset

    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes, None where the label column does not have them."""
        return self.named_labels().get(self.label_column or '')

    def named_labels(self) -> dict[str, tuple[str, ...]]:
        """Columns of labels whose classes have names, ``ClassLabel`` of datasets, and the names."""
        noted = json.loads((self.schema.metadata or {}).get(NOTED, b'{}'))
        features = (noted.get('info') or {}).get('features') or {}
        named = {name: (feature or {}).get('names') for name, feature in features.items()}
        return {name: tuple(names) for name, names in named.items() if names is not None}

    def photos(self) -> Iterator[tuple[str, int | None]]:
        """Yield address and label of every row, in order.

        Raises:
            ValueError: A row without the bytes of an image.
        """
        from pyarrow import types

        datasets = import_datasets()
        for file in self.load().cache_files:
            path = file['filename']
            part = datasets.Dataset.from_file(path).data
            column = part.column(self.image_column)
            nested = types.is_struct(column.type)
            named = nested and column.type.get_field_index('path') >= 0
            labels: Any = part.column(self.label_column) if self.label_column else None
            row = 0
            # Not joined: that would copy the photos, and fails beyond 2 GB of them.
            for chunk in column.chunks:
                self._check_bytes(chunk.field('bytes') if nested else chunk)
                names: Any = chunk.field('path') if named else None
                for place in range(len(chunk)):
                    name = in_address((names[place].as_py() if named else '') or '')
                    label = None if labels is None else labels[row].as_py()
                    yield f'arrow://{path}#{self.image_column}#{row}#{name}', label
                    row += 1

    def _check_bytes(self, content: Any) -> None:
        if content.null_count:
            raise InputError(
                f'{self}: {content.null_count} rows of the column {self.image_column!r} hold no '
                'bytes of an image: write the photos themselves into the file (`push_to_hub` and '
                'imagefolder do), or remove these rows'
            )


def _holds_files(kind: Any) -> bool:
    """Whether a column's type is bytes, or datasets' struct of bytes and path."""
    from pyarrow import types

    if types.is_struct(kind):
        place = kind.get_field_index('bytes')
        return place >= 0 and _holds_files(kind.field(place).type)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _folder_of(files: Sequence[str]) -> str:
    """Name of a folder for what is made of Parquet files; others have another, nearly always."""
    digest = hashlib.sha256()
    for path in files:
        size = os.path.getsize(path)
        digest.update(f'{size} '.encode())
        with open(path, 'rb') as file:
            for number in range(1, BLOCKS + 1):
                # The last one is the footer, which has the place and size of every column's chunks.
                file.seek(max(0, size * number // BLOCKS - BLOCK_BYTES))
                digest.update(file.read(BLOCK_BYTES))
    return f'{BY_CONTENT}{digest.hexdigest()[:32]}'


def _unreadable(what: object, error: Exception) -> UnreadableFileError:
    reason = ' '.join(str(error).split())
    return UnreadableFileError(
        f'{what} cannot be read as a Hugging Face dataset: {type(error).__name__}: {reason}. Write '
        'or copy it once more'
    )


_arrow_file: OpenFiles[Any] = OpenFiles(lambda path: import_datasets().Dataset.from_file(path).data)


class ArrowBackend(BaseStorageBackend):
    """Reads the image of one row of an Arrow file, whose address ``Table.photos`` gave."""

    def get(self, filepath: str) -> bytes:
        """The bytes of ``arrow://FILE#COLUMN#ROW#NAME``.

        Raises:
            OSError: The row holds none.
        """
        file, column, row, _ = str(filepath).removeprefix('arrow://').split('#', 3)
        value = _arrow_file(file).column(column)[int(row)].as_py()
        return value['bytes'] if isinstance(value, dict) else value

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """The same as text."""
        return self.get(filepath).decode(encoding)


register_backend('mmbeitv2.arrow', ArrowBackend, prefixes='arrow')
