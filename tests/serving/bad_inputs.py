"""A table of requests that the service must refuse: each with its status, its code and words of its error."""

import base64
import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from support.requests import PNG

LIMITS: Final = {
    "FASHION_MNIST_MAX_BODY_BYTES": "300000",
    "FASHION_MNIST_MAX_IMAGES": "20",
    "FASHION_MNIST_MAX_PIXELS": "1000000",
    "FASHION_MNIST_BODY_TIMEOUT_S": "1",
    "FASHION_MNIST_WORKERS": "1",
}
"""Settings of the service under test: low limits, so that exceeding them is cheap."""


class Bad(NamedTuple):
    """One bad request.

    expected: status and code. says: part of the error's sentence. raw: bytes to send instead of all else.
    """

    expected: str
    says: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    target: str = "/predict"
    method: str = "POST"
    raw: bytes = b""


def typed(kind: str, rows: Iterable[tuple[bytes, str, str]]) -> list[Bad]:
    return [Bad(expected, says, body, (("Content-Type", kind),)) for body, expected, says in rows]


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _pixels(value: Any) -> bytes:
    return _dump({"pixels": value})


def _image(value: Any) -> bytes:
    return _dump({"image": value})


FLAT: Final = [9] * 784
ROWS: Final = [[9] * 28] * 28
TEXT: Final = base64.b64encode(PNG).decode()

JSON: Final = typed(
    "application/json",
    [
        (b"", "400 broken_json", "not JSON"),
        (b" \n", "400 broken_json", "not JSON"),
        (b"{", "400 broken_json", "not JSON"),
        (b'{"pixels": [1, 2', "400 broken_json", "not JSON"),
        (b'{"pixels": [1, 2,]}', "400 broken_json", "not JSON"),
        (b"{'pixels': [1]}", "400 broken_json", "not JSON"),
        (b"pixels=[1]", "400 broken_json", "not JSON"),
        (b'{"pixels": [NaN]}', "400 broken_json", "not JSON"),
        (b'{"pixels": [Infinity]}', "400 broken_json", "not JSON"),
        (b'{"pixels": [01]}', "400 broken_json", "not JSON"),
        (b'{"pixels": [+1]}', "400 broken_json", "not JSON"),
        (b'{"pixels": [1]} {}', "400 broken_json", "not JSON"),
        (b'{"pixels": [1] /* one */}', "400 broken_json", "not JSON"),
        (b'{"pixels": "\xff"}', "400 broken_json", "not JSON"),
        (b'{"image": "\\ud800"}', "400 broken_json", "not JSON"),
        (b"\xef\xbb\xbf" + _pixels(FLAT), "400 broken_json", "not JSON"),
        (_pixels(FLAT).decode().encode("utf-16"), "400 broken_json", "not JSON"),
        (PNG, "400 broken_json", "not JSON"),
        (b'{"pixels": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", "413 too_deep", "deep"),
        (b'{"pixels": ' + b'{"a": ' * 2_000 + b"1" + b"}" * 2_001, "413 too_deep", "deep"),
        (b'{"pixels": ' + b"[" * 40 + b"1" + b"]" * 40 + b"}", "413 too_deep", "more than 16 deep"),
        (b"null", "422 missing_pixels", "null without `pixels`"),
        (b"true", "422 missing_pixels", "a boolean without `pixels`"),
        (b"3", "422 missing_pixels", "a number without `pixels`"),
        (b'"boot"', "422 missing_pixels", "a string without `pixels`"),
        (b"{}", "422 missing_pixels", "an object without `pixels`"),
        (_dump({"instances": [FLAT]}), "422 missing_pixels", "'instances', not `pixels`"),
        (_dump({"file": TEXT}), "422 missing_pixels", "'file', not `image`"),
        (_dump({"Pixels": FLAT}), "422 missing_pixels", "'Pixels'"),
        (_dump({"pixels": FLAT, "label": 9}), "422 unknown_field", "'label' beside `pixels`"),
        (_dump({"pixels": FLAT, "image": TEXT}), "422 unknown_field", "'image' beside `pixels`"),
        (_dump({"image": TEXT, "top": 3}), "422 unknown_field", "'top' beside `image`"),
        (b"[]", "422 empty_batch", "empty"),
        (_pixels([]), "422 empty_batch", "`pixels` is empty"),
        (_image([]), "422 empty_batch", "`image` is empty"),
        (_pixels([[]]), "422 wrong_shape", "expected 784"),
        (_pixels([[], []]), "422 wrong_shape", "expected 784"),
        (_pixels(None), "422 wrong_pixel_type", "null"),
        (_pixels("9" * 784), "422 wrong_pixel_type", "as `image`"),
        (_pixels({"0": 9}), "422 wrong_pixel_type", "an object"),
        (_pixels(9), "422 wrong_pixel_type", "a number"),
        (_pixels([*FLAT[1:], "9"]), "422 wrong_pixel_type", "a string"),
        (_pixels([*FLAT[1:], None]), "422 wrong_pixel_type", "null"),
        (_pixels([*FLAT[1:], True]), "422 wrong_pixel_type", "a boolean"),
        (_pixels([*FLAT[1:], [9]]), "422 wrong_pixel_type", "a list"),
        (_pixels([*ROWS[1:], 9]), "422 wrong_pixel_type", "expected a row"),
        (_pixels(FLAT[1:]), "422 wrong_pixel_count", "783 pixels"),
        (_pixels([5, *FLAT]), "422 wrong_pixel_count", "still hold its label"),
        (_pixels([FLAT, FLAT[1:]]), "422 wrong_pixel_count", "783 pixels"),
        (_pixels(ROWS[1:]), "422 wrong_shape", "27 x 28"),
        (_pixels([*ROWS[1:], [9]]), "422 wrong_shape", "differ in length"),
        (_pixels([FLAT, ROWS]), "422 wrong_shape", "same form"),
        (_pixels([FLAT, 9]), "422 wrong_shape", "an image is a number"),
        (_pixels([[[[ROWS]]]]), "422 wrong_shape", "1 x 1 x 1 x"),
        (_pixels([*FLAT[1:], 256]), "422 pixel_out_of_range", "pixel 783 is 256"),
        (_pixels([-1, *FLAT[1:]]), "422 pixel_out_of_range", "pixel 0 is -1"),
        (_pixels([*FLAT[1:], 10**30]), "422 pixel_out_of_range", "expected 0..255"),
        (_pixels([*FLAT[1:], 1e300]), "422 pixel_out_of_range", "1e+300"),
        (b'{"pixels": [' + b"9," * 783 + b"1e999]}", "400 broken_json", "not JSON"),
        (_pixels([*FLAT[1:], 9.5]), "422 pixel_not_integer", "pixel 783 is 9.5"),
        (_pixels([0.5] * 784), "422 pixels_scaled", "multiply by 255"),
        (_pixels([0, 1] * 392), "422 pixels_scaled", "multiply by 255"),
        (_pixels([ROWS] * 21), "413 too_many_images", "21 images"),
        (_image([TEXT] * 21), "413 too_many_images", "21 images"),
        (_image(None), "422 wrong_pixel_type", "null"),
        (_image(7), "422 wrong_pixel_type", "a number"),
        (_image([9, 9]), "422 wrong_pixel_type", "`image` holds a number"),
        (_image({"b64": TEXT}), "422 wrong_pixel_type", "an object"),
        (_image([TEXT, [TEXT]]), "422 wrong_pixel_type", "send numbers as `pixels`"),
        (_image(""), "400 broken_picture", "`image` is empty"),
        (_image([TEXT, ""]), "400 broken_picture", "`image` is empty"),
        (_image("boot.png"), "400 broken_picture", "not base64"),
        (_image("https://example.com/boot.png"), "400 broken_picture", "not base64"),
        (_image("é" + TEXT), "400 broken_picture", "not base64"),
        (_image(TEXT[:40] + "=" + TEXT[40:]), "400 broken_picture", "not base64"),
        (_image(TEXT[:101]), "400 broken_picture", "not base64"),
        (_image(TEXT[:200]), "400 broken_picture", "truncated"),
        (_image("AAAA"), "400 broken_picture", "not a picture"),
        (_image("data:image/png," + TEXT), "400 broken_picture", "data URL without base64"),
        (_image("data:image/png;base64,"), "400 broken_picture", "`image` is empty"),
        (_image("data:"), "400 broken_picture", "data URL without base64"),
    ],
)


FORM: Final = typed(
    "application/x-www-form-urlencoded",
    [
        (b"", "422 missing_pixels", "no field `pixels`"),
        (b"pixels", "400 broken_form", "cannot be parsed"),
        (b"&&&&", "400 broken_form", "cannot be parsed"),
        (b"\xff=\xfe", "400 broken_form", "not a form"),
        (b"&".join(b"a=%d" % n for n in range(17)), "400 broken_form", "cannot be parsed"),
        (b"pixels=" + b"%39" * 10_001, "400 broken_form", "10001 escapes"),
        (_pixels(FLAT), "415 unsupported_content_type", "add the header 'Content-Type"),
        (_dump(FLAT), "415 unsupported_content_type", "add the header 'Content-Type"),
        (b"image=" + TEXT.encode(), "422 missing_pixels", "no field `pixels`"),
        (b"pixels=", "422 missing_pixels", "no field `pixels`"),
        (b"a=b", "422 missing_pixels", "no field `pixels`"),
        (b"pixels=boot", "400 broken_json", "not JSON"),
        (b"pixels=%00", "400 broken_json", "not JSON"),
        (b"pixels=[1,2", "400 broken_json", "not JSON"),
        (b"pixels=[]", "422 empty_batch", "`pixels` is empty"),
        (b"pixels=9", "422 wrong_pixel_type", "a number"),
        (b"pixels=%22boot%22", "422 wrong_pixel_type", "a string"),
        (b"pixels=[9]", "422 wrong_pixel_count", "1 pixels"),
        (b"pixels=" + b"[" * 40 + b"]" * 40, "413 too_deep", "deep"),
        (b"pixels=%5B" + b"300," * 783 + b"300%5D", "422 pixel_out_of_range", "pixel 0 is 300"),
    ],
)
