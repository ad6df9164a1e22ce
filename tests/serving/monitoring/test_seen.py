"""What an operator sees of a request: JSON logs, traces and stages, from the real service with keys."""

import gzip
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.parser import text_string_to_metric_families
from support.paths import BIN, BOOT
from support.servers import Server, StartService

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
PNG = {"Content-Type": "image/png"}
T = TypeVar("T")


@dataclass
class Collector:
    """An OTLP receiver in this process."""

    spans: list[Span] = field(default_factory=list)
    service_names: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)

    def receive(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.service_names.add(names["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, str]]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.receive(self.path, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield collector, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Seen:
    """A running service and what it lets an operator see. key: valid, named `shop`."""

    server: Server
    collector: Collector
    key: str

    def post(self, body: bytes = b"", request_id: str = "any", **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.server.url}/predict",
            content=body or BOOT.read_bytes(),
            headers={**PNG, "Authorization": f"Bearer {self.key}", "X-Request-ID": request_id, **headers},
        )

    def requests(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.server.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == "request"]

    def request(self, request_id: str) -> dict[str, Any]:
        """Return the line of one request."""
        return until(lambda: [r for r in self.requests() if r["request_id"] == request_id])[0]

    def span(self, request_id: str) -> Span:
        def found() -> list[Span]:
            return [s for s in self.collector.spans if attributes(s)["request_id"] == request_id]

        return until(found)[0]


def until(find: Callable[[], list[T]], timeout_s: float = 20) -> list[T]:
    deadline = time.monotonic() + timeout_s
    while not (found := find()):
        assert time.monotonic() < deadline, f"nothing within {timeout_s:g} s"
        time.sleep(0.02)
    return found


def attributes(item: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in item.attributes}


@pytest.fixture(scope="module")
def seen(
    start_service: StartService, collector: tuple[Collector, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    command = [str(BIN / "fashion-mnist"), "keys", "add", "shop", "--role", "read", "--file", str(file)]
    key = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    variables = {
        "FASHION_MNIST_WORKERS": "1",
        "FASHION_MNIST_LOG_FORMAT": "json",
        "FASHION_MNIST_ACCESS_LOG": "true",
        "FASHION_MNIST_RATE_LIMIT": "1000/s",
        "FASHION_MNIST_API_KEYS_FILE": str(file),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector[1],
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    with start_service(**variables) as server:
        yield Seen(server, collector[0], key)
    log = server.log
    assert all(json.loads(line) for line in log.splitlines())  # every line of the service, from start to end


def test_the_log_says_where_the_time_of_a_request_went(seen: Seen) -> None:
    assert seen.post(request_id="one").status_code == 200
    line = seen.request("one")
    parts = [line.pop(name) for name in ("decoded_ms", "waited_ms", "inferred_ms")]
    assert all(part > 0 for part in parts)
    assert sum(parts) < line.pop("total_ms") < 10_000
    assert abs(time.time() - datetime.fromisoformat(line.pop("time")).timestamp()) < 60
    assert line.pop("trace_id")
    assert line == {
        "event": "request", "request_id": "one", "client": "127.0.0.1", "method": "POST",
        "route": "/predict", "status": 200, "batch_size": 1, "images": 1, "model": "bundled", "key": "shop",
    }  # fmt: skip


def test_requests_through_asgi_and_errors_are_logged_alike(seen: Seen) -> None:
    files = [("image", BOOT.read_bytes())] * 3
    headers = {"Authorization": f"Bearer {seen.key}", "X-Request-ID": "form"}
    httpx.post(f"{seen.server.url}/predict", files=files, headers=headers).raise_for_status()
    line = seen.request("form")
    assert (line["images"], line["batch_size"], line["status"]) == (3, 1, 200)
    assert min(line["decoded_ms"], line["waited_ms"], line["inferred_ms"]) > 0
    assert seen.post(b"nothing", request_id="bad").status_code == 400
    assert (seen.request("bad")["code"], seen.request("bad")["status"]) == ("broken_picture", 400)
    wrong = seen.post(Authorization="Bearer fmk_wrong", request_id="stranger")
    assert wrong.status_code == 401
    stranger = seen.request("stranger")
    assert stranger["code"] == "invalid_credentials"
    assert "key" not in stranger
    path = f"{seen.server.url}/nope%22%0a"
    httpx.get(path, headers={"X-Request-ID": "nope"})
    assert (seen.request("nope")["route"], seen.request("nope")["path"]) == ("other", '/nope"\n')


def test_no_key_and_no_picture_is_in_the_log(seen: Seen) -> None:
    seen.post(request_id="last")
    seen.request("last")
    assert seen.key not in seen.server.log
    assert "fmk_wrong" not in seen.server.log
    assert "PNG" not in seen.server.log


def test_a_request_is_one_span_with_its_stages_as_events(seen: Seen) -> None:
    before = time.time_ns()
    assert seen.post(traceparent=PARENT, request_id="traced").status_code == 200
    after = time.time_ns()
    span = seen.span("traced")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, "00f067aa0ba902b7")
    assert seen.request("traced")["trace_id"] == TRACE
    assert (span.name, span.kind) == ("POST /predict", Span.SPAN_KIND_SERVER)
    assert [event.name for event in span.events] == ["decode", "queue", "infer"]
    times = [span.start_time_unix_nano, *(e.time_unix_nano for e in span.events), span.end_time_unix_nano]
    assert times == sorted(times)
    slack = 5_000_000  # the wall clock may be adjusted meanwhile
    assert before - slack < times[0] < times[-1] < after + slack
    assert all(attributes(event)["duration_ms"] > 0 for event in span.events)
    found = attributes(span)
    assert (found["http.response.status_code"], found["images"], found["model"]) == (200, 1, "bundled")
    # BentoML's own spans stay off, and the fast path on
    assert [s.name for s in seen.collector.spans if s.trace_id.hex() == TRACE] == ["POST /predict"]
    assert "small requests take the fast path" in seen.server.log
    assert seen.collector.service_names == {"fashion_mnist"}
    assert seen.collector.paths == {"/v1/traces"}


def test_a_client_that_does_not_sample_gets_no_span(seen: Seen) -> None:
    seen.post(traceparent=PARENT[:-1] + "0", request_id="unsampled")
    assert "trace_id" not in seen.request("unsampled")
    for number in range(3):  # broken ones begin a trace of their own
        seen.post(traceparent=("00-x", "ff" * 100, "00-" + "0" * 32)[number], request_id=f"r{number}")
        span = seen.span(f"r{number}")
        assert span.parent_span_id == b""
        assert span.status.code == Status.STATUS_CODE_UNSET
    assert not [s for s in seen.collector.spans if attributes(s)["request_id"] == "unsampled"]


def test_the_stages_are_histograms_that_count_every_request_once(seen: Seen) -> None:
    def metrics() -> dict[str, float]:
        headers = {"Authorization": f"Bearer {seen.key}"}
        text = httpx.get(f"{seen.server.url}/metrics", headers=headers).text
        families = text_string_to_metric_families(text)
        return {s.name: s.value for f in families for s in f.samples if set(s.labels) <= {"le"}}

    before = metrics()
    for _ in range(5):
        seen.post()
    seen.post(b"nothing")
    after = metrics()
    for stage in ("decode", "queue_wait", "inference"):
        name = f"fashion_mnist_{stage}_seconds"
        assert after[f"{name}_count"] - before[f"{name}_count"] == 5
        assert 0 < after[f"{name}_sum"] - before[f"{name}_sum"] < 10
        assert f"{name}_bucket" in after
    assert after["fashion_mnist_workers"] == 1
    assert after["fashion_mnist_log_lines_lost_total"] == 0


def test_missing_packages_and_unwanted_traces_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from fashion_mnist.serving.monitoring.tracing import open_tracer

    assert open_tracer() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, value in (("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")):
        with monkeypatch.context() as changed:
            changed.setenv(name, value)
            assert open_tracer() is None
    assert caplog.messages == []
    with monkeypatch.context() as changed:
        changed.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")  # less than a batch
        assert open_tracer() is None
    assert "an OTEL_ variable is wrong" in caplog.text
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert open_tracer() is None
    assert "the extra `tracing`" in caplog.text
