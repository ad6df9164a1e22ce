"""Estimate what decoding a picture costs, from its headers, before anything is decoded.

The constants were measured on a Xeon with AMX (Pillow 13, one thread, 10 megapixels in each format and mode,
gray and color models) and rounded up; tests/imaging/test_cost.py measures the memory again.
"""

from typing import Final, NamedTuple

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import decoder, jpeg
from fashion_mnist.imaging.pixels import enough_for
from fashion_mnist.spec import ModelSpec


class Cost(NamedTuple):
    """Estimated cost of decoding: CPU time, and peak memory besides the file itself."""

    cpu_s: float
    peak_bytes: int


NS_S: Final = 1e-9
MARGIN: Final = 1.05
FIXED_BYTES: Final = 3_000_000

NS_PER_PIXEL: Final = {"PNG": 10, "TIFF": 18, "WEBP": 50, "GIF": 20, "BMP": 18, "AVIF": 50, "HEIF": 40}
NS_PER_BYTE: Final = {"PNG": 12, "TIFF": 10}
"""For each byte of a row, uncompressed."""
NS_PER_FILE_BYTE: Final = {"AVIF": 32, "HEIF": 72}
EXTRA_BYTES: Final = {"WEBP": 14, "BMP": 0.5, "GIF": 0.5, "AVIF": 11, "HEIF": 12}
"""Bytes per pixel that the decoder takes besides the picture; WebP's keeps two frames."""
RLE_NS_PER_BYTE, RLE_NS_PER_PIXEL = 400, 120
"""Of a BMP's run lengths, which Pillow decodes in Python, row by row."""
JPEG_NS_PER_BYTE: Final = 10
SCANS_NS_PER_BYTE: Final = 15
"""In addition, of a JPEG of several scans."""
SCAN_NS: Final = 0.6
"""For each pixel, however empty the scan."""
PREPARATION: Final = Cost(0.005, 10_000_000)
"""For cutting out a garment, whatever the size of the picture."""
COLORED: Final = ("P", "PA", "LA", "La", "RGBA", "RGBa")
"""Modes that are converted to RGB before they are reduced."""
PIECE_S: Final = 2e-5
"""For each strip or tile of a TIFF."""
BYTES_IN_ROW: Final = {"1": 0.125, "L": 1, "P": 1, "LA": 2, "PA": 2, "La": 2, "I;16": 2, "I;16B": 2, "RGB": 3}


def estimate(data: bytes, spec: ModelSpec, max_pixels: int) -> Cost:
    """Return an upper bound on what `pixels.read_prepared` costs.

    Of a damaged picture the cost is small: decoding fails at once.
    Raises InputError: too_many_pixels, unsupported_picture_format.
    """
    try:
        picture = decoder.open_picture(data, max_pixels)
    except InputError:
        raise
    except Exception:  # noqa: BLE001 - `decode` reports what is wrong
        return Cost(0.0, 0)
    if isinstance(picture, JpegImageFile):
        cost = _estimate_jpeg(picture, data, enough_for(spec))
    else:
        cost = _estimate(picture, data, spec)
    if spec.preparation == "garment":
        return Cost(cost.cpu_s + PREPARATION.cpu_s, cost.peak_bytes + PREPARATION.peak_bytes)
    return cost


def _estimate(picture: Image.Image, data: bytes, spec: ModelSpec) -> Cost:
    """Return the cost of a picture that is no JPEG, without its preparation."""
    pixels = picture.width * picture.height
    kind = picture.format or ""
    tiles = getattr(picture, "tile", ())
    row = BYTES_IN_ROW.get(picture.mode, 4)
    cpu_s = NS_S * pixels * (NS_PER_PIXEL.get(kind, 50) + NS_PER_BYTE.get(kind, 0) * row)
    cpu_s += NS_S * NS_PER_FILE_BYTE.get(kind, 0) * len(data)
    if spec.preparation == "garment":
        target = 4 if picture.mode in COLORED else 0
    else:
        target = 1 if spec.channels == 1 else 4
    peak = pixels * (EXTRA_BYTES.get(kind, 0) + _bytes_per_pixel(picture, target))
    if kind == "TIFF":
        cpu_s += PIECE_S * len(tiles)
        peak += len(data) + pixels * row  # a copy of the file, and of a strip, which may be the whole page
    if kind == "GIF":
        peak += len(data)  # a copy, without metadata
    if kind == "BMP" and tiles and tiles[0][0] == "bmp_rle":
        cpu_s += NS_S * (RLE_NS_PER_BYTE * len(data) + RLE_NS_PER_PIXEL * pixels)
        peak += 3 * pixels
    return Cost(cpu_s, int(MARGIN * peak) + FIXED_BYTES)


def _bytes_per_pixel(picture: Image.Image, target: int) -> int:
    """Return the bytes for each pixel of a picture and its copies. target: those of the model's mode."""
    stored = 1 if picture.mode in ("1", "L", "P") else 2 if picture.mode.startswith("I;16") else 4
    if picture.has_transparency_data:
        layer = 0 if picture.mode in ("LA", "RGBA") else 4
        return stored + layer + 2 * target + 1
    if picture.mode.startswith("I"):
        return stored + 4 + target
    return stored if (picture.mode, target) in (("L", 1), ("RGB", 4)) else stored + target


def _estimate_jpeg(picture: JpegImageFile, data: bytes, enough: tuple[int, int]) -> Cost:
    """Return the cost of a JPEG: it is scaled down while it is decoded, but several scans need all of it."""
    pixels, components = picture.width * picture.height, len(picture.layer)
    scale = min(picture.width // enough[0], picture.height // enough[1], 8)
    part = 1 / max(1, 1 << max(0, scale.bit_length() - 1)) ** 2
    cpu_ns = JPEG_NS_PER_BYTE * len(data) + pixels * (2 + 20 * part)
    peak = pixels * (1.5 + 9 * part)
    samples = [horizontal * vertical for _, horizontal, vertical, _ in picture.layer]
    scans = data.count(jpeg.START_OF_SCAN)
    if "progressive" in picture.info or scans > 1:
        cpu_ns += SCANS_NS_PER_BYTE * len(data) + pixels * (2 + 2.5 * components + SCAN_NS * scans)
        peak += pixels * 2 * sum(samples) / max([1, *samples])
    return Cost(NS_S * cpu_ns, int(MARGIN * peak) + FIXED_BYTES)
