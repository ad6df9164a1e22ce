"""The gate: every request passes it, on the fast path and through ASGI, on every route.

Whatever applies to all requests lives here and nowhere else: request id, metrics, CORS and capacity now; API
keys, rate limits and draining belong in `Gate.admit`. The gate is synchronous and free of ASGI types, so that
the fast path can call it too.
"""

from time import perf_counter
from typing import Final

from fashion_mnist.errors import InputError
from fashion_mnist.serving.admission.access_log import AccessLog
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.cors import CorsPolicy
from fashion_mnist.serving.admission.request_id import HEADER, request_id
from fashion_mnist.serving.monitoring.request_metrics import RequestMetrics
from fashion_mnist.serving.protocol.responses import Header, Headers, Response, error_response

METRICS_PATH: Final = "/metrics"
PROBES: Final = frozenset({"/livez", "/readyz", "/healthz", METRICS_PATH})
"""Answered whatever the load: a busy service is not a dead one, and its operator must see why it is busy."""

Client = tuple[str, int]
"""Address and port."""


class Ticket:
    """One admitted request. headers: what its response must carry. Hand it back with `finish`."""

    __slots__ = ("begun", "client", "counted", "finished", "gate", "headers", "method", "path", "start")

    def __init__(self, gate: "Gate", method: str, path: str, client: Client | None) -> None:
        self.gate = gate
        self.method = method
        self.path = path
        self.client = client
        self.start = perf_counter()
        self.headers: tuple[Header, ...] = ()
        self.counted = False
        self.finished = False
        metrics = gate.metrics
        self.begun = metrics.begin(path, self.start) if metrics is not None and path != METRICS_PATH else None

    def release(self) -> None:
        """Free the request's place among those in flight: its work is done.

        Called when a response starts, so that clients that do not read cannot occupy the service.
        """
        if self.counted:
            self.counted = False
            self.gate.capacity.leave()

    def finish(self, status: int | None) -> None:
        """Record the response: capacity, metrics, access log. Later calls do nothing.

        status: None if the client left before there was one.
        """
        if self.finished:
            return
        self.finished = True
        self.release()
        gate = self.gate
        if self.begun is not None and gate.metrics is not None:
            gate.metrics.end(self.begun, status)
        if gate.access_log is not None and self.path not in PROBES:
            took_s = perf_counter() - self.start
            gate.access_log.write(self.client, self.method, self.path, status, took_s)


class Gate:
    """Admits the requests of one worker.

    metrics: None if BentoML's metrics are off. cors: None without allowed origins. access_log: None if
    requests are not logged.
    """

    def __init__(
        self,
        capacity: Capacity,
        metrics: RequestMetrics | None = None,
        cors: CorsPolicy | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        self.capacity = capacity
        self.metrics = metrics
        self.cors = cors
        self.access_log = access_log

    def admit(self, method: str, path: str, headers: Headers, client: Client | None) -> Ticket | Response:
        """Admit a request, or return the response that ends it here, complete and recorded.

        method: in upper case. path: as routed, without the query. headers: names in lower case.
        client: the peer of the connection, None if it has no address.
        """
        ticket = Ticket(self, method, path, client)
        try:
            response = self._check(ticket, headers)
        except InputError as error:
            response = error_response(error)
        except BaseException:
            ticket.finish(500)  # a ticket that is lost would count as in flight for ever
            raise
        if response is None:
            return ticket
        ticket.finish(response.status)
        return response.with_headers(ticket.headers)

    def close(self) -> None:
        """Write what the access log still holds; called when the application has stopped."""
        if self.access_log is not None:
            self.access_log.flush()

    def _check(self, ticket: Ticket, headers: Headers) -> Response | None:
        """Apply every rule in order; return the response to a CORS preflight. Raises InputError."""
        ticket.headers = ((HEADER, request_id(headers)),)
        if self.cors is not None:
            origin = next((value for name, value in headers if name == b"origin"), None)
            ticket.headers += self.cors.headers(origin)
            # before anything that could reject it: a preflight carries no credentials
            preflight = self.cors.preflight(ticket.method, headers)
            if preflight is not None:
                return Response(200, ((b"content-length", b"0"), *preflight), b"")
        if ticket.path not in PROBES:
            self.capacity.enter()
            ticket.counted = True
        return None
