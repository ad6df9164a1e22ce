"""Prediction sets and refusals in answers, by encoding and over HTTP."""

import httpx
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from support.requests import npy

from fashion_mnist.errors import InputError
from fashion_mnist.inference.predictions import Predictions
from fashion_mnist.serving.protocol.requests import Options, PredictRequest, read_options
from fashion_mnist.serving.protocol.responses import encode_predictions
from fashion_mnist.spec import ModelSpec

SPEC = ModelSpec(("a", "b", "c"), 2, 2, 1)
SETS = {"0.95": (0.3, 0.3, 0.3), "0.99": (0.05, 0.05, 0.05)}
PREDICTIONS = Predictions(
    np.array([[0.5, 0.4, 0.1], [0.9, 0.09, 0.01]]), np.array([-3.0, 2.0]), np.array([True, False])
)


def encode(
    options: Options, predictions: Predictions = PREDICTIONS, *, single: bool = False
) -> list[dict[str, object]]:
    request = PredictRequest(np.zeros((len(predictions), 2, 2), np.uint8), single, options)
    answer = orjson.loads(encode_predictions(predictions, request, SPEC, "m", SETS))
    return [answer] if single else answer["predictions"]


def test_a_set_has_the_coverage_asked_for() -> None:
    assert [p["prediction_set"] for p in encode(Options())] == [["a", "b"], ["a"]]
    wide = encode(read_options("coverage=0.99&top=1", SPEC))
    assert [p["prediction_set"] for p in wide] == [["a", "b", "c"], ["a", "b"]]
    assert list(wide[0]) == [
        "prediction",
        "class_id",
        "confidence",
        "probabilities",
        "prediction_set",
        "in_distribution",
        "ood_score",
    ]


def test_a_model_without_sets_answers_null() -> None:
    request = PredictRequest(np.zeros((2, 2, 2), np.uint8), False)
    answer = orjson.loads(encode_predictions(PREDICTIONS, request, SPEC, "m"))
    assert [p["prediction_set"] for p in answer["predictions"]] == [None, None]


def test_a_strange_picture_is_refused_only_on_request() -> None:
    assert len(encode(read_options("reject=false", SPEC))) == 2
    assert len(encode(Options(reject=True), PREDICTIONS[:1], single=True)) == 1
    for predictions, single, index in ((PREDICTIONS, False, 1), (PREDICTIONS[1:], True, None)):
        with pytest.raises(InputError) as raised:
            encode(Options(reject=True), predictions, single=single)
        assert (raised.value.code, raised.value.status, raised.value.index) == (
            "out_of_distribution",
            422,
            index,
        )


def test_a_model_that_cannot_tell_says_so() -> None:
    with pytest.raises(InputError, match="cannot tell") as raised:
        encode(Options(reject=True), Predictions(PREDICTIONS.probabilities, None, None))
    assert raised.value.code == "bad_parameter"


@pytest.mark.parametrize(
    "query", ["coverage=0.9", "coverage=", "coverage=95", "reject=1", "reject=True", "reject="]
)
def test_other_values_are_refused(query: str) -> None:
    with pytest.raises(InputError, match=r"expected (0\.95 or 0\.99|true or false)") as raised:
        read_options(query, SPEC)
    assert raised.value.code == "bad_parameter"


def test_noise_is_refused_over_http_on_both_paths(
    client: httpx.Client, test_images: NDArray[np.uint8]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)
    one = client.post("/predict?reject=true", json={"pixels": noise.tolist()})
    assert (one.status_code, one.json()["code"], "index" in one.json()) == (422, "out_of_distribution", False)
    batch = np.concatenate([test_images[:20], noise[None]])  # too large for the fast path
    headers = {"Content-Type": "application/x-npy"}
    many = client.post("/predict?reject=true", content=npy(batch), headers=headers)
    assert (many.status_code, many.json()["code"], many.json()["index"]) == (422, "out_of_distribution", 20)
    known = client.post("/predict?reject=true&coverage=0.99", json={"pixels": test_images[0].tolist()})
    assert known.status_code == 200
    assert known.json()["prediction_set"][0] == known.json()["prediction"]
    assert client.get("/model").json()["answers"]["prediction_set"] is True
