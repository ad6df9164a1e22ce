"""Labelled images in a CSV file: 785 columns, a label and 784 pixels, with or without a header."""

import csv
import gzip
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.data.readers.idx import ImagesAndLabels
from fashion_mnist.errors import DataError, DependencyError

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES: Final = 100_000
"""Labels of this size or larger are taken for a mistake in the file."""
NUMBER: Final = r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?"
UNREADABLE: Final = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, UnicodeDecodeError)
"""Raised by damaged files: a disk error, a truncated .gz, corrupt .gz data, a .zip that is damaged or has a
password, bytes that are not UTF-8."""
CSV_COLUMNS: Final = 785
LABEL_NAMES: Final = {"label", "class", "target", "y"}
NEARLY_CONSTANT: Final = 0.9
"""A corner pixel often has one value in more rows than this; a label does not."""
CSV_ROWS_AT_ONCE: Final = 4096
"""25 MB as int64: bounds the memory, yet large enough for pandas to run at full speed."""


def read_csv(path: Path) -> ImagesAndLabels:
    """Read a CSV file, plain, .gz or .zip; return images (N, 28, 28) and labels.

    The label is the column that the header calls label, class, target or y; otherwise the first or the
    last, told by its values. Memory: the images and 4,096 rows of text.
    Raises DataError, which states the row; the header and blank lines count as rows.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    header, start = _read_header(path)
    named = _named_column(path, header)
    pixels, labels = _read_rows(path, bool(header), named or 0, start)
    if named is None and _is_label_last(path, labels, pixels[:, -1]):
        if labels.max() > 255:
            _explain_csv(path, start, CSV_COLUMNS - 1)
        first, labels = labels.astype(np.uint8), pixels[:, -1].astype(np.int64)
        pixels = np.column_stack([first, pixels[:, :-1]])
    return pixels.reshape(-1, 28, 28), labels


def _read_rows(path: Path, header: bool, label: int, line: int) -> ImagesAndLabels:
    """Return the pixels (N, 784) and labels of all rows. label: its column. line: where the rows start."""
    try:
        import pandas as pd
    except ImportError as error:
        raise DependencyError.for_training("reading CSV", "pandas") from error
    images, labels = [], []
    try:
        with (
            warnings.catch_warnings(),
            _open(path) as file,
            pd.read_csv(
                file,
                header=0 if header else None,
                chunksize=CSV_ROWS_AT_ONCE,
                index_col=False,
                encoding="utf-8-sig",
                low_memory=False,  # otherwise, text far down a chunk gives a warning about mixed types
            ) as reader,
        ):
            # pandas cuts off rows longer than the header with only this warning
            warnings.simplefilter("error", pd.errors.ParserWarning)
            for chunk in reader:
                if len(chunk) == 0:
                    continue
                checked = _check_values(chunk, label)
                if checked is None:
                    _explain_csv(path, line, label)
                images.append(checked[0])
                labels.append(checked[1])
                line += len(chunk)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, *UNREADABLE):
        _explain_csv(path, line, label)
    if not images:
        raise DataError(f"{path}: a header but no rows")
    return np.concatenate(images), np.concatenate(labels)


def _read_header(path: Path) -> tuple[list[str], int]:
    """Return the header, a first row without numbers, or an empty list; and the line where the data start."""
    try:
        with _open_text(path) as file:
            rows = ((row, line) for line, row in enumerate(csv.reader(file), start=1) if not _is_blank(row))
            first, line = next(rows, ([], 1))
    except (*UNREADABLE, csv.Error) as error:
        raise DataError(f"{path}: not readable as CSV ({error})") from error
    if any(re.fullmatch(NUMBER, cell.strip()) for cell in first):
        return [], line
    return first, line + 1


def _named_column(path: Path, header: list[str]) -> int | None:
    """Return the column that the header names as the label, or None if it names none."""
    columns = [index for index, cell in enumerate(header) if cell.strip().lower() in LABEL_NAMES]
    if len(columns) > 1:
        names = ", ".join(header[index] for index in columns)
        raise DataError(f"{path}, row 1: the columns {names} could be the label; rename all but one")
    return columns[0] if columns else None


def _is_label_last(path: Path, first: NDArray[np.int64], last: NDArray[np.uint8]) -> bool:
    """Return whether the label is in the last column, not in the first, judging by their values.

    Raises DataError when the values do not tell.
    """
    ranks = _label_rank(first), _label_rank(last)
    if ranks[0] > ranks[1] or ranks == (0, 0):
        return False
    if ranks[1] == 3 > ranks[0]:
        return True
    raise DataError(
        f"{path}: the label could be in the first or in the last column; add a header that names it `label`"
    )


def _label_rank(column: NDArray[np.integer]) -> int:
    """Return how much a column is like a label: 3 if its values are 0..n or 1..n, 0 if there is one."""
    values, counts = np.unique(column, return_counts=True)
    if len(values) == 1:
        return 0
    if counts.max() > NEARLY_CONSTANT * len(column):
        return 1
    return 3 if values[0] <= 1 and values[-1] - values[0] == len(values) - 1 else 2


def _check_values(chunk: "pd.DataFrame", label: int) -> ImagesAndLabels | None:
    """Return the pixels (n, 784) and labels of these rows, or None if any of them is invalid."""
    if chunk.shape[1] != CSV_COLUMNS:
        return None
    values = chunk.to_numpy()
    if values.dtype.kind != "i" or values.min() < 0:
        return None
    labels, pixels = values[:, label].astype(np.int64), np.delete(values, label, axis=1)
    if labels.max() >= MAX_CLASSES or pixels.max() > 255:
        return None
    return pixels.astype(np.uint8), labels


def _explain_csv(path: Path, first_line: int, label: int) -> NoReturn:
    """Raise DataError for the first invalid row from `first_line` on, saying what is wrong with it."""
    try:
        with _open_text(path) as file:
            for line, row in enumerate(csv.reader(file), start=1):
                if line >= first_line and (problem := _row_problem(row, label)):
                    raise DataError(f"{path}, row {line}: {problem}")
    except (*UNREADABLE, csv.Error) as error:
        raise DataError(f"{path}: not readable as CSV ({error})") from error
    raise DataError(f"{path}, from row {first_line} on: not readable as CSV of {CSV_COLUMNS} columns")


def _row_problem(row: list[str], label: int) -> str | None:
    if _is_blank(row):
        return None
    if len(row) != CSV_COLUMNS:
        return (
            f"{len(row)} columns ({len(row) - 1} pixels), expected {CSV_COLUMNS} "
            f"(label and {CSV_COLUMNS - 1} pixels)"
        )
    for column, text in enumerate(row):
        what = "label" if column == label else f"pixel {column + (column < label)}"
        if not re.fullmatch(r"-?[0-9]+", text.strip()):
            return f"{what} is {text[:40]!r}, expected an integer"
        most = MAX_CLASSES - 1 if column == label else 255
        if not 0 <= int(text[:40]) <= most:
            return f"{what} is {text[:40]}, expected 0..{most}"
    return None


def _is_blank(row: list[str]) -> bool:
    """Return whether pandas skips this row: an empty line, or one of spaces."""
    return len(row) <= 1 and not "".join(row).strip()


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    """Open the CSV in a file, which may be packed; told by its content, not by its name."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(file) as unpacked:
                yield unpacked  # type: ignore[misc]
        elif start == b"PK\3\4":
            with zipfile.ZipFile(file) as archive, archive.open(_find_member(path, archive)) as member:
                yield member
        else:
            yield file


def _find_member(path: Path, archive: zipfile.ZipFile) -> str:
    """Return the name of the one CSV in a .zip."""
    names = [name for name in archive.namelist() if not name.startswith("__MACOSX/")]
    tables = [name for name in names if name.lower().endswith(".csv")]
    if len(tables) != 1:
        raise DataError(
            f"{path}: a .zip that holds {len(tables)} CSV files, expected one ({', '.join(names[:3])}, …); "
            "unpack it and give one of its files or folders"
        )
    return tables[0]


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOWrapper]:
    with _open(path) as file:
        yield io.TextIOWrapper(file, newline="", encoding="utf-8-sig")
