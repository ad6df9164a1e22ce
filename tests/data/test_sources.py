"""Sources of labelled images, and the names of their classes."""

import dataclasses
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.data_files import LABELS, csv_rows, unpacked, write_class_folder, write_lines
from support.paths import SAMPLE

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.data.readers import idx
from fashion_mnist.errors import DataError
from fashion_mnist.spec import FASHION_MNIST_CLASSES, ModelSpec


def write_classes(folder: Path, images: LabelledImages) -> Path:
    """Write the first two classes as class folders."""
    for index, name in enumerate(("shirts", "trousers")):
        write_class_folder(folder / name, images.images[images.labels == index])
    return folder


def test_a_folder_of_idx_files_is_loaded(sample: Dataset) -> None:
    assert sample.name == str(SAMPLE)
    assert sample.train.spec == ModelSpec(FASHION_MNIST_CLASSES, 28, 28, 1)
    assert sample.test is not None
    assert (len(sample.train), len(sample.test)) == (2000, 1000)
    assert sample.train.images.dtype == np.uint8
    assert sample.train.labels.dtype == np.int64


def test_a_csv_is_loaded(tmp_path: Path, sample: Dataset) -> None:
    few = sample.train[np.arange(50)]
    table = str(write_lines(tmp_path / "a.csv", *csv_rows(few)))
    loaded = sources.load(table, classes=FASHION_MNIST_CLASSES)
    assert loaded.train.fingerprint() == few.fingerprint()
    assert loaded.test is None


def test_class_folders_are_loaded_with_and_without_test_images(tmp_path: Path, sample: Dataset) -> None:
    few = sample.train[np.arange(40)]
    whole = sources.load(str(write_classes(tmp_path / "whole", few)), shape=(14, 14, 3))
    assert whole.train.spec == ModelSpec(("shirts", "trousers"), 14, 14, 3)
    assert whole.test is None
    write_classes(tmp_path / "divided" / "train", few)
    write_classes(tmp_path / "divided" / "test", few)
    divided = sources.load(str(tmp_path / "divided"))
    assert divided.test is not None
    assert divided.test.fingerprint() == divided.train.fingerprint()
    assert divided.train.classes == ("shirts", "trousers")


def test_an_unknown_source_is_refused_with_the_known_name() -> None:
    with pytest.raises(DataError, match=r"cifar: no such file or folder.*fashion-mnist"):
        sources.load("cifar")


def write_idx_folder(folder: Path, labels: Callable[[NDArray[np.uint8]], NDArray[np.integer]]) -> Path:
    """Copy the sample with other labels; `labels` is given the right ones."""
    shutil.copytree(SAMPLE, folder)
    for name in (LABELS, LABELS.replace("train", "t10k")):
        content = unpacked(name)
        changed = labels(np.frombuffer(content, np.uint8, offset=8)).astype(np.uint8)
        (folder / name).write_bytes(content[:8] + changed.tobytes())
    return folder


def test_every_label_needs_a_name(tmp_path: Path, sample: Dataset) -> None:
    folder = write_idx_folder(tmp_path / "idx", lambda right: np.where(np.arange(len(right)) == 5, 10, right))
    lines = csv_rows(sample.train[np.arange(5)])
    table = write_lines(tmp_path / "a.csv", *lines, "10," + lines[0].split(",", 1)[1])
    for source in (folder, table):
        with pytest.raises(
            DataError, match=r"label 10 at image 5, expected one of 10 from 0 to 9; .* 0 to 10.*--classes"
        ):
            sources.load(str(source), classes=FASHION_MNIST_CLASSES)
        classes = tuple("abcdefghijk")
        assert sources.load(str(source), classes=classes).train.classes == classes


def test_only_fashion_mnists_own_files_are_named_after_garments(tmp_path: Path) -> None:
    """Other files in its place are refused where it was asked for; else they are named by their numbers."""
    garments = sources.load(str(SAMPLE))
    assert garments.describe() == [f"reading {SAMPLE} (Fashion-MNIST by its checksums)"]
    other = str(write_idx_folder(tmp_path / "digits", lambda right: right[::-1]))
    digits = sources.load(other)
    assert digits.train.classes == tuple("0123456789")
    assert digits.test is not None
    assert digits.test.classes == digits.train.classes
    assert "classes named by number; --classes names them" in digits.describe()[0]
    named = sources.load(other, classes=FASHION_MNIST_CLASSES)
    assert named.describe() == [f"reading {other} (label 0 is T-shirt/top, label 9 is Ankle boot)"]
    with pytest.raises(
        DataError, match=rf"^{other}: .*not Fashion-MNIST's, by their checksums.*--data {other}"
    ):
        sources.load("fashion-mnist", environment={"FASHION_MNIST_DATA": other})


def test_labels_may_start_at_1_and_have_gaps(tmp_path: Path) -> None:
    from_1 = str(write_idx_folder(tmp_path / "letters", lambda right: right + 1))
    letters = sources.load(from_1, classes=tuple("abcdefghij"))
    assert (letters.train.classes, letters.numbers) == (tuple("abcdefghij"), tuple(range(1, 11)))
    assert np.bincount(letters.train.labels).tolist() == [200] * 10
    with pytest.raises(DataError, match="the labels run from 1 to 10; a training takes a name for each"):
        sources.load(from_1, classes=tuple("abcdefghi"))
    assert sources.load(from_1).train.classes == (*"123456789", "10")
    some = str(write_idx_folder(tmp_path / "some", lambda right: np.maximum(right, 1) + 1))  # none is 1
    assert sources.load(some, classes=tuple("abcdefghij")).numbers == tuple(range(1, 11))
    gaps = sources.load(str(write_idx_folder(tmp_path / "gaps", lambda right: right % 5 * 3)))
    assert gaps.train.classes == ("0", "3", "6", "9", "12")
    assert np.bincount(gaps.train.labels).tolist() == [400] * 5


def test_images_too_large_for_a_model_are_refused(tmp_path: Path) -> None:
    (tmp_path / LABELS).write_bytes(struct.pack(">2i", 0x0801, 2) + b"\0\1")
    for side in (1024, 1025):
        head = struct.pack(">4i", 0x0803, 2, side, 4)
        (tmp_path / idx.TRAIN_IMAGES).write_bytes(head + bytes(2 * side * 4))
        if side == 1024:
            assert sources.load(str(tmp_path)).train.images.shape == (2, 1024, 4)
    with pytest.raises(DataError, match="1025 x 4 pixels; a model takes 1024 a side, shrink them"):
        sources.load(str(tmp_path))


def test_a_file_with_some_of_the_labels_is_read_with_the_numbers_of_the_training(
    tmp_path: Path, sample: Dataset
) -> None:
    table = write_lines(tmp_path / "a.csv", *csv_rows(sample.train[np.flatnonzero(sample.train.labels == 3)]))
    loaded = sources.load(str(table), classes=("a", "b", "c"), numbers=(2, 3, 7))
    assert set(loaded.train.labels) == {1}
    with pytest.raises(DataError, match="label 3 at image 0, expected one of 2 from 2 to 7"):
        sources.load(str(table), classes=("a", "c"), numbers=(2, 7))


def test_the_environment_variable_names_the_folder(tmp_path: Path, sample: Dataset) -> None:
    loaded = sources.load("fashion-mnist", environment={"FASHION_MNIST_DATA": f"{SAMPLE}\r"})
    assert loaded.train.fingerprint() == sample.train.fingerprint()
    with pytest.raises(DataError, match=f"FASHION_MNIST_DATA={tmp_path}: no IDX files there"):
        sources.load("fashion-mnist", environment={"FASHION_MNIST_DATA": str(tmp_path)})


def test_the_folder_data_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SAMPLE, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert sources.find_fashion_mnist({}) == Path("data")
    assert len(sources.load("fashion-mnist", environment={}).train) == 2000


def _change_pixel(it: LabelledImages) -> LabelledImages:
    images = it.images.copy()
    images[7, 3, 3] ^= 1
    return dataclasses.replace(it, images=images)


def _change_label(it: LabelledImages) -> LabelledImages:
    labels = it.labels.copy()
    labels[7] = (labels[7] + 1) % 10
    return dataclasses.replace(it, labels=labels)


def _change_name(it: LabelledImages) -> LabelledImages:
    return dataclasses.replace(it, classes=("T-shirt", *it.classes[1:]))


@pytest.mark.parametrize("change", [_change_pixel, _change_label, _change_name])
def test_every_change_alters_the_fingerprint(
    sample: Dataset, change: Callable[[LabelledImages], LabelledImages]
) -> None:
    same = sample.train[np.arange(len(sample.train))]
    assert same.fingerprint() == sample.train.fingerprint()
    assert change(same).fingerprint() != sample.train.fingerprint()
