"""The API keys of a running service; a change of their file is noticed within a second or two."""

import base64
import binascii
import logging
from pathlib import Path
from typing import Final

import orjson

from fashion_mnist.errors import ConfigError
from fashion_mnist.serving.admission.key_file import Key, digest_of, read_keys

logger = logging.getLogger("bentoml.service")

CHECK_S: Final = 1.0
"""How often the file is looked at."""


class KeyRing:
    """The keys in a file. Raises ConfigError if the file is missing, damaged or without a key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = _version(path)
        keys = read_keys(path)
        if not keys:
            raise ConfigError(
                f"{path}: it has no key; add one with `fashion-mnist keys add NAME --role ROLE`"
            )
        if all(key.expired for key in keys):
            logger.warning("%s: every API key has expired", path)
        self._by_digest = {key.digest: key for key in keys}
        self._next_check = 0.0

    def find(self, authorization: bytes) -> Key | None:
        """Return the valid key in an Authorization header, Bearer or Basic, else None."""
        scheme, _, value = authorization.partition(b" ")
        try:
            text = value.strip().decode("ascii")
            if scheme.lower() == b"bearer":
                return self._find(text)
            if scheme.lower() == b"basic":
                user, _, secret = base64.b64decode(text, validate=True).decode("ascii").partition(":")
                key = self._find(secret)
                return key if key is not None and key.name == user else None
        except (UnicodeDecodeError, binascii.Error):
            pass
        return None

    def _find(self, secret: str) -> Key | None:
        # its duration tells nothing: digests are compared, and nobody can choose those byte by byte
        key = self._by_digest.get(digest_of(secret))
        return None if key is None or key.expired else key

    def refresh(self, now: float) -> None:
        """Read the file again if it has changed; called at each request. now: of time.monotonic().

        If the file is broken or gone, the last good keys stay valid; an empty list revokes all of them.
        """
        if now < self._next_check:
            return
        self._next_check = now + CHECK_S
        version = _version(self.path)
        if version == self._version:
            return
        self._version = version
        try:
            keys = read_keys(self.path)
        except ConfigError as error:
            logger.error("%s; the keys read before stay valid", error)
            return
        before, after = set(self._by_digest.values()), set(keys)
        self._by_digest = {key.digest: key for key in keys}
        if before != after:  # an entry that was edited is both
            added, removed = (sorted(key.name for key in keys) for keys in (after - before, before - after))
            change = {"event": "keys_changed", "added": added, "removed": removed}
            logger.info(orjson.dumps(change).decode())


def open_ring(path: Path | None, *, required: bool) -> KeyRing | None:
    """Open the configured keys, None if there are none. Raises ConfigError."""
    if path is not None:
        return KeyRing(path)
    if required:
        raise ConfigError(
            "FASHION_MNIST_REQUIRE_AUTH is set, but FASHION_MNIST_API_KEYS_FILE is not; make a file with "
            "`fashion-mnist keys add NAME --role predict`"
        )
    return None


def _version(path: Path) -> tuple[int, int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    # st_ctime: of a chmod too, as after `permission denied`
    return found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size
