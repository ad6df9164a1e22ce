"""Folders of pictures as people have them: every picture is read, and what is passed over is counted."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.data_files import write_class_folder

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import Dataset, LabelledImages
from fashion_mnist.data.readers.class_folders import find_splits, read_class_folders
from fashion_mnist.data.readers.picture_files import Skipped
from fashion_mnist.errors import DataError


@pytest.fixture
def pictures(tmp_path: Path, sample: Dataset) -> Path:
    """Two class folders with three pictures each."""
    for index, name in enumerate(("bags", "coats")):
        write_class_folder(tmp_path / "pictures" / name, sample.train.images[3 * index : 3 * index + 3])
    return tmp_path / "pictures"


def read(folder: Path, *, strict: bool = False) -> tuple[LabelledImages, dict[str, int]]:
    """Read a folder; return the images and how many files were passed over for each reason."""
    skipped: Skipped = {}
    images = read_class_folders(folder, (28, 28), skipped, strict)
    return images, {reason: len(paths) for reason, paths in skipped.items()}


@pytest.mark.parametrize("shape", [(28, 28), (16, 20, 3)])
def test_class_folders_take_pictures_of_any_size(
    tmp_path: Path, sample: Dataset, shape: tuple[int, ...]
) -> None:
    images = sample.train.images
    shoes = write_class_folder(tmp_path / "b shoes", [images[0], images[1][:, 4:24]])
    (shoes / "0001.png").rename(shoes / os.fsdecode(b"1\xff.png"))
    write_class_folder(tmp_path / "a shirts", [images[2].repeat(3, axis=0)], ".jpeg")
    found = read_class_folders(tmp_path, shape, {})
    assert found.images.shape == (3, *shape)
    assert found.images.dtype == np.uint8
    assert found.labels.tolist() == [0, 1, 1]
    assert found.classes == ("a shirts", "b shoes")
    assert found.files is not None
    assert found.files.tolist() == ["a shirts/0000.jpeg", "b shoes/0000.png", "b shoes/1\ufffd.png"]
    assert shape != (28, 28) or np.array_equal(found.images[1], images[0])


def test_pictures_are_told_by_content_and_found_in_sub_folders(pictures: Path) -> None:
    bags = pictures / "bags"
    bags.joinpath("0000.png").rename(bags / "noname")
    Image.open(bags / "0001.png").save(bags / "photo.tif")
    bags.joinpath("0001.png").rename(bags / "photo.jfif")
    (bags / "old" / "older").mkdir(parents=True)
    bags.joinpath("0002.png").rename(bags / "old" / "older" / "table.xls")
    images, skipped = read(pictures)
    assert (images.labels.tolist(), skipped) == ([0, 0, 0, 0, 1, 1, 1], {})


def test_what_is_passed_over_is_counted_by_reason(pictures: Path) -> None:
    bags = pictures / "bags"
    (bags / "notes.txt").write_text("about these bags")
    (bags / "half.png").write_bytes((bags / "0000.png").read_bytes()[:150])
    (bags / "page.jpg").write_text("<html>404</html>")
    (bags / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (bags / "link.png").symlink_to("nowhere")
    (pictures / "readme.md").write_text("# Bags and coats")
    for litter in (".DS_Store", "coats/Thumbs.db", "coats/._0000.png"):
        (pictures / litter).write_bytes(b"\0")
    for folder in ("@eaDir", "__MACOSX/bags", ".ipynb_checkpoints", "coats/@eaDir"):
        shutil.copytree(pictures / "coats", pictures / folder)
    (pictures / "empty").mkdir()
    images, skipped = read(pictures)
    assert (len(images), images.classes) == (6, ("bags", "coats"))
    assert skipped == {
        "hidden or of the system": 7,
        "outside of the class folders": 1,
        "not a picture": 1,
        "damaged": 2,
        "in another format": 1,
        "not readable": 1,
        "folder without pictures": 1,
    }
    dataset = sources.load(str(pictures))
    assert dataset.origin()["skipped"] == skipped
    reading, line = dataset.describe()
    assert reading == f"reading {pictures} (classes named after its folders)"
    assert f"2 damaged ({bags / 'half.png'}, {bags / 'page.jpg'})" in line


@pytest.mark.parametrize("content", [b"junk", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4"])
def test_strict_stops_at_the_first_file_that_cannot_be_read(pictures: Path, content: bytes) -> None:
    (pictures / "coats" / ".DS_Store").write_bytes(b"\0")
    assert read(pictures, strict=True)[1] == {"hidden or of the system": 1}
    (pictures / "coats" / "1.png").write_bytes(content)
    with pytest.raises(DataError, match=r"coats/1\.png: .*(not a picture|damaged|not supported)"):
        read(pictures, strict=True)
    assert sum(read(pictures)[1].values()) == 2


def test_a_class_in_which_no_picture_can_be_read_is_refused(pictures: Path) -> None:
    (pictures / "dogs").mkdir()
    (pictures / "dogs" / "1.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DataError, match=r"dogs: no picture .* can be read: 1 in another format \(.*1\.heic"):
        read(pictures)
    shutil.rmtree(pictures / "dogs")
    (pictures / "dogs").mkdir()
    with pytest.raises(DataError, match="dogs: no picture"):
        read(pictures, strict=True)
    shutil.rmtree(pictures / "bags")
    with pytest.raises(DataError, match="1 class folders, expected at least 2"):
        read(pictures)


def test_names_are_composed_and_sorted_so(pictures: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Élan")
    (pictures / "bags").rename(pictures / decomposed)
    write_class_folder(pictures / "F", [np.zeros((28, 28), np.uint8)])
    assert read(pictures)[0].classes == ("F", "coats", "Élan")


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("train", "val"),
        ("Train", "Test"),
        ("training", "testing"),
        ("training_set", "validation_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("dataset/images/train", "dataset/images/test"),
    ],
)
def test_folders_for_splits_are_understood(tmp_path: Path, pictures: Path, names: tuple[str, ...]) -> None:
    for index, name in enumerate(names):
        shutil.copytree(pictures, tmp_path / "divided" / name)
        Image.new("L", (28, 28), index).save(tmp_path / "divided" / name / "coats" / "0000.png")
    dataset = sources.load(str(tmp_path / "divided"))
    assert dataset.train.classes == ("bags", "coats")
    found = {"train": dataset.train, "val": dataset.validation, "test": dataset.test}
    assert {name: part.images[3, 0, 0] for name, part in found.items() if part is not None} == {
        next(kind for kind in found if kind in name.lower()): index for index, name in enumerate(names)
    }


def test_a_lone_level_is_passed_through_and_a_class_may_be_called_train(
    tmp_path: Path, pictures: Path
) -> None:
    shutil.copytree(pictures, tmp_path / "outer" / "dataset" / "images")
    assert sources.load(str(tmp_path / "outer")).train.classes == ("bags", "coats")
    (pictures / "bags").rename(pictures / "train")
    assert sources.load(str(pictures)).train.classes == ("coats", "train")


@pytest.mark.parametrize("others", [("train", "test"), ("val", "test"), ("train", "training", "test")])
def test_what_looks_like_splits_but_is_not_understood_is_refused(
    pictures: Path, others: tuple[str, ...]
) -> None:
    for name in others:
        (pictures / name).mkdir()
    if len(others) > 2 or "train" not in others:
        for name in ("bags", "coats"):
            shutil.rmtree(pictures / name)
    with pytest.raises(DataError, match="look like splits, expected train, test and validation"):
        sources.load(str(pictures))


def test_splits_inside_of_the_classes_are_refused(pictures: Path) -> None:
    for top in pictures.iterdir():
        for split in ("train", "test"):
            (top / split).mkdir()
            shutil.copy(top / "0000.png", top / split)
    with pytest.raises(DataError, match=r"look like splits inside of a class; expected .* train/CLASS"):
        read(pictures)


@pytest.mark.parametrize("name", ["dev", "Eval"])
def test_dev_and_eval_are_validation(tmp_path: Path, pictures: Path, name: str) -> None:
    for split in ("train", name):
        shutil.copytree(pictures, tmp_path / "data" / split)
    assert set(find_splits(tmp_path / "data")) == {"train", "validation"}


def test_a_link_to_a_folder_above_is_not_followed(pictures: Path) -> None:
    (pictures / "bags" / "loop").symlink_to("..")
    images, skipped = read(pictures)
    assert len(images) == 6
    assert skipped == {"link to a folder that holds it": 1}
