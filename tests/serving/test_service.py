"""The contract of POST /predict and GET /model, over HTTP against the real service."""

import asyncio
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.metrics import settled
from support.paths import BOOT
from support.requests import PNG, assert_error, npy, picture, post
from support.servers import Server, StartService

from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.spec import FASHION_MNIST_CLASSES

FLAT = np.asarray(Image.open(BOOT)).reshape(-1).tolist()
ROWS = np.asarray(Image.open(BOOT)).tolist()


def test_one_picture_is_answered_with_one_object(client: httpx.Client) -> None:
    answer = post(client, "image/png", PNG).json()
    assert list(answer) == [
        "prediction",
        "class_id",
        "confidence",
        "probabilities",
        "prediction_set",
        "in_distribution",
        "ood_score",
        "model",
    ]
    assert (answer["prediction"], answer["class_id"]) == ("Ankle boot", 9)
    assert list(answer["probabilities"]) == list(FASHION_MNIST_CLASSES)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert answer["confidence"] == answer["probabilities"]["Ankle boot"]
    assert answer["in_distribution"] is True
    assert answer["model"] == "bundled"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("image/png", PNG),
        ("image/jpg", PNG),  # the format is read from the bytes
        ("application/octet-stream", PNG),
        ("image/bmp", picture(np.array(ROWS, np.uint8), "BMP")),
        ("image/gif", picture(np.array(ROWS, np.uint8), "GIF")),
        ("image/tiff", picture(np.array(ROWS, np.uint8), "TIFF")),
        ("application/json", json.dumps({"pixels": FLAT}).encode()),
        ("application/json; charset=utf-8", json.dumps({"pixels": ROWS}).encode()),
        ("application/json", json.dumps({"pixels": [float(p) for p in FLAT]}).encode()),
        (
            "application/x-www-form-urlencoded",
            str(httpx.QueryParams({"pixels": json.dumps(FLAT)})).encode(),
        ),
        ("application/x-npy", npy(np.array(FLAT, np.uint8))),
        ("application/x-npy", npy(np.asfortranarray(np.array(ROWS, np.uint8)))),
    ],
)
def test_every_lossless_form_gives_the_same_answer(
    client: httpx.Client, content_type: str, body: bytes
) -> None:
    assert post(client, content_type, body).json() == post(client, "image/png", PNG).json()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_pictures_are_classified(client: httpx.Client, kind: str) -> None:
    body = picture(np.array(ROWS, np.uint8), kind)
    assert post(client, f"image/{kind.lower()}", body).json()["class_id"] == 9


def test_a_large_colour_picture_is_answered(client: httpx.Client) -> None:
    large = Image.open(BOOT).convert("RGB").resize((900, 700))
    file = io.BytesIO()
    large.save(file, "PNG")
    assert post(client, "image/png", file.getvalue()).json()["class_id"] in range(10)


@pytest.mark.parametrize("shape", [(3, 28, 28), (3, 784), (1, 784)])
def test_a_batch_is_answered_with_a_list_in_order(
    client: httpx.Client, test_images: NDArray[np.uint8], shape: tuple[int, ...]
) -> None:
    images = test_images[: shape[0]]
    answer = client.post("/predict", json={"pixels": images.reshape(shape).tolist()}).json()
    assert list(answer) == ["predictions", "model"]
    assert "model" not in answer["predictions"][0]
    singles = [client.post("/predict", json={"pixels": i.tolist()}).json() for i in images]
    assert [p["class_id"] for p in answer["predictions"]] == [s["class_id"] for s in singles]


def test_one_multipart_file_is_answered_with_one_object_and_three_with_a_list(client: httpx.Client) -> None:
    assert client.post("/predict", files={"image": ("boot.png", PNG)}).json()["class_id"] == 9
    three = client.post("/predict", files=[("a", PNG), ("b", PNG), ("b", PNG)], data={"note": "x"})
    assert [p["class_id"] for p in three.json()["predictions"]] == [9, 9, 9]


def test_a_file_named_only_in_the_extended_form_is_accepted(client: httpx.Client) -> None:
    head = b"--x\r\nContent-Disposition: form-data; name=image; filename*=UTF-8''sko%C3%AF.png\r\n\r\n"
    answer = post(client, "multipart/form-data; boundary=x", head + PNG + b"\r\n--x--\r\n")
    assert answer.json()["class_id"] == 9


def test_a_request_larger_than_the_batch_size_is_answered_whole_and_in_order(
    client: httpx.Client, test_images: NDArray[np.uint8], bundled: Predictor
) -> None:
    answer = post(client, "application/x-npy", npy(test_images)).json()
    found = [p["class_id"] for p in answer["predictions"]]
    assert found == bundled.predict(test_images).class_ids.tolist()
    assert len(set(found)) == 10


def test_top_keeps_the_most_probable_classes_in_the_models_order(client: httpx.Client) -> None:
    full = post(client, "image/png", PNG).json()["probabilities"]
    top = post(client, "image/png", PNG, "?top=3").json()["probabilities"]
    best = sorted(full, key=full.get, reverse=True)[:3]
    assert top == {name: full[name] for name in full if name in best}


@pytest.mark.parametrize(
    ("content_type", "body", "query", "status", "code"),
    [
        ("application/json", b'{"pixels": [1, 2', "", 400, "broken_json"),
        ("application/json", b"", "", 400, "broken_json"),
        ("application/json", b'{"pixels": [NaN]}', "", 400, "broken_json"),
        ("image/png", b"not a picture", "", 400, "broken_picture"),
        ("image/png", b"", "", 400, "broken_picture"),
        ("image/png", PNG[:200], "", 400, "broken_picture"),
        ("application/x-npy", npy(np.zeros(784, np.uint8))[:-9], "", 400, "broken_npy"),
        ("application/x-npy", b"\x93NUMPY\x01\x00v\x00junk", "", 400, "broken_npy"),
        ("application/x-npy", npy(np.array([{}], object)), "", 422, "wrong_dtype"),
        ("multipart/form-data", b"no boundary", "", 400, "broken_form"),
        ("multipart/form-data; boundary=x", b"--y\r\n", "", 400, "broken_form"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data", "", 400, "broken_form"),
        ("application/x-www-form-urlencoded", b"pixels", "", 400, "broken_form"),
        ("application/json", b"[" * 100_000, "", 413, "too_deep"),
        ("application/json", b'{"pixels": ' + b"[" * 50 + b"]" * 50 + b"}", "", 413, "too_deep"),
        (None, b"1,2,3", "", 415, "unsupported_content_type"),
        ("text/csv", b"1,2,3", "", 415, "unsupported_content_type"),
        (
            "application/x-www-form-urlencoded",
            b'{"pixels": []}',
            "",
            415,
            "unsupported_content_type",
        ),
        ("image/heic", b"\0\0\0\x18ftypheic", "", 415, "unsupported_picture_format"),
        ("image/png", b"\0\0\0\x18ftypheic", "", 415, "unsupported_picture_format"),
        ("application/octet-stream", b"%PDF-1.7 x", "", 415, "unsupported_picture_format"),
        ("image/png", b"<svg xmlns='x'/>", "", 415, "unsupported_picture_format"),
        ("application/json", b"[1]", "", 422, "wrong_pixel_count"),
        ("application/json", b"7", "", 422, "missing_pixels"),
        ("application/json", b"{}", "", 422, "missing_pixels"),
        ("application/x-www-form-urlencoded", b"a=1", "", 422, "missing_pixels"),
        ("multipart/form-data; boundary=x", b"--x--\r\n", "", 422, "missing_pixels"),
        ("application/json", b'{"pixels": [], "k": 1}', "", 422, "unknown_field"),
        (
            "application/json",
            json.dumps({"pixels": FLAT[:-1]}).encode(),
            "",
            422,
            "wrong_pixel_count",
        ),
        ("application/json", json.dumps({"pixels": ROWS[:-1]}).encode(), "", 422, "wrong_shape"),
        (
            "application/json",
            json.dumps({"pixels": [256] * 784}).encode(),
            "",
            422,
            "pixel_out_of_range",
        ),
        (
            "application/json",
            json.dumps({"pixels": [-1] * 784}).encode(),
            "",
            422,
            "pixel_out_of_range",
        ),
        (
            "application/json",
            json.dumps({"pixels": [7.5] * 784}).encode(),
            "",
            422,
            "pixel_not_integer",
        ),
        (
            "application/json",
            json.dumps({"pixels": [0.5] * 784}).encode(),
            "",
            422,
            "pixels_scaled",
        ),
        (
            "application/json",
            json.dumps({"pixels": [True] * 784}).encode(),
            "",
            422,
            "wrong_pixel_type",
        ),
        (
            "application/json",
            json.dumps({"pixels": ["1"] * 784}).encode(),
            "",
            422,
            "wrong_pixel_type",
        ),
        ("application/json", b'{"pixels": "abc"}', "", 422, "wrong_pixel_type"),
        ("application/json", b'{"pixels": []}', "", 422, "empty_batch"),
        ("application/x-npy", npy(np.zeros((0, 784), np.uint8)), "", 422, "empty_batch"),
        ("application/x-npy", npy(np.zeros(784, bool)), "", 422, "wrong_dtype"),
        ("application/x-npy", npy(np.zeros((), np.uint8)), "", 422, "wrong_shape"),
        ("application/x-npy", npy(np.zeros((2, 27, 28), np.uint8)), "", 422, "wrong_shape"),
        ("image/png", PNG, "?top=0", 422, "bad_parameter"),
        ("image/png", PNG, "?top=11", 422, "bad_parameter"),
        ("image/png", PNG, "?top=x", 422, "bad_parameter"),
        ("image/png", PNG, "?top=2&top=3", 422, "bad_parameter"),
        ("image/png", PNG, "?tpo=1", 422, "unknown_parameter"),
    ],
)
def test_bad_requests_get_their_error_code(
    client: httpx.Client, content_type: str | None, body: bytes, query: str, status: int, code: str
) -> None:
    assert_error(post(client, content_type, body, query), status, code)


def test_the_bad_item_of_a_batch_is_identified(client: httpx.Client) -> None:
    bad = [*FLAT[:-1], 300]
    answer = client.post("/predict", json={"pixels": [FLAT, FLAT, bad]})
    assert assert_error(answer, 422, "pixel_out_of_range")["index"] == 2
    answer = client.post("/predict", files=[("a", PNG), ("b", b"junk")])
    assert assert_error(answer, 400, "broken_picture")["index"] == 1


def test_json_sent_as_a_form_is_told_which_header_to_send(client: httpx.Client) -> None:
    answer = post(client, "application/x-www-form-urlencoded", json.dumps({"pixels": FLAT}).encode())
    assert "Content-Type: application/json" in answer.json()["error"]


def test_other_paths_and_methods_answer_in_the_same_form(client: httpx.Client) -> None:
    assert_error(client.get("/nowhere"), 404, "not_found")
    assert_error(client.post("/predict/", content=PNG), 404, "not_found")
    assert_error(client.get("/predict"), 405, "method_not_allowed")
    assert_error(client.post("/model"), 405, "method_not_allowed")


def test_a_websocket_is_refused_in_the_same_form(client: httpx.Client) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert_error(client.get("/predict", headers=upgrade), 404, "not_found")


def test_library_warnings_about_bodies_stay_out_of_the_log(service: Server, client: httpx.Client) -> None:
    large = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(large, "PNG")
    assert_error(post(client, "image/png", large.getvalue()), 413, "too_many_pixels")
    old = npy(np.zeros(784, np.uint8)).replace(b"(784,), }  ", b"(784L,), } ")  # as Python 2 wrote it
    assert post(client, "application/x-npy", old).status_code == 200
    assert "Warning" not in service.log


def test_the_callers_request_id_is_returned(client: httpx.Client) -> None:
    sent = client.get("/model", headers={"X-Request-ID": "abc-123"})
    assert sent.headers["x-request-id"] == "abc-123"
    made = client.get("/livez").headers["x-request-id"]
    assert made != client.get("/livez").headers["x-request-id"]


def test_a_bad_request_never_affects_concurrent_ones(
    service: Server, test_images: NDArray[np.uint8], bundled: Predictor
) -> None:
    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
            bodies = [{"pixels": i.tolist()} for i in test_images[:24]]
            bodies[11] = {"pixels": [999] * 784}
            return await asyncio.gather(*(http.post("/predict", json=body) for body in bodies))

    answers = asyncio.run(run())
    assert_error(answers.pop(11), 422, "pixel_out_of_range")
    expected = bundled.predict(np.delete(test_images[:24], 11, axis=0)).class_ids.tolist()
    assert [a.json()["class_id"] for a in answers] == expected


def test_concurrent_requests_share_batches(service: Server, client: httpx.Client) -> None:
    async def run() -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
            calls = (http.post("/predict", json={"pixels": FLAT}) for _ in range(200))
            assert all(a.status_code == 200 for a in await asyncio.gather(*calls))

    def batches() -> tuple[float, float]:
        rows = [
            line.rsplit(" ", 1)
            for line in client.get("/metrics").text.splitlines()
            if line.startswith("bentoml_service_adaptive_batch_size_")
        ]
        count = sum(float(value) for name, value in rows if "_count{" in name)
        return count, sum(float(value) for name, value in rows if "_sum{" in name)

    count, total = settled(batches)
    asyncio.run(run())
    new_count, new_total = settled(batches)
    assert new_total - total == 200
    assert new_count - count < 150


def test_model_describes_what_is_served(client: httpx.Client, bundled: Predictor) -> None:
    model = client.get("/model").json()
    assert (model["model"], model["network"]) == ("bundled", "compact")
    assert model["classes"] == list(FASHION_MNIST_CLASSES)
    assert model["input_shape"] == [28, 28]
    assert bundled.record.metrics is not None
    assert model["metrics"]["accuracy"] == bundled.record.metrics["accuracy"] >= 0.925
    assert model["limits"]["images"] == 10_000
    assert model["answers"]["in_distribution"] is True


def test_probes_and_metrics_answer(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    assert "bentoml_service_request_total" in client.get("/metrics").text


def test_the_log_says_which_model_and_why(service: Server) -> None:
    assert "serving bundled, because the store has no fashion_mnist model" in service.log


def test_no_request_of_these_tests_left_a_traceback(service: Server) -> None:
    assert "Traceback" not in service.log


def test_a_stored_model_is_served_and_named(
    start_service: StartService, trained: tuple[object, Path]
) -> None:
    with start_service(FASHION_MNIST_MODEL=str(trained[1])) as server:
        answer = httpx.post(f"{server.url}/predict", json={"pixels": FLAT}).json()
        assert answer["model"] == trained[1].name
        assert "its folder was asked for" in server.log


def test_answers_are_right_while_the_documentation_is_read(service: Server) -> None:
    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
            calls = [
                http.get("/docs.json") if i % 4 == 0 else http.post("/predict", json={"pixels": FLAT})
                for i in range(200)
            ]
            return await asyncio.gather(*calls)

    answers = asyncio.run(run())
    assert {a.status_code for a in answers} == {200}
    assert len({a.text for i, a in enumerate(answers) if i % 4 == 0}) == 1
    assert {a.json()["class_id"] for i, a in enumerate(answers) if i % 4} == {9}
