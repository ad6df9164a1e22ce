"""Bad inputs beside the plain bodies: multipart forms, queries, content types, headers, paths, methods."""

import json
from typing import Final

from bad_inputs import FLAT, Bad, typed
from support.requests import PNG

ENTIRE: Final = json.dumps({"pixels": FLAT}).encode()
"""A good body: what is wrong is around it."""


def _part(head: str, content: bytes = PNG) -> bytes:
    return b"--x\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def _file(content: bytes = PNG, options: str = "") -> bytes:
    return _part(f'Content-Disposition: form-data; name="a"; filename="a.png"{options}', content)


END: Final = b"--x--\r\n"
FIELD: Final = _part('Content-Disposition: form-data; name="a"', b"boot")
NESTED: Final = b"--y\r\nContent-Disposition: form-data; name=b; filename=b\r\n\r\n" + PNG + b"\r\n--y--"

MULTIPART: Final = [
    *typed(
        "multipart/form-data; boundary=x",
        [
            (b"", "400 broken_form", "no closing boundary"),
            (PNG[8:], "400 broken_form", "no closing boundary"),
            (_file(), "400 broken_form", "no closing boundary"),
            (_file()[:-40] + b"--x", "400 broken_form", "no closing boundary"),
            (b"x--x--", "400 broken_form", "cannot be parsed"),
            (_part("Content-Disposition: form-data") + END, "400 broken_form", "a part has no name"),
            (_part("Content-Type: image/png") + END, "400 broken_form", "a part has no name"),
            (_part("no colon") + END, "400 broken_form", "cannot be parsed"),
            (_part("\0bad: header") + END, "400 broken_form", "cannot be parsed"),
            (_file(options=";a=b" * 20) + END, "400 broken_form", "too many options"),
            (END, "422 missing_pixels", "no file"),
            (FIELD + END, "422 missing_pixels", "no file"),
            (
                _part('Content-Disposition: form-data; name="a"; filename=""', b"") + END,
                "422 missing_pixels",
                "no file",
            ),
            (_file() * 21 + END, "413 too_many_parts", "more than 20"),
            (FIELD * 21 + _file() + END, "413 too_many_parts", "more than 20"),
            (_file(b"") + END, "400 broken_picture", "empty"),
            (_file() + _file(PNG[:99]) + END, "400 broken_picture", "truncated or damaged"),
            (_file() + _file(b"%PDF-1.7") + END, "415 unsupported_picture_format", "PDF"),
            (
                _part(
                    'Content-Disposition: form-data; name="a"; filename="a"\r\n'
                    "Content-Type: multipart/mixed; boundary=y",
                    NESTED,
                )
                + END,
                "400 broken_picture",
                "not a picture",
            ),
        ],
    ),
    *typed("multipart/form-data", [(_file() + END, "400 broken_form", "no `boundary`")]),
    *typed("multipart/form-data; boundary=", [(_file() + END, "400 broken_form", "no `boundary`")]),
    *typed("multipart/form-data; boundary=z", [(_file() + END, "400 broken_form", "no closing boundary")]),
]


def _query(query: str, expected: str, says: str) -> Bad:
    return Bad(expected, says, PNG, (("Content-Type", "image/png"),), f"/predict?{query}")


QUERIES: Final = [
    *(
        _query(f"top={value}", "422 bad_parameter", "expected the number of classes")
        for value in ("", "0", "11", "-1", "+1", "1.0", "1e0", "ten", "%00", "%D9%A3", "9" * 40, "[1]")
    ),
    _query("top=1&top=2", "422 bad_parameter", "given twice"),
    _query("top", "422 bad_parameter", "top is ''"),
    _query("Top=1", "422 unknown_parameter", "'Top'; accepted: `top`"),
    _query("top[]=1", "422 unknown_parameter", "'top[]'"),
    _query("a=1&top=1", "422 unknown_parameter", "'a'"),
    _query("=1", "422 unknown_parameter", "''"),
    _query("%ff=%fe", "422 unknown_parameter", "unknown parameter"),
    _query("&".join(f"a{n}=1" for n in range(17)), "422 unknown_parameter", "more than 16"),
]

OTHER_TYPES: Final = (
    "text/plain text/html application/xml application/jsonp json video/mp4 application/zip "
    "multipart/mixed;boundary=x */* application/json,text/html \xff"
)
TYPES: Final = [
    *(
        row
        for kind in OTHER_TYPES.split()
        for row in typed(kind, [(ENTIRE, "415 unsupported_content_type", "is not accepted; send one of")])
    ),
    *typed(";", [(ENTIRE, "415 unsupported_content_type", "there is no content type")]),
    Bad("415 unsupported_content_type", "there is no content type", ENTIRE),
    Bad("415 unsupported_content_type", "the content type is missing", b"boot"),
    Bad("415 unsupported_content_type", "the content type is missing"),
]


def _headed(expected: str, says: str, **headers: str) -> Bad:
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Bad(expected, says, ENTIRE, (("Content-Type", "application/json"), *named))


UNKNOWN_PATHS: Final = {
    "POST": "/predict/ /PREDICT //predict /predict;a /predict/../predict /v1/models/boot:predict",
    "GET": "/x /.env /docs/../../etc/passwd /docs/%2e%2e/config.py /%00 /%ff /static_content/index.css "
    "/docs/swagger-ui.css.map /wp-login.php " + "/a" * 900,
    "DELETE": "/x",
}
UNKNOWN_METHODS: Final = {
    "/predict": "GET HEAD PUT PATCH DELETE OPTIONS TRACE",
    "/model": "POST DELETE OPTIONS",
    "/": "POST",
    "/docs": "PUT",
    "/docs.json": "POST",
    "/livez": "POST",
    "/metrics": "DELETE",
}

HEADS: Final = [
    *(
        _headed("415 unsupported_content_type", "compressed", Content_Encoding=encoding)
        for encoding in ("gzip", "br", "identity, gzip", "x")
    ),
    _headed("431 headers_too_large", "256 lines", **{f"X-{n}": "a" for n in range(260)}),
    _headed("431 headers_too_large", "65536 bytes", X_Long="a" * 70_000),
    *(
        Bad("404 not_found", "see /docs", target=path, method=method)
        for method, paths in UNKNOWN_PATHS.items()
        for path in paths.split()
    ),
    *(
        Bad("405 method_not_allowed", f"does not accept {method}", target=path, method=method)
        for path, methods in UNKNOWN_METHODS.items()
        for method in methods.split()
    ),
    *typed("application/json", [(b"[" + b"9," * 160_000 + b"9]", "413 body_too_large", "at most 300000")]),
    *typed("application/json", [(b" " * 300_001, "413 body_too_large", "has 300001 bytes")]),
]


def _raw(head: str, expected: str, says: str, body: bytes = b"") -> Bad:
    """Return a request that an HTTP library would not send."""
    return Bad(expected, says, raw=head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)


POST: Final = "POST /predict HTTP/1.1\nHost: a\nContent-Type: application/json"
NO_HTTP: Final = "400 broken_http"
RAW: Final = [
    _raw("hello", NO_HTTP, "not a request in HTTP/1.1"),
    _raw("\x16\x03\x01\x02\x00\x01", NO_HTTP, "not a request in HTTP/1.1"),
    _raw("POST /predict HTTP/9.9", NO_HTTP, "not a request in HTTP/1.1"),
    _raw("BREW /predict HTTP/1.1\nHost: a", NO_HTTP, "not a request in HTTP/1.1"),
    _raw(f"{POST}\nContent-Length: ten", NO_HTTP, "not a request in HTTP/1.1"),
    _raw(f"{POST}\nContent-Length: -1", NO_HTTP, "not a request in HTTP/1.1"),
    _raw(f"{POST}\nContent-Length: 1\nContent-Length: 2", NO_HTTP, "not a request in HTTP/1.1"),
    _raw(
        f"{POST}\nContent-Length: 3\nTransfer-Encoding: chunked",
        NO_HTTP,
        "not a request in HTTP/1.1",
        b"0\r\n\r\n",
    ),
    _raw(f"{POST}\nno colon", NO_HTTP, "not a request in HTTP/1.1"),
    _raw(f"{POST}\nTransfer-Encoding: chunked", NO_HTTP, "not a request in HTTP/1.1", b"xyz\r\n"),
    _raw(f"{POST}\nContent-Length: 900", "408 body_timeout", "only 9 bytes", b'{"pixels"'),
    _raw(f"{POST}\nContent-Length: {'9' * 18}", "413 body_too_large", f"{'9' * 18} bytes"),
    _raw(
        f"{POST}\nTransfer-Encoding: chunked",
        "413 body_too_large",
        "more than 300000",
        b"fffff\r\n" + b"9" * 300_100,
    ),
]
