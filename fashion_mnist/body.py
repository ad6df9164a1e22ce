"""Receive a request's body within a size and a time."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from fashion_mnist.errors import InputError


async def receive_body(receive: Receive, announced: bytes | None, most_bytes: int, timeout_s: float) -> bytes:
    """The whole body of an ASGI request. announced: its Content-Length, if it has one.

    Raises InputError: body_too_large (also for chunked bodies), body_timeout; ClientDisconnect.
    """
    if announced is not None and announced.isdigit() and int(announced) > most_bytes:
        raise _too_large(f"{announced.decode()} bytes", most_bytes)
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
