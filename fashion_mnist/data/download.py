"""Download Fashion-MNIST: show progress, verify checksums."""

import gzip
import hashlib
import http.client
import urllib.request
import zlib
from pathlib import Path
from typing import Final

from rich.progress import Progress

from fashion_mnist.errors import DataError

URL: Final = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
CONTENT_SHA256: Final = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""SHA-256 of the unpacked files: how they were compressed does not matter."""


def download_fashion_mnist(folder: Path, url: str = URL, timeout_s: float = 30.0) -> None:
    """Download the four files of the corrected data set (30 MB) to `folder`, unless they are intact there.

    A file appears under its final name only when it is complete and its checksum matches.
    Raises DataError, which says what to do without a network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        for name, expected in CONTENT_SHA256.items():
            target = folder / f"{name}.gz"
            if target.is_file() and _content_sha256(target.read_bytes()) == expected:
                continue
            packed = _fetch(f"{url}{name}.gz", timeout_s, progress)
            found = _content_sha256(packed)
            if found != expected:
                raise DataError(
                    f"{url}{name}.gz: the checksum is {found}, expected {expected}; "
                    "the file was damaged or changed on the way, try again"
                )
            partial = target.with_suffix(".part")
            partial.write_bytes(packed)
            partial.rename(target)


def _fetch(url: str, timeout_s: float, progress: Progress) -> bytes:
    task = progress.add_task(url.rsplit("/", 1)[-1], total=None)
    chunks = []
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:  # noqa: S310 - fixed URL
            progress.update(task, total=int(response.headers.get("Content-Length", 0)) or None)
            while chunk := response.read(1 << 16):
                chunks.append(chunk)
                progress.advance(task, len(chunk))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(
            f"{url}: cannot be downloaded ({error}). Put the four files into data/ yourself, "
            "set FASHION_MNIST_DATA to their folder, or install Debian's package dataset-fashion-mnist"
        ) from error
    return b"".join(chunks)


def _content_sha256(packed: bytes) -> str:
    try:
        return hashlib.sha256(gzip.decompress(packed)).hexdigest()
    except (OSError, EOFError, zlib.error):
        return "unknown (not a complete gzip file)"
