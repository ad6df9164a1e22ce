"""Reading the files of a model folder that a stranger may have made."""

import mmap
import stat
from pathlib import Path
from typing import Final

from fashion_mnist.checksums import file_sha256
from fashion_mnist.errors import ModelError

EXTERNAL_DATA: Final = b"location"
"""Key of TensorProto.external_data (https://onnx.ai/onnx/repo-docs/ExternalData.html). The word anywhere in a
file is refused: protobuf has several encodings of the tag and length before it."""


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file of at most `most` bytes. Raises OSError, ValueError."""
    if not is_own_file(path):
        raise ValueError("not a file of this folder")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"larger than {most} bytes")
    return data


def is_own_file(path: Path) -> bool:
    """Return whether a path is a regular file within its folder, possibly behind a link. Raises OSError.

    Reading a FIFO would wait for ever. stat comes first: resolve raises RuntimeError for a loop of links.
    """
    return stat.S_ISREG(path.stat().st_mode) and path.resolve().is_relative_to(path.parent.resolve())


def check_external_data(path: Path) -> None:
    """Raise ModelError if a network is empty or keeps weights in other files, which no checksum covers."""
    if path.stat().st_size == 0:  # mmap refuses it
        raise ModelError(f"{path}: empty; the model is damaged, download or train it again")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(EXTERNAL_DATA) >= 0:
            raise ModelError(f"{path}: keeps weights in other files; save the model with all of them inside")


def check(path: Path, expected: str) -> None:
    """Raise ModelError if a file is not there, belongs elsewhere, or has another SHA-256."""
    try:
        if not is_own_file(path):
            raise ModelError(f"{path}: not a file of this folder; the model is damaged")
        found = file_sha256(path)
    except OSError as error:
        raise ModelError(f"{path}: not readable ({error.strerror}); the model is damaged") from error
    if found != expected:
        raise ModelError(
            f"{path}: SHA-256 {found[:12]}…, the record says {expected[:12]}…; the model is damaged, "
            "download or train it again"
        )
