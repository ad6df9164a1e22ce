"""Receives the body of an ASGI request, within limits on its size and duration."""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from fashion_mnist.errors import InputError


async def receive_body(
    receive: Receive,
    announced: bytes | None,
    max_bytes: int,
    timeout_s: float,
    reserve: Callable[[int], None],
) -> bytes:
    """Receive the whole body.

    announced: the Content-Length, None without one. reserve: called with the size of each chunk that arrives;
    counting announced bytes would let a client that sends nothing lock out all others.
    Raises InputError: body_too_large (also for chunked bodies), body_timeout, and what `reserve` raises;
    ClientDisconnect.
    """
    if announced is not None and announced.isdigit():
        expected = int(announced.lstrip(b"0")[:19] or b"0")  # int() refuses thousands of digits
        if expected > max_bytes:
            raise _too_large(f"{expected} bytes", max_bytes)
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
                if size > max_bytes:
                    raise _too_large(f"more than {max_bytes} bytes", max_bytes)
                reserve(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise InputError(
            "body_timeout",
            f"only {size} bytes of the body arrived within {timeout_s:g} s; send it without pauses",
        ) from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(came: str, max_bytes: int) -> InputError:
    return InputError(
        "body_too_large",
        f"the body has {came}, at most {max_bytes} are accepted; split the request",
    )
