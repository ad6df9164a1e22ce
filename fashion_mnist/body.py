"""Receive a request's body within a size and a time."""

import asyncio

from starlette.requests import Request

from fashion_mnist.errors import InputError


async def receive_body(request: Request, most_bytes: int, timeout_s: float) -> bytes:
    """The whole body. Raises InputError: body_too_large (also for chunked bodies), body_timeout."""
    announced = request.headers.get("content-length")
    if announced is not None and announced.isdigit() and int(announced) > most_bytes:
        raise _too_large(f"{announced} bytes", most_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
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
