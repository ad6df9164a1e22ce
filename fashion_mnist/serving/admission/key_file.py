"""The file of API keys: names, roles and SHA-256 digests; never a key itself."""

import contextlib
import enum
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from fashion_mnist.errors import ConfigError, describe
from fashion_mnist.serving.admission.rates import read_rate

FORMAT: Final = 1
MAX_BYTES: Final = 1_000_000
PREFIX: Final = "fmk_"
"""Lets scanners recognise a key that was published by mistake."""
NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
EMPTY: Final = hashlib.sha256(b"").digest()


class Role(enum.IntEnum):
    """Permissions of a key; each role includes those before it."""

    PREDICT = 1
    READ = 2
    ADMIN = 3


class Key(NamedTuple):
    """One key. digest: SHA-256. created, expires: seconds of time.time(). rate: such as `100/s`."""

    name: str
    role: Role
    digest: bytes
    created: float
    expires: float | None = None
    rate: str | None = None

    @property
    def expired(self) -> bool:
        """Return whether the key is no longer valid."""
        return self.expires is not None and self.expires <= time.time()


def new_key() -> str:
    """Return a new random key of 256 bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> bytes:
    """Return the digest under which a key is kept. One round is enough for 256 random bits."""
    return hashlib.sha256(key.encode()).digest()


def read_keys(path: Path) -> list[Key]:
    """Read a file of keys. Raises ConfigError if it is missing, empty, too large or damaged."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a FIFO would hang
            raise ConfigError(f"{path}: not a file; expected the keys from `fashion-mnist keys add`")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"API keys: {describe(error)}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{path}: larger than {MAX_BYTES} bytes; expected the keys from `fashion-mnist keys`"
        )
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ConfigError(f"{path}: format {ascii(content['format'])[:40]}, this release reads {FORMAT}")
        keys = [_read_key(entry) for entry in content["keys"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: damaged ({str(error)[:200]}); restore it, or make a new one") from error
    if len({key.digest for key in keys}) < len(keys):
        raise ConfigError(f"{path}: damaged (two entries have the same digest); restore it")
    return keys


def _read_key(entry: dict[str, Any]) -> Key:
    name, rate = entry["name"], entry.get("rate")
    digest = bytes.fromhex(entry["sha256"])
    if not NAME.fullmatch(name) or len(digest) != len(EMPTY) or digest == EMPTY:
        raise ValueError(f"the entry {str(name)[:64]!r} has no proper name or digest")
    if rate is not None:
        read_rate(rate)
    expires = entry.get("expires")
    return Key(
        name,
        Role[entry["role"].upper()],
        digest,
        _read_time(entry["created"]),
        None if expires is None else _read_time(expires),
        rate,
    )


def _read_time(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:  # a key would expire hours later in a container that has another zone
        raise ValueError(f"the time {text!r} has no zone; write it as {text}+00:00")
    return moment.astimezone(UTC).timestamp()


@contextlib.contextmanager
def edit_keys(path: Path) -> Iterator[list[Key]]:
    """Let the caller change the list of keys, then replace the file by it, whole or not at all.

    A missing file counts as an empty list. Two editors wait for each other. A link stays: the file behind it
    is replaced. Raises ConfigError.
    """
    path = Path(os.path.realpath(path))
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            keys = read_keys(path) if path.exists() else []
            yield keys
            _replace(path, keys)
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        remedy = "the file's folder must be writable"
        if error.errno == errno.EBUSY:  # a file that is mounted by itself cannot be replaced
            remedy = "mount the folder of the file, not the file"
        raise ConfigError(f"the keys could not be saved: {describe(error)}; {remedy}") from error


def _replace(path: Path, keys: list[Key]) -> None:
    content = {"format": FORMAT, "keys": [_to_entry(key) for key in keys]}
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            if path.exists():  # keep the mode and, where allowed, the owner that the service needs
                before = path.stat()
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            file.flush()
            os.fsync(descriptor)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _to_entry(key: Key) -> dict[str, str | None]:
    created, expires = (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
        for seconds in (key.created, key.expires)
    )
    return {
        "name": key.name,
        "role": key.role.name.lower(),
        "sha256": key.digest.hex(),
        "created": created,
        "expires": expires,
        "rate": key.rate,
    }
