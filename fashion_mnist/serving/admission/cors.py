"""CORS: which browser pages may call the service (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from collections.abc import Iterable
from typing import Final

from fashion_mnist.serving.protocol.responses import Header, Headers

EXPOSED: Final = (b"access-control-expose-headers", b"X-Request-ID, Retry-After")
METHODS: Final = (b"access-control-allow-methods", b"GET, POST, OPTIONS")
MAX_AGE: Final = (b"access-control-max-age", b"600")
VARY: Final = (b"vary", b"Origin")


class CorsPolicy:
    """Headers for requests from the given origins; `*` allows all. Credentials are never allowed."""

    def __init__(self, origins: Iterable[str]) -> None:
        self.origins = frozenset(origin.encode() for origin in origins)
        self.allows_all = b"*" in self.origins
        self.by_origin = {origin: self._headers(origin) for origin in self.origins}

    def headers(self, origin: bytes | None) -> tuple[Header, ...]:
        """Return the CORS headers of a response to a request with this Origin header.

        A response to another origin carries no permission, and the browser keeps it from the page.
        """
        if self.allows_all:
            return () if origin is None else self.by_origin[b"*"]
        # caches must not hand the response for one origin to another
        return self.by_origin.get(origin, (VARY,)) if origin is not None else (VARY,)

    def preflight(self, method: str, headers: Headers) -> tuple[Header, ...] | None:
        """Return the headers that answer a preflight, or None if the request is not one.

        Any request header is allowed: headers are checked when the request itself arrives.
        """
        if method != "OPTIONS":
            return None
        sent = dict(headers)
        if b"origin" not in sent or b"access-control-request-method" not in sent:
            return None
        asked = sent.get(b"access-control-request-headers")
        allowed = () if asked is None else ((b"access-control-allow-headers", asked),)
        return (METHODS, MAX_AGE, *allowed)

    def _headers(self, origin: bytes) -> tuple[Header, ...]:
        allowed = (b"access-control-allow-origin", origin)
        return (allowed, EXPOSED) if origin == b"*" else (allowed, EXPOSED, VARY)
