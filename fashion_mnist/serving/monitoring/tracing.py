"""Traces: one OpenTelemetry span per request, with its stages as events.

The standard variables configure them: OTEL_EXPORTER_OTLP_ENDPOINT turns them on, OTEL_TRACES_SAMPLER
decides which requests are traced. A span is made when its request has ended; a thread exports it.
"""

import logging
import os
import threading
from collections.abc import Iterable
from time import perf_counter_ns, time_ns
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fashion_mnist.serving.monitoring.stages import Stages

logger = logging.getLogger("bentoml.service")

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HEADERS: Final = (b"traceparent", b"tracestate")
CLOSE_S: Final = 2.0
PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracer:
    """Makes spans and hands them to `provider`."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self.tracer = provider.get_tracer("fashion_mnist")

    def record(
        self,
        request: tuple[str, str, str],
        headers: dict[str, str],
        start_s: float,
        status: int | None,
        stages: Stages,
    ) -> str:
        """Record a request that has ended; return its trace id, "" if it was not sampled.

        request: method, route and request id.
        headers: from `trace_headers`. start_s: of perf_counter(). status: None if the client left first.
        """
        shift = time_ns() - perf_counter_ns()
        parent = PROPAGATOR.extract(headers, Context())
        start = shift + int(start_s * 1e9)
        method, route, request_id = request
        # the attributes that samplers may look at
        known = {"http.request.method": method, "http.route": route, "request_id": request_id}
        span = self.tracer.start_span(f"{method} {route}", parent, SpanKind.SERVER, known, start_time=start)
        if not span.is_recording():
            return ""
        span.set_attributes(stages.describe())
        for stage in ("decode", "queue", "infer"):
            began, took = getattr(stages, f"{stage}_at"), getattr(stages, f"{stage}_ns")
            if began and took:
                span.add_event(stage, {"duration_ms": took / 1e6}, shift + began)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if status is None or status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()
        return f"{span.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Export what is left, unless that takes longer than CLOSE_S: a missing collector is retried."""
        closing = threading.Thread(target=self.provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def trace_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers that continue a client's trace. headers: names in lower case."""
    return {name.decode(): value.decode("latin-1") for name, value in headers if name in HEADERS}


def open_tracer() -> Tracer | None:
    """Return a tracer if the environment names an OTLP endpoint, else None; log why traces cannot be had."""
    named = [name for name in ENDPOINTS if os.environ.get(name)]
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not named or off or os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        logger.error(
            "%s is set, but no traces are exported: install opentelemetry-exporter-otlp-proto-http 1.45.1, "
            "the extra `tracing`",
            named[0],
        )
        return None
    # `merge` prefers its argument: OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES
    resource = Resource({"service.name": "fashion_mnist"}).merge(OTELResourceDetector().detect())
    try:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # it would wait for long
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        logger.error("no traces are exported, an OTEL_ variable is wrong: %s", error)
        return None
    return Tracer(provider)
