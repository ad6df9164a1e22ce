"""Metrics of predictions, errors and the model, from /metrics of the real service with two workers."""

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from support.metrics import settled
from support.paths import BOOT
from support.servers import Server, StartService

from fashion_mnist.errors import HTTP_ERRORS
from fashion_mnist.inference.predictor import Predictor
from fashion_mnist.spec import FASHION_MNIST_CLASSES

JSON = {"Content-Type": "application/json"}
Samples = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def two_workers(start_service: StartService) -> Iterator[Server]:
    with start_service(FASHION_MNIST_WORKERS="2") as server:
        yield server


def samples(server: Server, name: str) -> Samples:
    """Return label values -> value from /metrics; a series must not appear twice."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    found = [s for family in families for s in family.samples if s.name == name]
    values = {tuple(s.labels.values()): s.value for s in found}
    assert len(values) == len(found), found
    return values


def change(before: Samples, after: Samples) -> Samples:
    return {key: value - before[key] for key, value in after.items() if value != before[key]}


def test_all_series_exist_before_the_first_request(start_service: StartService) -> None:
    with start_service(FASHION_MNIST_WORKERS="1") as server:
        assert samples(server, "fashion_mnist_errors_total") == {(code,): 0 for code in HTTP_ERRORS}
        predictions = samples(server, "fashion_mnist_predictions_total")
        assert predictions == {(name,): 0 for name in FASHION_MNIST_CLASSES}
        assert samples(server, "fashion_mnist_out_of_distribution_total") == {(): 0}


def test_images_are_counted_by_class_across_all_workers(
    two_workers: Server, test_images: NDArray[np.uint8], bundled: Predictor
) -> None:
    names = ("fashion_mnist_predictions_total", "fashion_mnist_out_of_distribution_total")
    before = settled(lambda: [samples(two_workers, name) for name in names])
    images = test_images[:300]
    for start in range(0, 300, 10):  # one connection per request, so that both workers get some
        body = {"pixels": images[start : start + 10].tolist()}
        assert httpx.post(f"{two_workers.url}/predict", json=body).status_code == 200
    expected = bundled.predict(images)
    counts = np.bincount(expected.class_ids, minlength=10).tolist()
    assert expected.in_distribution is not None
    by_class, strange = settled(lambda: [samples(two_workers, name) for name in names])
    named = zip(FASHION_MNIST_CLASSES, counts, strict=True)
    assert change(before[0], by_class) == {(name,): count for name, count in named}
    assert strange[()] - before[1][()] == np.count_nonzero(~expected.in_distribution) > 0
    index = 4  # position of the label worker_index
    batches = samples(two_workers, "bentoml_service_adaptive_batch_size_count")
    assert len({labels[index] for labels in batches}) == 2, "one of the workers has answered nothing"


def test_each_error_is_counted_once_by_its_code(two_workers: Server) -> None:
    url = two_workers.url
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    before = samples(two_workers, "fashion_mnist_errors_total")
    for body in (b"{", b"[", b'{"pixels": [1, 2]}'):
        httpx.post(f"{url}/predict", content=body, headers=JSON)
    httpx.get(f"{url}/predict")
    httpx.get(f"{url}/invented")
    httpx.get(f"{url}/predict", headers=upgrade)  # not seen by BentoML's metrics
    assert change(before, samples(two_workers, "fashion_mnist_errors_total")) == {
        ("broken_json",): 2,
        ("wrong_pixel_count",): 1,
        ("method_not_allowed",): 1,
        ("not_found",): 2,
    }


def test_a_good_request_counts_no_error(two_workers: Server) -> None:
    before = samples(two_workers, "fashion_mnist_errors_total")
    headers = {"Content-Type": "image/png"}
    httpx.post(f"{two_workers.url}/predict", content=BOOT.read_bytes(), headers=headers)
    assert change(before, samples(two_workers, "fashion_mnist_errors_total")) == {}


def test_the_model_is_one_series_however_many_workers(two_workers: Server, bundled: Predictor) -> None:
    model = httpx.get(f"{two_workers.url}/model").json()
    expected = ("bundled", bundled.record.network, model["precision"])
    assert samples(two_workers, "fashion_mnist_model_info") == {expected: 1}


def test_a_model_without_calibration_has_no_out_of_distribution_counter(
    start_service: StartService, tmp_path_factory: pytest.TempPathFactory, bundled: Predictor
) -> None:
    from fashion_mnist.registry import model_folder

    folder = tmp_path_factory.mktemp("uncalibrated")
    for path in bundled.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    record = bundled.record.model_copy(update={"ood_threshold": None})
    (folder / model_folder.RECORD).write_text(record.model_dump_json())
    with start_service(FASHION_MNIST_WORKERS="1", FASHION_MNIST_MODEL=str(folder)) as server:
        assert samples(server, "fashion_mnist_out_of_distribution_total") == {}
        assert samples(server, "fashion_mnist_predictions_total")
