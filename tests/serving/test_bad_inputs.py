"""Every bad request gets its own error, while good requests on other connections succeed."""

import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from bad_files import NPY, PICTURES
from bad_heads import HEADS, MULTIPART, QUERIES, RAW, TYPES
from bad_inputs import FORM, JSON, LIMITS, TEXT, Bad
from support.requests import PNG
from support.servers import Server, StartService

from fashion_mnist.errors import HTTP_ERRORS

ALL = [*JSON, *FORM, *MULTIPART, *NPY, *PICTURES, *QUERIES, *TYPES, *HEADS, *RAW]
CLIENTS = 4


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Message


class Outcome(NamedTuple):
    """Answers to the bad requests; the number of good ones, and the answers to them that were wrong."""

    answers: list[Answer]
    good: int
    wrong: list[str]


def ask(url: str, bad: Bad) -> Answer:
    """Send a request as it is; httpx would correct some."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=20)
    try:
        if bad.raw:
            connection.connect()
            connection.sock.sendall(bad.raw)
            answer = http.client.HTTPResponse(connection.sock)
            answer.begin()
        else:
            connection.putrequest(bad.method, bad.target, skip_accept_encoding=True)
            for name, value in (*bad.headers, ("Content-Length", str(len(bad.body)))):
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(bad.body)
            answer = connection.getresponse()
        return Answer(answer.status, answer.read(), answer.headers)
    finally:
        connection.close()


def classify_until(stop: threading.Event, url: str) -> tuple[int, list[str]]:
    """Send good requests of each kind; return their number and everything that was not a boot."""
    count = 0
    wrong: list[str] = []
    with httpx.Client(base_url=url, timeout=20) as client:
        while not stop.is_set():
            answers = [
                client.post("/predict", content=PNG, headers={"Content-Type": "image/png"}),
                client.post("/predict", json={"image": TEXT}),
                client.post("/predict", files={"a": PNG}),
            ]
            count += len(answers)
            wrong += [a.text for a in answers if a.status_code != 200 or a.json()["class_id"] != 9]
    return count, wrong


@pytest.fixture(scope="module")
def server(start_service: StartService) -> Iterator[Server]:
    with start_service(**LIMITS) as server:
        yield server


@pytest.fixture(scope="module")
def outcome(server: Server) -> Outcome:
    """Send all bad inputs, and good ones beside them."""
    stop = threading.Event()
    with ThreadPoolExecutor(CLIENTS + 1) as threads:
        good = threads.submit(classify_until, stop, server.url)
        try:
            answers = list(threads.map(lambda bad: ask(server.url, bad), ALL))
        finally:
            stop.set()
    return Outcome(answers, *good.result())


@pytest.mark.parametrize("index", range(len(ALL)), ids=[f"{n}-{bad.expected}" for n, bad in enumerate(ALL)])
def test_a_bad_input_is_refused_with_its_own_error(outcome: Outcome, index: int) -> None:
    bad, answer = ALL[index], outcome.answers[index]
    status, code = bad.expected.split()
    assert answer.status == int(status), answer
    if bad.method != "HEAD":
        content = json.loads(answer.body)
        assert content["code"] == code, content
        assert bad.says in content["error"], content
        assert HTTP_ERRORS[code][0] == answer.status
        assert answer.headers["content-type"] == "application/json"


def test_the_table_is_large_and_without_repetitions() -> None:
    assert len({bad[2:] for bad in ALL}) == len(ALL) >= 120


def test_good_requests_succeed_beside_bad_ones(outcome: Outcome, server: Server) -> None:
    assert outcome.good >= 10
    assert outcome.wrong == []
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert "Traceback" not in server.log
    assert "prediction failed" not in server.log
