"""The preparation of pictures: product photographs, drawings, transparent PNGs, every mode and ground."""

import io
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from support.data_files import write_class_folder
from support.pictures import encode
from support.product_photos import enlarged, product_photos

from fashion_mnist.data import sources
from fashion_mnist.data.dataset import Dataset
from fashion_mnist.errors import InputError
from fashion_mnist.imaging import preparation
from fashion_mnist.imaging.pixels import enough_for, read_picture, read_prepared
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.spec import ModelSpec

GARMENT = ModelSpec(("a", "b"), 28, 28, 1, "garment")
SHIRT = [(40, 5), (20, 8), (0, 40), (12, 50), (20, 40), (20, 95)]
Color = tuple[int, int, int]


def shirt(color: Color = (60, 70, 120), ground: Color = (250, 250, 248), margin: int = 30) -> Image.Image:
    """Draw a T-shirt, symmetric, 200 pixels wide and 180 high, with a margin around it."""
    picture = Image.new("RGB", (200 + 2 * margin, 180 + 2 * margin), ground)
    outline = SHIRT + [(100 - x, y) for x, y in reversed(SHIRT)]
    ImageDraw.Draw(picture).polygon([(margin + 2 * x, margin - 10 + 2 * y) for x, y in outline], fill=color)
    return picture


def assert_shirt(image: NDArray[np.uint8]) -> None:
    """Check that the T-shirt fills the width, is light, and that black surrounds it."""
    assert (image[:, 0].max() > 20, image[:, 27].max() > 20) == (True, True)
    assert np.median(image[10:24, 10:18]) > 30
    assert image[:3, :2].max() < 20
    assert image[20:, :4].max() < 20


def accuracy(predictor: Predictor, files: list[bytes], labels: NDArray[np.int64]) -> float:
    images = np.stack([read_picture(file, GARMENT) for file in files])
    return float((predictor.predict(images).class_ids == labels).mean())


def test_product_photos_are_answered_almost_as_well_as_the_originals(
    bundled: Predictor, sample: Dataset
) -> None:
    assert sample.test is not None
    test = sample.test[np.arange(0, 1000, 16)]
    files = list(product_photos(test.images))
    assert accuracy(bundled, files, test.labels) >= 0.9
    unprepared = ModelSpec(("a", "b"), 28, 28, 1)
    plain = np.stack([read_picture(file, unprepared) for file in files])
    assert (bundled.predict(plain).class_ids == test.labels).mean() < 0.3


@pytest.mark.parametrize("ground", ["black", "margin", "white"])
def test_enlarged_images_are_answered_like_the_originals(
    bundled: Predictor, sample: Dataset, ground: str
) -> None:
    assert sample.test is not None
    test = sample.test[np.arange(0, 1000, 5)]
    original = (bundled.predict(test.images).class_ids == test.labels).mean()
    assert accuracy(bundled, [enlarged(i, ground) for i in test.images], test.labels) >= original - 0.03


GROUNDS: dict[str, tuple[Color, Color, str]] = {
    "white": ((60, 70, 120), (255, 255, 255), "light"),
    "dark": ((180, 60, 60), (30, 32, 34), "dark"),
    "colored": ((60, 70, 120), (240, 190, 160), "coloured"),
    "white on black": ((245, 245, 245), (20, 20, 20), "dark"),
    "white on white": ((228, 228, 228), (252, 252, 252), "light"),
}


@pytest.mark.parametrize("name", GROUNDS)
@pytest.mark.parametrize("margin", [0, 30, 120])
def test_every_ground_is_removed(name: str, margin: int) -> None:
    color, ground, kind = GROUNDS[name]
    image, note = read_prepared(encode(shirt(color, ground, margin), "JPEG", quality=80), GARMENT)
    assert_shirt(image)
    assert note == f"{kind} background removed"


def with_shadow() -> Image.Image:
    picture = shirt()
    shadow = shirt((150, 150, 150), (255, 255, 255)).convert("L").filter(ImageFilter.GaussianBlur(9))
    picture.paste((235, 235, 235), (4, 6), Image.eval(shadow, lambda level: min(255, 2 * (255 - level))))
    outline = Image.eval(shirt((0, 0, 0), (255, 255, 255)).convert("L"), lambda level: 255 - level)
    picture.paste(shirt(), mask=outline)
    return picture


def cut_out() -> Image.Image:
    picture = shirt()
    picture.putalpha(Image.eval(shirt((0, 0, 0)).convert("L"), lambda level: 255 if level < 100 else 0))
    return picture


def deep() -> Image.Image:
    return Image.fromarray(np.asarray(shirt().convert("L")).astype(np.uint16) * 257)


def wide() -> Image.Image:
    picture = Image.new("RGB", (2000, 260), (250, 250, 248))
    picture.paste(shirt(), (1500, 10))
    return picture


def outlined() -> Image.Image:
    picture = Image.new("RGB", (260, 240), "white")
    points = [(30 + 2 * x, 20 + 2 * y) for x, y in SHIRT + [(100 - x, y) for x, y in reversed(SHIRT)]]
    ImageDraw.Draw(picture).line([*points, points[0]], fill=(20, 20, 20), width=3)
    return picture


PICTURES: dict[str, bytes] = {
    "shadow": encode(with_shadow(), "JPEG"),
    "transparent": encode(cut_out()),
    "transparent palette": encode(cut_out().quantize(32)),
    "gray with alpha": encode(cut_out().convert("LA")),
    "16 bits": encode(deep()),
    "palette": encode(shirt().quantize(16)),
    "animation": encode(shirt(), "GIF", save_all=True, append_images=[Image.new("RGB", (260, 240))]),
    "CMYK": encode(shirt().convert("CMYK"), "JPEG"),
    "two colors": encode(shirt((0, 0, 0), (255, 255, 255)).convert("1")),
    "TIFF": encode(shirt(), "TIFF", compression="tiff_lzw"),
    "AVIF": encode(shirt(), "AVIF", speed=9),
    "wide": encode(wide()),
    "outlined": encode(outlined()),
}


@pytest.mark.parametrize("data", PICTURES.values(), ids=PICTURES.keys())
def test_every_kind_of_picture_shows_the_garment(data: bytes) -> None:
    image, note = read_prepared(data, GARMENT)
    assert_shirt(image)
    assert note is not None
    assert note.endswith("background removed")


def test_a_heic_picture_shows_the_garment() -> None:
    library: Any = pytest.importorskip("pillow_heif", reason="the extra `heic` is not installed")
    file = io.BytesIO()
    library.from_pillow(shirt()).save(file, quality=80)
    assert_shirt(read_picture(file.getvalue(), GARMENT))
    with pytest.raises(InputError, match="at most 100"):
        read_picture(file.getvalue(), GARMENT, max_pixels=100)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = read_picture(encode(shirt()), GARMENT)
    stored = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the inverse of each, as Pillow numbers them
    picture = shirt()
    if orientation > 1:
        picture = picture.transpose(Image.Transpose(stored[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_picture(encode(picture, exif=exif), GARMENT)
    assert np.abs(found.astype(int) - upright).mean() < 12 < np.abs(found[::-1].astype(int) - upright).mean()


def test_the_models_own_shape_passes_pixel_for_pixel(test_images: NDArray[np.uint8]) -> None:
    for image in (test_images[0], 255 - test_images[1]):
        found = read_prepared(encode(Image.fromarray(image)), GARMENT)
        assert found.note is None
        assert np.array_equal(found.image, image)


@pytest.mark.parametrize("size", [(5000, 1), (1, 900), (2, 2), (29, 28), (3000, 40)])
@pytest.mark.parametrize("level", [0, 130, 255])
def test_one_colour_is_no_garment(size: tuple[int, int], level: int) -> None:
    image, note = read_prepared(encode(Image.new("L", size, level)), GARMENT)
    assert image.shape == (28, 28)
    assert note == ("black background kept" if level == 0 else "no garment found: one colour")


def test_noise_and_spirals_take_milliseconds() -> None:
    mask = np.random.default_rng(0).random((512, 32)) < 0.6
    start = time.thread_time()
    labels = preparation._label(mask)
    assert time.thread_time() - start < 0.5
    assert labels.shape == mask.shape


def test_parts_are_what_connects_them() -> None:
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    labels = preparation._label(mask)
    assert len(np.unique(labels[mask])) == 3
    assert labels[0, 0] == labels[1, 1] != labels[0, 3] == labels[1, 3]


def test_a_photograph_of_twelve_megapixels_is_reduced_while_it_is_decoded() -> None:
    data = encode(shirt().resize((4000, 3000)), "JPEG", quality=85)
    assert enough_for(GARMENT) == (256, 256)

    def seconds(run: Any) -> float:
        times = []
        for _ in range(3):
            start = time.thread_time()
            run()
            times.append(time.thread_time() - start)
        return min(times)

    full = seconds(lambda: Image.open(io.BytesIO(data)).resize((28, 28), Image.Resampling.LANCZOS))
    assert seconds(lambda: read_prepared(data, GARMENT)) <= 0.35 * full


def test_class_folders_are_prepared_as_the_service_does(tmp_path: Any) -> None:
    for name in ("a", "b"):
        write_class_folder(tmp_path / name, [np.asarray(shirt())] * 2)
    expected = read_picture(encode(shirt()), GARMENT)
    prepared = sources.load(str(tmp_path), preparation="garment").train
    assert np.array_equal(prepared.images[0], expected)
    assert not np.array_equal(sources.load(str(tmp_path)).train.images[0], expected)
