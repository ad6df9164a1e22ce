"""Receive a request's body within a size and a time, and all of them within the memory."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from fashion_mnist.errors import InputError


class BodyMemory:
    """What the bodies of all requests under way take together, at most_bytes: 1,000 bodies of an accepted
    size, sent slowly, would be more than a machine has.
    """

    def __init__(self, most_bytes: int) -> None:
        self.left = most_bytes

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """A function that takes bytes for one request, until its end. It raises InputError: overloaded."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if size > self.left:
                raise InputError("overloaded", "too many large bodies are under way; try again in a moment")
            self.left -= size
            taken += size

        try:
            yield take
        finally:
            self.left += taken


async def receive_body(
    receive: Receive,
    announced: bytes | None,
    most_bytes: int,
    timeout_s: float,
    take: Callable[[int], None],
) -> bytes:
    """The whole body of an ASGI request.

    announced: its Content-Length, if it has one. take: of the memory for bodies; bytes count when they are
    there, or else whoever announces much and sends nothing would keep the others out.
    Raises InputError: body_too_large (also for chunked bodies), body_timeout, and what `take` raises;
    ClientDisconnect.
    """
    if announced is not None and announced.isdigit():
        expected = int(announced.lstrip(b"0")[:19] or b"0")  # of thousands of digits, int() would raise
        if expected > most_bytes:
            raise _too_large(f"{expected} bytes", most_bytes)
    chunks: list[bytes] = []
    size = 0
    more = True
    try:
        async with asyncio.timeout(timeout_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(chunk)
                if size > most_bytes:
                    raise _too_large(f"more than {most_bytes} bytes", most_bytes)
                take(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise InputError(
            "body_timeout", f"{size} bytes of the body came within {timeout_s:g} s; send it at once"
        ) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(came: str, most_bytes: int) -> InputError:
    return InputError(
        "body_too_large",
        f"the body has {came}, at most {most_bytes} are accepted; send less at once",
    )
