"""Sources of labelled images, and their splits."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.data_files import LABELS, csv_rows, unpacked, write_class_folder, write_lines
from support.paths import SAMPLE

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.data.splits import Splits, split_dataset
from fashion_mnist.errors import DataError
from fashion_mnist.spec import FASHION_MNIST_CLASSES, ModelSpec

PARTS = ("train", "validation", "calibration", "test")


@pytest.fixture(scope="module")
def numbered(sample: Dataset) -> LabelledImages:
    """The sample's training images, each with its row number in the first two pixels."""
    images = sample.train.images.copy()
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(len(images)), 256)
    return LabelledImages(images, sample.train.labels, sample.train.classes)


def rows(part: LabelledImages) -> NDArray[np.int64]:
    """Return the row numbers that `numbered` wrote."""
    pixels = part.images.astype(np.int64)
    numbers: NDArray[np.int64] = pixels[:, 0, 0] * 256 + pixels[:, 0, 1]
    return numbers


def parts(splits: Splits) -> list[LabelledImages]:
    return [getattr(splits, name) for name in PARTS]


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
    loaded = sources.load(str(write_lines(tmp_path / "a.csv", *csv_rows(few))))
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


def test_label_10_is_refused_with_a_hint_to_the_classes_flag(tmp_path: Path, sample: Dataset) -> None:
    shutil.copytree(SAMPLE, tmp_path / "idx")
    labels = bytearray(unpacked(LABELS))
    labels[8 + 5] = 10
    (tmp_path / "idx" / LABELS).write_bytes(labels)
    lines = csv_rows(sample.train[np.arange(5)])
    table = write_lines(tmp_path / "a.csv", *lines, "10," + lines[0].split(",", 1)[1])
    for source in (tmp_path / "idx", table):
        with pytest.raises(DataError, match=r"label 10 at image 5, expected 0\.\.9.*--classes"):
            sources.load(str(source))
        classes = tuple("abcdefghijk")
        assert sources.load(str(source), classes=classes).train.classes == classes


def test_the_environment_variable_names_the_folder(tmp_path: Path, sample: Dataset) -> None:
    loaded = sources.load("fashion-mnist", environment={"FASHION_MNIST_DATA": str(SAMPLE)})
    assert loaded.train.fingerprint() == sample.train.fingerprint()
    with pytest.raises(DataError, match=f"FASHION_MNIST_DATA={tmp_path}: no IDX files there"):
        sources.load("fashion-mnist", environment={"FASHION_MNIST_DATA": str(tmp_path)})


def test_the_folder_data_is_found_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(SAMPLE, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert sources.find_fashion_mnist({}) == Path("data")
    assert len(sources.load("fashion-mnist", environment={}).train) == 2000


def test_a_twentieth_is_for_validation_and_a_twentieth_for_calibration(sample: Dataset) -> None:
    splits = split_dataset(sample, seed=0)
    assert [len(part) for part in parts(splits)] == [1800, 100, 100, 1000]
    for part in parts(splits):
        assert np.bincount(part.labels).tolist() == [len(part) // 10] * 10
    assert splits.test is sample.test


def test_the_summary_has_sizes_and_fingerprints(sample: Dataset) -> None:
    splits = split_dataset(sample, seed=0)
    summary = splits.summary()
    assert summary["images"] == {"train": 1800, "validation": 100, "calibration": 100, "test": 1000}
    assert summary["fingerprints"] == dict(
        zip(PARTS, (part.fingerprint() for part in parts(splits)), strict=True)
    )


def test_without_test_images_a_tenth_is_held_out_and_all_rows_are_used_once(
    numbered: LabelledImages,
) -> None:
    splits = split_dataset(Dataset("numbered", numbered, None), seed=3)
    assert [len(part) for part in parts(splits)] == [1620, 90, 90, 200]
    found = np.concatenate([rows(part) for part in parts(splits)])
    assert np.array_equal(np.sort(found), np.arange(2000))
    for part in parts(splits):
        assert np.array_equal(part.labels, numbered.labels[rows(part)])


def test_splits_are_the_same_for_a_seed_and_differ_for_another(sample: Dataset) -> None:
    first, again, other = (split_dataset(sample, seed).summary()["fingerprints"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_limit_keeps_a_subset_of_the_same_training_images(numbered: LabelledImages) -> None:
    dataset = Dataset("numbered", numbered, None)
    whole, limited = split_dataset(dataset, 0), split_dataset(dataset, 0, limit=200)
    assert np.bincount(limited.train.labels).tolist() == [20] * 10
    assert set(rows(limited.train)) < set(rows(whole.train))
    assert limited.validation.fingerprint() == whole.validation.fingerprint()
    assert len(split_dataset(dataset, 0, limit=10_000).train) == len(whole.train)


@pytest.mark.parametrize("limit", [95, 105, 123])
def test_limit_is_met_when_the_classes_do_not_divide_it(sample: Dataset, limit: int) -> None:
    train = split_dataset(sample, 0, limit).train
    assert len(train) == limit
    assert np.ptp(np.bincount(train.labels)) <= 1


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_class_that_is_too_small_is_named(numbered: LabelledImages, count: int) -> None:
    dresses = np.flatnonzero(numbered.labels == 3)
    small = numbered[np.setdiff1d(np.arange(len(numbered)), dresses[count:])]
    with pytest.raises(DataError, match=r"class 'Dress': too few images.*at least 4"):
        split_dataset(Dataset("small", small, None), 0)


@pytest.mark.parametrize("limit", [None, 100])
def test_four_images_of_a_class_are_enough(numbered: LabelledImages, limit: int | None) -> None:
    dresses = np.flatnonzero(numbered.labels == 3)
    small = numbered[np.setdiff1d(np.arange(len(numbered)), dresses[4:])]
    splits = split_dataset(Dataset("small", small, None), 0, limit)
    assert [int((part.labels == 3).sum()) for part in parts(splits)] == [1, 1, 1, 1]


def test_other_classes_in_the_test_images_are_refused(sample: Dataset) -> None:
    assert sample.test is not None
    other = dataclasses.replace(sample.test, classes=tuple("abcdefghij"))
    with pytest.raises(
        DataError, match=r"test images have the classes a, b, .* training images T-shirt/top, "
    ):
        split_dataset(dataclasses.replace(sample, test=other), 0)


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
