"""Splits of a data set: disjoint, stratified, and the same for a seed."""

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.data.splits import Splits, split_dataset
from fashion_mnist.errors import DataError

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


def test_validation_images_of_the_source_are_kept(numbered: LabelledImages) -> None:
    own, rest = numbered[np.arange(300)], numbered[np.arange(300, 2000)]
    splits = split_dataset(Dataset("numbered", rest, None, own), seed=3)
    assert splits.validation is own
    found = np.concatenate([rows(part) for part in parts(splits)])
    assert np.array_equal(np.sort(found), np.arange(2000))
    assert len(splits.calibration) == pytest.approx(0.05 * 1700 * 0.9, abs=1)
    other = dataclasses.replace(own, classes=tuple("abcdefghij"))
    with pytest.raises(DataError, match="the validation images have the classes a, b"):
        split_dataset(Dataset("numbered", rest, None, other), seed=3)


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
