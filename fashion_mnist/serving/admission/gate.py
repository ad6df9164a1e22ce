"""The gate: every request passes it, on the fast path and through ASGI, on every route.

Whatever applies to all requests lives here and nowhere else, in this order: request id, CORS, key, role,
rate, capacity; metrics and logs at the end. The gate is synchronous and free of ASGI types, so that the fast
path can call it too.
"""

import math
from collections.abc import Collection
from time import perf_counter
from typing import Final

from fashion_mnist.errors import InputError
from fashion_mnist.serving.admission.access import Access, check_role
from fashion_mnist.serving.admission.access_log import AccessLog, write_audit
from fashion_mnist.serving.admission.capacity import Capacity
from fashion_mnist.serving.admission.client_address import Client, TrustedProxies, customer_of
from fashion_mnist.serving.admission.cors import CorsPolicy
from fashion_mnist.serving.admission.key_file import Key, Role
from fashion_mnist.serving.admission.rates import Rate, RateTable, read_rate
from fashion_mnist.serving.admission.request_id import HEADER, request_id
from fashion_mnist.serving.monitoring.request_metrics import OTHER, RequestMetrics
from fashion_mnist.serving.monitoring.stages import Stages
from fashion_mnist.serving.monitoring.tracing import Tracer, trace_headers
from fashion_mnist.serving.protocol.responses import Header, Headers, Response, error_response

METRICS_PATH: Final = "/metrics"
READY_PATH: Final = "/readyz"
PROBES: Final = frozenset({"/livez", READY_PATH, "/healthz", METRICS_PATH})
"""Answered whatever the load: a busy service is not a dead one, and its operator must see why it is busy."""

NO_SNIFFING: Final[Header] = (b"x-content-type-options", b"nosniff")
WRONG_KEYS: Final = Rate(20, 60.0)
"""Wrong keys that one client address may try."""


class Ticket:
    """One admitted request. headers: what its response must carry. Hand it back with `finish`.

    route: the path if there is one, else `other`. stages: what the request's handlers note about it.
    """

    __slots__ = (
        "begun",
        "client",
        "counted",
        "finished",
        "gate",
        "headers",
        "key",
        "limit",
        "method",
        "needed",
        "path",
        "route",
        "stages",
        "start",
        "trace",
    )

    def __init__(self, gate: "Gate", method: str, path: str, client: Client | None) -> None:
        self.gate = gate
        self.method = method
        self.path = path
        self.route = path if path in gate.routes else OTHER
        self.stages = Stages()
        self.trace: dict[str, str] = {}
        self.client = client
        self.start = perf_counter()
        self.headers: tuple[Header, ...] = ()
        self.counted = False
        self.finished = False
        self.key: Key | None = None
        self.needed: Role | None = None
        self.limit: tuple[int, Rate] | None = None
        self.begun: tuple[str, float] | None = None
        if gate.metrics is not None:
            if path == METRICS_PATH:
                gate.metrics.flush()  # so that they contain all that this worker has answered
            else:
                self.begun = gate.metrics.begin(path, self.start)

    def charge(self, images: int) -> None:
        """Count the images of a request, of which the gate has counted one, against its rate."""
        if self.limit is not None and images > 1 and self.gate.rates is not None:
            self.gate.rates.charge(*self.limit, images - 1)

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
            gate.metrics.end(self.begun, status, self.stages)
        if self.path not in PROBES:
            trace_id = ""
            if gate.tracer is not None:
                request = self.method, self.route, self.headers[0][1].decode()
                trace_id = gate.tracer.record(request, self.trace, self.start, status, self.stages)
            if gate.access_log is not None:
                gate.access_log.write(self, status, trace_id)
        if self.needed is Role.ADMIN and self.key is not None and self.method not in ("GET", "HEAD"):
            write_audit(self.key.name, self.headers[0][1].decode(), self.method, self.path, status)


class Gate:
    """Admits the requests of one worker.

    metrics: None if BentoML's metrics are off. cors: None without allowed origins. access_log: None if
    requests are not logged. access: None without keys; then every path is open. rates: None if nothing is
    limited. rate: for those whose key has none of its own, and by address; None for no limit. tracer: None if
    requests are not traced. routes: paths that logs and traces name; all others are `other`.
    """

    def __init__(
        self,
        capacity: Capacity,
        metrics: RequestMetrics | None = None,
        cors: CorsPolicy | None = None,
        access_log: AccessLog | None = None,
        access: Access | None = None,
        rates: RateTable | None = None,
        rate: Rate | None = None,
        proxies: TrustedProxies | None = None,
        tracer: Tracer | None = None,
        routes: Collection[str] = (),
    ) -> None:
        self.capacity = capacity
        self.metrics = metrics
        self.cors = cors
        self.access_log = access_log
        self.access = access
        self.rates = rates
        self.rate = rate
        self.proxies = proxies
        self.draining = False  # the worker stops soon
        self.tracer = tracer
        self.routes = frozenset(routes)

    def admit(self, method: str, path: str, headers: Headers, client: Client | None) -> Ticket | Response:
        """Admit a request, or return the response that ends it here, complete and recorded.

        method: in upper case. path: as routed, without the query. headers: names in lower case.
        client: the peer of the connection, None if it has no address.
        """
        if self.proxies is not None:
            client = self.proxies.find_client(client, headers)
        ticket = Ticket(self, method, path, client)
        try:
            response = self._check(ticket, headers)
        except InputError as error:
            response = error_response(error)
            ticket.stages.code = error.code
        except BaseException:
            ticket.finish(500)  # a ticket that is lost would count as in flight for ever
            raise
        if response is None:
            return ticket
        ticket.finish(response.status)
        return response.with_headers(ticket.headers)

    def close(self) -> None:
        """Write what metrics, log and traces still hold; called when the application has stopped."""
        if self.metrics is not None:
            self.metrics.flush()
        if self.access_log is not None:
            self.access_log.writer.close()
        if self.tracer is not None:
            self.tracer.close()

    def _check(self, ticket: Ticket, headers: Headers) -> Response | None:
        """Apply every rule in order; return the response to a CORS preflight. Raises InputError."""
        ticket.headers = ((HEADER, request_id(headers)), NO_SNIFFING)
        if self.tracer is not None:
            ticket.trace = trace_headers(headers)
        if self.cors is not None:
            origin = next((value for name, value in headers if name == b"origin"), None)
            ticket.headers += self.cors.headers(origin)
            # before anything that could reject it: a preflight carries no credentials
            preflight = self.cors.preflight(ticket.method, headers)
            if preflight is not None:
                return Response(200, ((b"content-length", b"0"), *preflight), b"")
        if self.access is not None:
            self._authorize(ticket, headers, self.access)
        if self.draining and ticket.path == READY_PATH:
            raise InputError("not_ready", "the service is about to stop; send requests elsewhere")
        if ticket.path not in PROBES:
            self._limit(ticket)
            self.capacity.enter()
            ticket.counted = True
        return None

    def _authorize(self, ticket: Ticket, headers: Headers, access: Access) -> None:
        """Check key and role, unless the path is open. Raises InputError."""
        ticket.needed = access.needed(ticket.path)
        if ticket.needed is None:
            return
        ticket.key = access.find_key(headers)
        if ticket.key is not None:
            check_role(ticket.key, ticket.needed, ticket.path)
            return
        error, challenges = access.refuse(headers)
        if error.code == "invalid_credentials" and self.rates is not None:
            # only wrong keys count, and only after the valid ones have passed
            self._take(ticket, b"wrong:" + _customer(ticket), WRONG_KEYS, "wrong keys")
        ticket.headers += challenges
        raise error

    def _limit(self, ticket: Ticket) -> None:
        """Take one image from the client's rate; `Ticket.charge` takes the others."""
        if self.rates is None:
            return
        key, rate = ticket.key, self.rate
        if key is not None and key.rate is not None:
            rate = read_rate(key.rate)
        if rate is not None:
            client = b"key:" + key.name.encode() if key is not None else b"address:" + _customer(ticket)
            ticket.limit = self._take(ticket, client, rate, "images"), rate

    def _take(self, ticket: Ticket, client: bytes, rate: Rate, what: str) -> int:
        """Take one from a client's bucket; return its slot. Raises InputError: rate_limited."""
        assert self.rates is not None
        slot = self.rates.find(client)
        wait_s = self.rates.take(slot, rate)
        if wait_s:
            ticket.headers += ((b"retry-after", b"%d" % math.ceil(wait_s)),)
            raise InputError(
                "rate_limited",
                f"more than {rate.images} {what} in {rate.period_s:g} s; wait {math.ceil(wait_s)} s",
            )
        return slot


def _customer(ticket: Ticket) -> bytes:
    return b"" if ticket.client is None else customer_of(ticket.client[0])
