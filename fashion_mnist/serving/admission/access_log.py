"""The request log: one line per request, as text or JSON, written off the hot path.

Calling `logging` for each request costs 15 % of the throughput. Instead, lines are collected and written
together in a thread, see monitoring/line_writer.py. `kill -9` loses the lines of the last 0.1 s.
"""

import random
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson

from fashion_mnist.serving.monitoring.line_writer import LineWriter
from fashion_mnist.serving.monitoring.prediction_metrics import lost_log_lines

if TYPE_CHECKING:
    from fashion_mnist.serving.admission.gate import Ticket

Which = bool | Literal["errors"] | float
"""Requests to log: all, none, those not answered or with an error, or a share between 0 and 1."""


def open_log(which: Which, *, as_json: bool) -> "AccessLog | None":
    """Return the log on standard output; None if no requests are logged."""
    if not which:
        return None
    writer = LineWriter(sys.stdout.fileno(), lambda lines: lost_log_lines().inc(lines))
    return AccessLog(writer, which, as_json=as_json)


class AccessLog:
    """Writes a line for each request. The form of the text follows BentoML's access log."""

    def __init__(self, writer: LineWriter, which: Which = True, *, as_json: bool = False) -> None:
        self.writer = writer
        self.errors_only = which == "errors"
        self.share = 1.0 if isinstance(which, str) else float(which)
        self.format = _format_json if as_json else _Text().format

    def write(self, ticket: "Ticket", status: int | None, trace_id: str = "") -> None:
        """Log one request. status: None if the client left before there was one."""
        if self.errors_only and status is not None and status < 400:
            return
        if self.share == 1 or random.random() < self.share:  # noqa: S311 - not a secret
            self.writer.add(self.format(ticket, status, trace_id))


class _Text:
    def __init__(self) -> None:
        self._second = 0
        self._time = ""

    def format(self, ticket: "Ticket", status: int | None, trace_id: str) -> bytes:
        second = int(time.time())
        if second != self._second:  # formatting the time costs more than the rest of the line
            self._second = second
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(second))
        client, path = ticket.client, ticket.path
        address = "_" if client is None else f"{client[0]}:{client[1]}"
        if not path.isprintable():  # or a client could forge log lines
            path = ascii(path)
        took_ms = 1000 * (time.perf_counter() - ticket.start)
        return (
            f"{self._time} [INFO] [access] {address} (method={ticket.method},path={path}) "
            f"(status={status or 'none'}) {took_ms:.3f}ms\n"
        ).encode(errors="backslashreplace")


def _format_json(ticket: "Ticket", status: int | None, trace_id: str) -> bytes:
    """Format a request as a line of JSON; fields that do not apply to it are left out."""
    entry: dict[str, Any] = {
        "time": datetime.now(UTC),
        "event": "request",
        "request_id": ticket.headers[0][1].decode(),
        "client": None if ticket.client is None else ticket.client[0],
        "method": ticket.method,
        "route": ticket.route,
        "status": status,
        "total_ms": 1000 * (time.perf_counter() - ticket.start),
        **ticket.stages.describe(),
    }
    if ticket.route != ticket.path:
        entry["path"] = ticket.path.encode("utf-8", "backslashreplace").decode()
    if ticket.key is not None:
        entry["key"] = ticket.key.name
    if trace_id:
        entry["trace_id"] = trace_id
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def write_audit(key: str, request: str, method: str, path: str, status: int | None) -> None:
    """Log what an administrator did as one line of JSON, at once. request: its id."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event": "admin",
        "key": key,
        "request_id": request,
        "method": method,
        "path": path,
        "status": status,
    }
    sys.stdout.write(orjson.dumps(entry).decode() + "\n")
    sys.stdout.flush()
