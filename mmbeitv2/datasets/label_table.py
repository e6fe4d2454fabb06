"""Tables that say something of photos: a photo and its label a line, however they were saved."""

import csv
from pathlib import Path

from mmbeitv2.errors import InputError, MissingFileError

# What spreadsheets write between columns where a comma is in numbers.
OTHER_SEPARATORS = {';': 'semicolons', '\t': 'tabs'}


def table_rows(table: str | Path, what: str) -> list[tuple[int, list[str]]]:
    """Number of the line and columns of every row that is not blank, nor of blank columns.

    The byte order mark that spreadsheets write is dropped, and so are their line ends.

    Args:
        table: CSV file, UTF-8.
        what: its columns are to be, for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: bytes that are no text in UTF-8, a row that is no CSV, or columns that another
            sign than a comma parts.
    """
    if not Path(table).is_file():
        raise MissingFileError(f"no table '{table}': {what}.")
    rows = []
    try:
        with open(table, newline='', encoding='utf-8-sig') as file:
            reader = csv.reader(file)
            for row in reader:
                if '\0' in ''.join(row):
                    raise csv.Error('line contains NUL')
                # Spreadsheets write the commas of rows that were emptied.
                if any(cell.strip() for cell in row):
                    rows.append((reader.line_num, row))
    except UnicodeDecodeError as error:
        raise InputError(
            f"the table '{table}' is no UTF-8 text ({error.reason} at byte {error.start}): save it "
            "as 'CSV UTF-8'"
        ) from error
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of '{table}' is no CSV: {error}") from error
    if rows and all(len(row) == 1 for _, row in rows):
        for sign, name in OTHER_SEPARATORS.items():
            if all(sign in row[0] for _, row in rows):
                raise InputError(
                    f"the columns of '{table}' are parted by {name}, allowed are commas: {what}."
                )
    return rows
