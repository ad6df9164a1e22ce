"""What clients really send, over HTTP to the real service: base64, bare lists, wrong or missing headers."""

import base64
import gzip
import json
import re
import subprocess

import httpx
import numpy as np
import pytest
from PIL import Image
from support.paths import BOOT
from support.pictures import encode
from support.requests import PNG, assert_error, npz, post
from support.servers import Server

from fashion_mnist.errors import HTTP_ERRORS, InputError
from fashion_mnist.serving.protocol import bodies
from fashion_mnist.serving.protocol.requests import FORM, JSON, MULTIPART, NPY, PICTURE, Limits
from fashion_mnist.spec import ModelSpec

TEXT = base64.b64encode(PNG).decode()
FLAT = list(Image.open(BOOT).tobytes())
HEIC = b"\0\0\0\x18ftypheic"


def ask(client: httpx.Client, content: object) -> httpx.Response:
    return client.post("/predict", json=content)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"data:image/png;base64,{TEXT}",
        f"DATA:image/png;BASE64,{TEXT}",
        base64.urlsafe_b64encode(PNG).decode(),
        TEXT.rstrip("="),
        base64.encodebytes(PNG).decode(),
    ],
    ids=["plain", "data URL", "data URL in capitals", "URL-safe", "without padding", "with line breaks"],
)
def test_a_picture_in_base64_is_answered_like_the_file(client: httpx.Client, text: str) -> None:
    expected = post(client, "image/png", PNG).json()
    assert ask(client, {"image": text}).json() == expected
    assert ask(client, [text]).json() == ask(client, {"image": [text]}).json()
    batch = ask(client, [text, text]).json()
    assert [p["prediction"] for p in batch["predictions"]] == ["Ankle boot"] * 2


def test_a_bare_list_is_taken_for_pixels(client: httpx.Client) -> None:
    expected = ask(client, {"pixels": FLAT}).json()
    assert ask(client, FLAT).json() == expected
    assert len(ask(client, [FLAT, FLAT]).json()["predictions"]) == 2


@pytest.mark.parametrize(
    ("content", "code", "message", "index"),
    [
        ({"image": FLAT}, "wrong_pixel_type", "send numbers as `pixels`", 0),
        ({"image": 7}, "wrong_pixel_type", "`image` holds a number.*`pixels`", None),
        ({"image": None}, "wrong_pixel_type", "`image` holds null", None),
        ({"image": [TEXT, 7]}, "wrong_pixel_type", "`image` holds a number", 1),
        ({"image": [TEXT, TEXT, TEXT[:200]]}, "broken_picture", "truncated or damaged", 2),
        ({"image": [TEXT, "%%%"]}, "broken_picture", "not base64", 1),
        ({"image": "boot.png"}, "broken_picture", "not base64", None),
        ({"image": "é"}, "broken_picture", "not base64", None),
        ({"image": ""}, "broken_picture", "empty", None),
        ({"image": "data:image/svg+xml,<svg/>"}, "broken_picture", "data URL without base64", None),
        ({"image": base64.b64encode(HEIC).decode()}, "unsupported_picture_format", "HEIC", None),
        ({"image": []}, "empty_batch", "`image` is empty", None),
        ({"image": [TEXT] * 10_001}, "too_many_images", "10001 images", None),
        ({"image": TEXT, "pixels": FLAT}, "unknown_field", "'image' beside `pixels`", None),
        ({"pixels": TEXT}, "wrong_pixel_type", "as `image`", None),
        ({"data": [FLAT]}, "missing_pixels", "'data', not `pixels`", None),
        ({"instances": [[0] * 28] * 28}, "missing_pixels", "'instances', not `pixels`", None),
        ({"instances": [{"b64": TEXT}]}, "missing_pixels", "'instances', not `image`", None),
        ({"signature_name": "a", "instances": [FLAT]}, "missing_pixels", "'instances', not `pixels`", None),
        ({"images": [TEXT]}, "missing_pixels", "'images', not `image`", None),
        ({"pixels": [*FLAT, 9]}, "wrong_pixel_count", "785 pixels.*does it still hold its label", None),
        ({"pixels": [FLAT, [v > 9 for v in FLAT]]}, "wrong_pixel_type", "boolean", 1),
        ({"pixels": [int(v > 9) for v in FLAT]}, "pixels_scaled", "multiply by 255", None),
        ({"pixels": [FLAT, [int(v > 9) for v in FLAT]]}, "pixels_scaled", "multiply by 255", 1),
    ],
)
def test_wrong_json_is_refused_with_the_field_that_is_meant(
    client: httpx.Client, content: object, code: str, message: str, index: int | None
) -> None:
    error = assert_error(ask(client, content), HTTP_ERRORS[code][0], code)
    assert error.get("index") == index
    assert re.search(message, str(error["error"]))


@pytest.mark.parametrize(
    "content_type",
    [
        *("image/pjpeg", "image/x-png", "image/jfif", "image/*", "IMAGE/PNG; q=1", "image/svg+xml"),
        *("application/octet-stream", "binary/octet-stream", FORM, MULTIPART, None),
    ],
)
def test_the_bytes_of_a_picture_decide(client: httpx.Client, content_type: str | None) -> None:
    expected = post(client, "image/png", PNG).json()
    assert post(client, content_type, PNG).json() == expected
    large = encode(Image.open(BOOT).resize((300, 200)), "JPEG", quality=100)  # not on the fast path
    assert len(large) > bodies.QUICK_BYTES
    assert post(client, content_type, large).json()["model"] == expected["model"]
    assert_error(post(client, content_type, HEIC), 415, "unsupported_picture_format")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_picture_format_is_recognised_without_a_content_type(
    client: httpx.Client, form: str, mode: str
) -> None:
    body = encode(Image.open(BOOT).convert(mode), form)
    assert post(client, None, body).json() == post(client, "image/*", body).json()


def test_curl_without_a_header_is_answered(service: Server) -> None:
    command = ["curl", "-sS", "--data-binary", f"@{BOOT}", f"{service.url}/predict"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["prediction"] == "Ankle boot"


@pytest.mark.parametrize(
    ("content_type", "body", "status", "code", "message"),
    [
        ("image/svg+xml", b"<svg xmlns='x'/>", 415, "unsupported_picture_format", "SVG"),
        ("image/heic", HEIC, 415, "unsupported_picture_format", "HEIC"),
        ("image/png", b"%PDF-1.7 x", 415, "unsupported_picture_format", "PDF"),
        ("application/pdf", b"%PDF-1.7 x", 415, "unsupported_picture_format", "PDF"),
        ("image/", b"text", 400, "broken_picture", "not a picture"),
        (FORM, PNG.replace(b"\0", b"").replace(b"\n", b""), 400, "broken_form", "--data-binary"),  # curl -d
        (FORM, b"BMI=22&pixels=[]", 422, "empty_batch", "empty"),
        (None, b'{"pixels": []}', 415, "unsupported_content_type", "header 'Content-Type: application/json'"),
        (None, b"", 415, "unsupported_content_type", "the content type is missing; send one of"),
        ("text/plain", PNG, 415, "unsupported_content_type", "'text/plain' is not accepted"),
        (MULTIPART, b"--x\r\n", 400, "broken_form", "no `boundary`"),
    ],
)
def test_other_bytes_are_named_for_what_they_are(
    client: httpx.Client, content_type: str | None, body: bytes, status: int, code: str, message: str
) -> None:
    error = assert_error(post(client, content_type, body), status, code)
    assert message in str(error["error"])


@pytest.mark.parametrize("encoding", ["gzip", "br, gzip"])
def test_a_compressed_body_is_named_as_such(client: httpx.Client, encoding: str) -> None:
    headers = {"Content-Type": "image/png", "Content-Encoding": encoding}
    answer = client.post("/predict", content=gzip.compress(PNG), headers=headers)
    error = assert_error(answer, 415, "unsupported_content_type")
    assert f"Content-Encoding: {encoding}); send it uncompressed" in str(error["error"])
    headers["Content-Encoding"] = "identity"
    assert client.post("/predict", content=PNG, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("kind", "body", "quick"),
    [
        (JSON, json.dumps({"pixels": FLAT}).encode(), True),
        (JSON, json.dumps({"pixels": FLAT}, indent=2).encode()[:8000], True),
        (JSON, json.dumps({"image": TEXT}).encode(), False),
        (JSON, json.dumps([TEXT]).encode(), False),
        (NPY, npz(np.zeros((5000, 784), np.uint8)), False),  # 4 MB in 4 KB
    ],
)
def test_pictures_in_json_and_compressed_arrays_are_decoded_in_threads(
    kind: str, body: bytes, quick: bool
) -> None:
    assert len(body) <= bodies.QUICK_BYTES
    assert bodies.is_quick(kind, body) is quick


def test_only_pictures_are_resized_to_a_model_of_another_shape() -> None:
    spec, limits = ModelSpec(("a", "b"), 96, 96, 3), Limits(1_000_000, 100, 1_000_000)
    with pytest.raises(InputError, match=r"^28 x 28 .* 96 x 96 x 3, .*; only picture files are resized"):
        bodies.read_body(JSON, json.dumps({"pixels": [[0] * 28] * 28}).encode(), spec, limits)
    for kind, body in ((PICTURE, PNG), (JSON, json.dumps({"image": TEXT}).encode())):
        images, single, _ = bodies.read_body(kind, body, spec, limits)
        assert (images.shape, single) == ((1, 96, 96, 3), True)


def test_a_file_field_that_was_left_empty_is_passed_over(client: httpx.Client) -> None:
    empty = (
        b'--x\r\nContent-Disposition: form-data; name="other"; filename=""\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\r\n"
    )
    picture = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + PNG
    answer = post(client, "multipart/form-data; boundary=x", empty + picture + b"\r\n--x--\r\n")
    assert answer.json()["prediction"] == "Ankle boot"
    assert_error(post(client, "multipart/form-data; boundary=x", empty + b"--x--\r\n"), 422, "missing_pixels")
