"""Labelled images in a CSV file: 785 columns, label first, optional header, as in Kaggle's Fashion-MNIST."""

import csv
import gzip
import io
import re
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.data.readers.idx import ImagesAndLabels
from fashion_mnist.errors import DataError, DependencyError

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES: Final = 100_000
"""Labels of this size or larger are taken for a mistake in the file."""
NUMBER: Final = r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?"
UNREADABLE: Final = (OSError, EOFError, zlib.error, UnicodeDecodeError)
"""Raised by damaged files: a disk error, a truncated .gz, corrupt .gz data, bytes that are not UTF-8."""
CSV_COLUMNS: Final = 785
CSV_ROWS_AT_ONCE: Final = 4096
"""25 MB as int64: bounds the memory, yet large enough for pandas to run at full speed."""


def read_csv(path: Path) -> ImagesAndLabels:
    """Read a CSV file, plain or .gz; return images (N, 28, 28) and labels.

    Memory: the images and 4,096 rows of text. Raises DataError, which states the row; the header counts
    as a row.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise DependencyError("reading CSV needs pandas: pip install 'fashion-mnist[train]'") from error
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    header = _has_header(path)
    images, labels = [], []
    line = 2 if header else 1
    try:
        with (
            warnings.catch_warnings(),
            pd.read_csv(
                path,
                header=0 if header else None,
                chunksize=CSV_ROWS_AT_ONCE,
                skip_blank_lines=False,
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
                values = _checked_values(chunk)
                if values is None:
                    _explain_csv(path, line)
                labels.append(values[:, 0].astype(np.int64))
                images.append(values[:, 1:].astype(np.uint8))
                line += len(chunk)
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        *UNREADABLE,
    ):
        _explain_csv(path, line)
    if not images:
        raise DataError(f"{path}: a header but no rows")
    return np.concatenate(images).reshape(-1, 28, 28), np.concatenate(labels)


def _has_header(path: Path) -> bool:
    """Return whether the first row is a header: none of its cells is a number."""
    try:
        with _open_text(path) as file:
            first = next(csv.reader(file), [])
    except (*UNREADABLE, csv.Error) as error:
        raise DataError(f"{path}: not readable as CSV ({error})") from error
    return bool(first) and not any(re.fullmatch(NUMBER, cell.strip()) for cell in first)


def _checked_values(chunk: "pd.DataFrame") -> NDArray[np.int64] | None:
    """Return the rows as integers (n, 785), or None if any of them is invalid."""
    if chunk.shape[1] != CSV_COLUMNS:
        return None
    values = chunk.to_numpy()
    if values.dtype.kind != "i" or values.min() < 0:
        return None
    if values[:, 0].max() >= MAX_CLASSES or values[:, 1:].max() > 255:
        return None
    return values


def _explain_csv(path: Path, first_line: int) -> NoReturn:
    """Raise DataError for the first invalid row from `first_line` on, saying what is wrong with it."""
    try:
        with _open_text(path) as file:
            for line, row in enumerate(csv.reader(file), start=1):
                if line >= first_line and (problem := _row_problem(row)):
                    raise DataError(f"{path}, row {line}: {problem}")
    except (*UNREADABLE, csv.Error) as error:
        raise DataError(f"{path}: not readable as CSV ({error})") from error
    raise DataError(f"{path}, from row {first_line} on: not readable as CSV of {CSV_COLUMNS} columns")


def _row_problem(row: list[str]) -> str | None:
    if not row:
        return "empty"
    if len(row) != CSV_COLUMNS:
        return (
            f"{len(row)} columns ({len(row) - 1} pixels), expected {CSV_COLUMNS} "
            f"(label and {CSV_COLUMNS - 1} pixels)"
        )
    for column, text in enumerate(row):
        what = "label" if column == 0 else f"pixel {column}"
        if not re.fullmatch(r"-?[0-9]+", text.strip()):
            return f"{what} is {text[:40]!r}, expected an integer"
        most = MAX_CLASSES - 1 if column == 0 else 255
        if not 0 <= int(text[:40]) <= most:
            return f"{what} is {text[:40]}, expected 0..{most}"
    return None


def _open_text(path: Path) -> io.TextIOWrapper:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8-sig")
    return path.open(newline="", encoding="utf-8-sig")
