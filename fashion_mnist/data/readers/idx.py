"""IDX files, the format of MNIST, as arrays."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import DataError

ImagesAndLabels = tuple[NDArray[np.uint8], NDArray[np.int64]]

TRAIN_IMAGES: Final = "train-images-idx3-ubyte"
IDX_UBYTE: Final = 0x08
READ_BYTES: Final = 1 << 14
"""Small, since a damaged .gz yields nothing of the chunk that breaks, and the error states the offset."""


def is_idx_folder(folder: Path) -> bool:
    """Return whether this folder holds the training images of an IDX data set."""
    return _idx_file(folder, "train-images", 3) is not None


def read_idx_folder(folder: Path) -> tuple[ImagesAndLabels, ImagesAndLabels | None]:
    """Read MNIST's four files, plain or .gz; return (train, test), test is None if its files are absent."""
    train = _read_idx_pair(folder, "train")
    test = _read_idx_pair(folder, "t10k") if _idx_file(folder, "t10k-images", 3) else None
    return train, test


def checksums(folder: Path) -> set[str]:
    """Return the SHA-256 of the unpacked content of each of MNIST's four files that is there."""
    paths = [
        _idx_file(folder, f"{part}-{content}", dimensions)
        for part in ("train", "t10k")
        for content, dimensions in (("images", 3), ("labels", 1))
    ]
    return {hashlib.sha256(_read_bytes(path)).hexdigest() for path in paths if path}


def _idx_file(folder: Path, stem: str, dimensions: int) -> Path | None:
    for separator in "-.":  # Kaggle's copies write train-images.idx3-ubyte
        for suffix in ("", ".gz"):
            path = folder / f"{stem}{separator}idx{dimensions}-ubyte{suffix}"
            if path.is_file():
                return path
    return None


def _read_idx_pair(folder: Path, stem: str) -> ImagesAndLabels:
    images_path = _idx_file(folder, f"{stem}-images", 3)
    labels_path = _idx_file(folder, f"{stem}-labels", 1)
    if images_path is None or labels_path is None:
        missing = "images" if images_path is None else "labels"
        raise DataError(f"{folder}: the {missing} file of the {stem} set is missing")
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 and images.shape[3:] != (3,):
        shape = " x ".join(map(str, images.shape))
        raise DataError(f"{images_path}: {shape}, expected n x height x width, or n x height x width x 3")
    if labels.ndim != 1:
        raise DataError(f"{labels_path}: {labels.ndim} dimensions, expected 1")
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images, but {labels_path.name} {len(labels)} labels; "
            "expected one label per image"
        )
    if len(images) == 0:
        raise DataError(f"{images_path}: no images")
    return images, labels.astype(np.int64)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, plain or .gz, in the shape given by its header.

    Raises DataError, which states the byte offset. Format: http://yann.lecun.com/exdb/mnist/.
    """
    data = _read_bytes(path)
    if len(data) < 4:
        raise DataError(f"{path}: {len(data)} bytes, expected an IDX header of at least 8")
    zeros, kind, dimensions = struct.unpack(">HBB", data[:4])
    if zeros != 0:
        raise DataError(f"{path}, byte 0: {data[:2].hex()}, expected 0000, the start of an IDX file")
    if kind != IDX_UBYTE:
        raise DataError(f"{path}, byte 2: data type 0x{kind:02x}, expected 0x08 (unsigned bytes)")
    if not 1 <= dimensions <= 4:
        raise DataError(f"{path}, byte 3: {dimensions} dimensions, expected 1 to 4")
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise DataError(f"{path}, byte {len(data)}: the header ends early, expected {start} bytes")
    shape = struct.unpack(f">{dimensions}I", data[4:start])
    size = math.prod(shape)  # in Python integers: a damaged header can overflow 64 bits
    if len(data) - start != size:
        raise DataError(
            f"{path}, byte {len(data)}: the file ends after {len(data) - start} values, "
            f"but its header says {size} ({' x '.join(map(str, shape))})"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _read_bytes(path: Path) -> bytes:
    """Read a file, unpacking .gz; the error for a truncated one states how far it could be unpacked."""
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    if path.suffix != ".gz":
        return path.read_bytes()
    content = bytearray()
    try:
        with gzip.open(path) as file:
            while chunk := file.read(READ_BYTES):
                content += chunk
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the gzip data is truncated or damaged after {len(content)} "
            f"unpacked bytes ({error}); download the file again"
        ) from error
    return bytes(content)
