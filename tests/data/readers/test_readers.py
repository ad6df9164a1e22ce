"""File formats: real images come back pixel for pixel; errors name the damaged place."""

import gzip
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.data_files import LABELS, csv_rows, unpacked, write_lines
from support.paths import SAMPLE

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import Dataset
from fashion_mnist.data.readers import idx, pixel_csv
from fashion_mnist.errors import DataError

RAW = gzip.decompress((SAMPLE / f"{LABELS}.gz").read_bytes())
HEADER = ",".join(["label", *(f"pixel{i}" for i in range(1, 785))])
ROW = ",".join(["3", *["7"] * 784])


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    for path in SAMPLE.iterdir():
        (tmp_path / path.stem).write_bytes(unpacked(path.stem))
    return tmp_path


def test_plain_idx_equals_packed_idx(idx_folder: Path, sample: Dataset) -> None:
    plain = sources.load(str(idx_folder))
    assert plain.test is not None
    assert sample.test is not None
    assert plain.train.fingerprint() == sample.train.fingerprint()
    assert plain.test.fingerprint() == sample.test.fingerprint()
    assert np.bincount(plain.train.labels).tolist() == [200] * 10


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (RAW[:3], "3 bytes, expected an IDX header"),
        (b"\1" + RAW[1:], "byte 0: 0100, expected 0000"),
        (RAW[:2] + b"\x0d" + RAW[3:], "byte 2: data type 0x0d, expected 0x08"),
        (RAW[:6], "byte 6: the header ends early, expected 8 bytes"),
        (RAW[:-1], "byte 2007: the file ends after 1999 values, but its header says 2000"),
        (RAW + b"\0", "byte 2009: the file ends after 2001 values, but its header says 2000"),
        (b"\0\0\x08\x04" + b"\0\1\0\0" * 4, "65536 x 65536"),  # more values than int64 can count
        (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"a", "255"),  # more dimensions than numpy allows
    ],
)
def test_a_damaged_idx_file_is_named_with_the_byte(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / LABELS
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}.*{problem}"):
        idx.read_idx(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_the_error_for_a_truncated_gz_file_states_the_unpacked_bytes(tmp_path: Path, share: float) -> None:
    packed = (SAMPLE / "train-images-idx3-ubyte.gz").read_bytes()
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(packed[: int(len(packed) * share)])
    reached = len(zlib.decompressobj(31).decompress(path.read_bytes()))
    with pytest.raises(DataError, match="truncated or damaged after") as caught:
        idx.read_idx(path)
    named = re.search(r"after (\d+) unpacked bytes", str(caught.value))
    assert named is not None
    assert reached - 131_072 <= int(named[1]) <= reached  # the content of the last chunk may be lost


def test_missing_labels_and_a_wrong_number_of_labels_are_refused(idx_folder: Path) -> None:
    (idx_folder / "t10k-labels-idx1-ubyte").rename(idx_folder / LABELS)
    with pytest.raises(DataError, match=rf"2000 images, but {LABELS} 1000 labels; expected one label"):
        idx.read_idx_folder(idx_folder)
    (idx_folder / LABELS).write_bytes(RAW)
    with pytest.raises(DataError, match="the labels file of the t10k set is missing"):
        idx.read_idx_folder(idx_folder)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize("header", [[HEADER], []], ids=["header", "no header"])
def test_csv_equals_idx_pixel_for_pixel(
    tmp_path: Path, sample: Dataset, name: str, header: list[str]
) -> None:
    few = sample.train[np.arange(300)]
    images, labels = pixel_csv.read_csv(write_lines(tmp_path / name, *header, *csv_rows(few)))
    assert np.array_equal(images, few.images)
    assert np.array_equal(labels, few.labels)


def label_last(lines: list[str]) -> list[str]:
    return [f"{pixels},{label}" for label, _, pixels in (line.partition(",") for line in lines)]


@pytest.mark.parametrize("name", ["label", "class", " Target", '"y"', "digit", None])
def test_the_label_may_be_in_the_last_column(tmp_path: Path, sample: Dataset, name: str | None) -> None:
    """Named by the header, as in OpenML's files, or told by its values."""
    few = sample.train[np.arange(300)]
    header = [] if name is None else [",".join([*(f"pixel{i}" for i in range(1, 785)), name])]
    images, labels = pixel_csv.read_csv(write_lines(tmp_path / "a.csv", *header, *label_last(csv_rows(few))))
    assert np.array_equal(images, few.images)
    assert np.array_equal(labels, few.labels)


def test_the_header_names_the_label_in_any_column(tmp_path: Path) -> None:
    pixels = [str(value % 256) for value in range(784)]
    cells = ["a", "b", "label", *["c"] * 782]
    lines = [",".join(cells), *(",".join([*pixels[:2], label, *pixels[2:]]) for label in ("300", "7"))]
    images, labels = pixel_csv.read_csv(write_lines(tmp_path / "a.csv", *lines))
    assert labels.tolist() == [300, 7]
    assert images[1].reshape(-1).tolist() == [value % 256 for value in range(784)]
    lines[1] = ",".join([*pixels[:2], "7", "256", *pixels[3:]])
    with pytest.raises(DataError, match=r"row 2: pixel 3 is 256, expected 0\.\.255"):
        pixel_csv.read_csv(write_lines(tmp_path / "a.csv", *lines))


def test_a_label_that_cannot_be_told_from_a_pixel_is_refused(tmp_path: Path) -> None:
    both = [",".join([first, *["7"] * 783, last]) for first, last in ("01", "10", "01")]
    with pytest.raises(DataError, match=r"first or in the last column; add a header that names it `label`"):
        pixel_csv.read_csv(write_lines(tmp_path / "a.csv", *both))
    two = write_lines(tmp_path / "b.csv", HEADER.replace("pixel784", "class"), ROW)
    with pytest.raises(DataError, match=r"b\.csv, row 1: the columns label, class could be the label"):
        pixel_csv.read_csv(two)
    rows = [",".join([pixel, *["7"] * 783, last]) for pixel, last in (("300", "0"), ("300", "1"))]
    with pytest.raises(DataError, match=r"row 1: pixel 1 is 300, expected 0\.\.255"):
        pixel_csv.read_csv(write_lines(tmp_path / "c.csv", *rows))


def test_blank_lines_are_ignored(tmp_path: Path) -> None:
    for lines in (["", HEADER, ROW, "", ROW, "", ""], [ROW, ROW, "   ", ""]):
        _, labels = pixel_csv.read_csv(write_lines(tmp_path / "a.csv", *lines))
        assert labels.tolist() == [3, 3]


def test_a_csv_in_a_zip_is_read_whatever_its_name(tmp_path: Path, sample: Dataset) -> None:
    few = sample.train[np.arange(50)]
    table = write_lines(tmp_path / "train.csv", *csv_rows(few))
    for name in ("train.csv.zip", "packed.csv"):
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(table, "folder/train.CSV")
            archive.writestr("__MACOSX/._train.csv", b"junk")
        images, labels = pixel_csv.read_csv(tmp_path / name)
        assert np.array_equal(images, few.images)
        assert np.array_equal(labels, few.labels)


def test_a_zip_of_anything_but_one_csv_is_named_for_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "archive.zip"
    for count in (0, 2):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("cats/1.png", b"")
            for number in range(count):
                archive.writestr(f"{number}.csv", ROW)
        with pytest.raises(
            DataError, match=rf"archive\.zip: a \.zip that holds {count} CSV.*cats/1\.png.*unpack"
        ):
            pixel_csv.read_csv(path)


def test_a_quoted_csv_without_header_loses_no_row(tmp_path: Path, sample: Dataset) -> None:
    quoted = ['"' + row.replace(",", '","') + '"' for row in csv_rows(sample.train[np.arange(3)])]
    assert len(pixel_csv.read_csv(write_lines(tmp_path / "a.csv", *quoted))[1]) == 3


BAD_ROWS = {
    "783 pixels": (ROW[:-2], r"784 columns \(783 pixels\), expected 785 \(label and 784 pixels\)"),
    "an extra column": (ROW + ",7", r"786 columns \(785 pixels\), expected 785"),
    "label -1": ("-1" + ROW[1:], "label is -1, expected 0..99999"),
    "pixel 256": (ROW[:-1] + "256", r"pixel 784 is 256, expected 0\.\.255"),
    "pixel -1": (ROW[:-1] + "-1", r"pixel 784 is -1, expected 0\.\.255"),
    "a fraction": (ROW[:-1] + "0.5", r"pixel 784 is '0\.5', expected an integer"),
    "text": (ROW[:-1] + "black", "pixel 784 is 'black', expected an integer"),
    "an empty cell": (ROW[:-1], "pixel 784 is '', expected an integer"),
}


@pytest.mark.parametrize("header", [[HEADER], []], ids=["header", "no header"])
@pytest.mark.parametrize(("bad", "problem"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_named(tmp_path: Path, header: list[str], bad: str, problem: str) -> None:
    path = write_lines(tmp_path / "a.csv", *header, ROW, ROW, bad, ROW)
    line = len(header) + 3
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}, row {line}: {problem}"):
        pixel_csv.read_csv(path)


MANY = [ROW] * pixel_csv.CSV_ROWS_AT_ONCE
BAD_FILES = {
    "a row after the first chunk": ([HEADER, *MANY, ROW, ROW[:-1] + "256"], "row 4099: pixel 784 is 256"),
    "the row after the chunk, no header": ([*MANY, ROW, ROW[:-1] + "256"], "row 4098: pixel 784 is 256"),
    "text far down the first chunk": (
        [HEADER, *MANY[:2000], ROW[:-1] + "black"],
        "row 2002: pixel 784 is 'black', expected an integer",
    ),
    "a bad row after blank lines": (["", HEADER, "", ROW, "  ", ROW + ",7"], "row 6: 786 columns"),
    "an extra column in all rows": ([HEADER, ROW + ",7", ROW + ",7"], "row 2: 786 columns"),
    "no first label": ([ROW[1:], ROW], "row 1: label is '', expected an integer"),
    "a first label of text": (["shoe" + ROW[1:], ROW], "row 1: label is 'shoe', expected an integer"),
    "a header only": ([HEADER], "a header but no rows"),
    "nothing": ([], "the file is empty"),
}


@pytest.mark.parametrize(("lines", "problem"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_named(tmp_path: Path, lines: list[str], problem: str) -> None:
    path = write_lines(tmp_path / "a.csv", *lines)
    with pytest.raises(DataError, match=f"{re.escape(str(path))}.*{problem}"):
        pixel_csv.read_csv(path)


PACKED = gzip.compress(f"{HEADER}\n{ROW}\n".encode())
UNREADABLE = {
    "UTF-16": ("a.csv", "label".encode("utf-16")),
    "not gzip": ("a.csv.gz", b"label"),
    "truncated gzip": ("a.csv.gz", PACKED[:-40]),
    "truncated zip": ("a.zip", b"PK\3\4 and no end"),
}


@pytest.mark.parametrize(("name", "content"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_csv_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(path))):
        pixel_csv.read_csv(path)
