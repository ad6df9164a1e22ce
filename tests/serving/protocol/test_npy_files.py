"""Untrusted .npy and .npz files: what is read, what is refused, what never takes memory."""

import io
import tracemalloc
import zipfile

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from support.requests import assert_error, npy, npz, post

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol import npy_files

MOST = 1_000_000
NPY = "application/x-npy"
ONES = np.full(784, 7, np.uint8)


def zipped(content: bytes, *names: str, how: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name in names:
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("kind", [">u2", np.int64, np.float16, "<f4", ">f8", np.longdouble])
@pytest.mark.parametrize("shape", [(28, 28, 1), (3, 28, 28, 1), (3, 1, 28, 28)])
def test_keras_and_torch_arrays_are_answered_like_flat_ones(
    client: httpx.Client, test_images: NDArray[np.uint8], kind: str, shape: tuple[int, ...]
) -> None:
    images = test_images[:3] if len(shape) == 4 else test_images[0]
    expected = post(client, NPY, npy(images.reshape(-1, 784) if len(shape) == 4 else images.reshape(784)))
    array = images.reshape(shape).astype(kind)
    for body in (npy(array), npz(array)):
        answer = post(client, NPY, body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == expected.json()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (npy(np.eye(28, dtype=np.uint8)), 422, "pixels_scaled"),
        (npy(np.full(784, 0.5, np.float32)), 422, "pixels_scaled"),
        (npy(np.full(784, 1.5, np.float32)), 422, "pixel_not_integer"),
        (npy(np.full(784, 256, np.int16)), 422, "pixel_out_of_range"),
        (npy(np.full(784, np.nan)), 422, "pixel_out_of_range"),
        (npy(np.full(784, 7, complex)), 422, "wrong_dtype"),
        (npy(np.full(784, True)), 422, "wrong_dtype"),
        (npy(np.full(784, "7")), 422, "wrong_dtype"),
        (npy(np.zeros(784, [("a", "u1")])), 422, "wrong_dtype"),
        (npy(np.full(784, 7.0))[:-1], 400, "broken_npy"),
        (npz(ONES, ONES), 422, "wrong_shape"),
        (npz(*[ONES] * 100), 422, "wrong_shape"),
        (npz(), 422, "wrong_shape"),
        (npz(ONES)[:-30], 400, "broken_npy"),
        (zipped(b"hello", "a.npy"), 400, "broken_npy"),
        (zipped(npz(ONES), "a.npz"), 400, "broken_npy"),
        (zipped(npy(ONES), "a.npy", how=zipfile.ZIP_BZIP2), 400, "broken_npy"),
        (zipped(npy(ONES), "a.npy", how=zipfile.ZIP_LZMA), 400, "broken_npy"),
        (b"PK", 400, "broken_npy"),
    ],
)
def test_other_arrays_are_refused_with_their_code(
    client: httpx.Client, body: bytes, status: int, code: str
) -> None:
    assert_error(post(client, NPY, body), status, code)


def test_a_stored_npz_is_read() -> None:
    body = zipped(npy(ONES), "arr_0.npy", how=zipfile.ZIP_STORED)
    assert np.array_equal(npy_files.read_array(body, MOST), ONES)


def test_a_damaged_npz_fails_its_checksum() -> None:
    body = zipped(npy(ONES), "a.npy", how=zipfile.ZIP_STORED)
    at = body.index(b"\7\7\7")
    with pytest.raises(InputError) as raised:
        npy_files.read_array(body[:at] + b"\6" + body[at + 1 :], MOST)
    assert raised.value.code == "broken_npy"


def bombs() -> dict[str, tuple[bytes, str]]:
    honest = zipped(bytes(100 * MOST), "a.npy")
    size = (100 * MOST).to_bytes(4, "little")
    assert honest.count(size) == 2  # in the header before the data, and in the directory
    lying = honest.replace(size, (1000).to_bytes(4, "little"))
    return {
        "a header that says so": (honest, "body_too_large"),
        "a header that says less": (lying, "broken_npy"),
        "a directory of many entries": (zipped(b"", *map(str, range(20_000))), "wrong_shape"),
    }


@pytest.mark.parametrize(("body", "code"), bombs().values(), ids=bombs().keys())
def test_zip_bombs_take_no_memory(body: bytes, code: str) -> None:
    tracemalloc.start()
    with pytest.raises(InputError) as raised:
        npy_files.read_array(body, MOST)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raised.value.code == code
    assert peak < 10 * MOST
