"""Damaged bodies of every kind are decoded or refused, and never crash the decoders. Seeded: repeatable."""

import base64
import io
import json
import random

import numpy as np
import pytest
from PIL import Image
from support.paths import BOOT
from support.requests import npy, npz

from fashion_mnist.errors import InputError
from fashion_mnist.serving.protocol import bodies, picture_files, requests
from fashion_mnist.spec import ModelSpec

LIMITS = requests.Limits(body_bytes=1_000_000, images=50, pixels=1_000_000)
BOUNDARY = b"--x\r\nContent-Disposition: form-data; name=a; filename=b\r\n\r\n%s\r\n--x--\r\n"


def save(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


def seeds() -> list[tuple[str, bytes]]:
    boot = Image.open(BOOT)
    pictures = [
        save(boot.convert(mode), form)
        for form in ("PNG", "WEBP", "GIF", "BMP", "TIFF")
        for mode in ("L", "RGB")
    ]
    pictures += [save(boot.convert(mode), "PNG") for mode in ("RGBA", "P", "1", "LA")]
    pictures += [save(boot.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")]
    return [
        *(("image/png", picture) for picture in pictures),
        (requests.JSON, json.dumps({"pixels": np.asarray(boot).tolist()}).encode()),
        (requests.JSON, b'{"pixels":[[[1,2],[3,"x"]],null,true,1e400,-5,1.5]}'),
        (requests.JSON, json.dumps({"image": base64.b64encode(save(boot, "PNG")).decode()}).encode()),
        (requests.FORM, b"pixels=%5B1%2C2%5D&a=b"),
        (requests.NPY, npy(np.zeros((2, 28, 28), np.uint8))),
        (requests.NPY, npy(np.zeros((1, 28, 28, 1), np.float32))),
        (requests.NPY, npz(np.zeros((2, 28, 28), np.uint8))),
        (requests.MULTIPART, BOUNDARY % save(boot, "PNG")),
    ]


def damage(body: bytes, rng: random.Random) -> bytes:
    """Change, remove, insert or cut bytes at a few places."""
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not changed:
            break
        at = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0 | 1:
                changed[at] = rng.randrange(256)
            case 2:
                del changed[at : at + rng.randrange(1, 20)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randrange(1, 8))
            case _:
                changed[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
    return bytes(changed)


@pytest.mark.filterwarnings("ignore")  # Pillow's warnings about damaged files
@pytest.mark.parametrize(
    "spec",
    [ModelSpec(tuple("abcdefghij"), 28, 28, 1), ModelSpec(("a", "b"), 8, 8, 3)],
    ids=["gray", "colour"],
)
def test_damaged_bodies_are_decoded_or_refused(spec: ModelSpec) -> None:
    rng = random.Random(0)
    outcomes = {"read": 0}
    for _ in range(100):
        for kind, body in seeds():
            damaged = damage(body, rng)
            try:
                opened = bodies.open_body(kind, b"multipart/form-data; boundary=x", damaged, spec, LIMITS)
                if isinstance(opened, requests.PictureFiles):
                    opened = picture_files.read_pictures(opened, spec, LIMITS)
                images = opened.images
                assert images.dtype == np.uint8
                assert images.shape[1:] == spec.shape
                outcomes["read"] += 1
            except InputError as error:
                outcomes[error.code] = outcomes.get(error.code, 0) + 1
    assert outcomes["read"] > 100
    assert {"broken_picture", "broken_json", "broken_form", "broken_npy"} <= set(outcomes)
