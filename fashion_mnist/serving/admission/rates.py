"""Rate limits: images per key or client address, shared by the workers.

A token bucket in the form of GCRA (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm): one number for
each client, the time at which its bucket is full again. All workers map the same table and lock it for each
change: without a lock, a worker that is interrupted between reading and writing undoes what the others wrote
meanwhile (measured with four busy processes: 28 % more than the rate).
"""

import fcntl
import hashlib
import logging
import mmap
import os
import re
import secrets
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Final, NamedTuple

from fashion_mnist.errors import describe
from fashion_mnist.mapped_files import allocate

logger = logging.getLogger("bentoml.service")

RATE: Final = re.compile(r"([0-9]{1,9})/(s|min|h)")
PERIODS_S: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
MICROSECOND_S: Final = 1e-6
SECRET_BYTES: Final = 16
WAYS: Final = 8
"""Slots that a client may use; the one that is full again first makes room for a new client."""
SETS: Final = 8192
MAX_PREPAID: Final = 64
PREPAID_PART: Final = 200
"""A worker takes up to this part of a bucket in advance: 16 workers, 8 % of it."""
SIZE: Final = SECRET_BYTES + SETS * WAYS * 16


class Rate(NamedTuple):
    """A number of images per period; as many may come at once."""

    images: int
    period_s: float

    @property
    def interval_s(self) -> float:
        """Seconds until one more image is allowed."""
        return self.period_s / self.images


def read_rate(text: str) -> Rate:
    """Read a rate such as `100/s`, `600/min` or `5000/h`. Raises ValueError."""
    match = RATE.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise ValueError(
            f"{text[:40]!r} is not a rate; expected images per period, such as 100/s, 600/min or 5000/h"
        )
    return Rate(int(match[1]), PERIODS_S[match[2]])


class RateTable:
    """When the bucket of each client is full again, by time.monotonic(), in a file that all workers map.

    path: None for a table of this process alone. Clients are found by a keyed hash, so that nobody can choose
    addresses that share a slot with another client.
    """

    def __init__(self, path: Path | None) -> None:
        self._file: BinaryIO | None = None
        self._prepaid: dict[int, int] = {}  # slot -> images that this worker has taken, but not used
        if path is not None:
            try:
                self._file = _open(path)
            except OSError as error:
                logger.warning("each worker allows clients their whole rate: %s", describe(error))
        if self._file is None:
            memory = mmap.mmap(-1, SIZE)
            memory[:SECRET_BYTES] = secrets.token_bytes(SECRET_BYTES)
        else:
            memory = mmap.mmap(self._file.fileno(), SIZE)
            weakref.finalize(self, self._file.close)
        self._secret = memory[:SECRET_BYTES]
        slots = memoryview(memory)[SECRET_BYTES:]
        self._hashes = slots[: SETS * WAYS * 8].cast("Q")
        self._full_at = slots[SETS * WAYS * 8 :].cast("d")

    def find(self, client: bytes) -> int:
        """Return the slot of a client, perhaps a new one."""
        digest = hashlib.blake2b(client, digest_size=8, key=self._secret).digest()
        number = int.from_bytes(digest, "little") or 1
        first = number % SETS * WAYS
        hashes, full_at = self._hashes, self._full_at
        for slot in range(first, first + WAYS):
            if hashes[slot] == number:
                return slot
        slot = min(range(first, first + WAYS), key=full_at.__getitem__)
        hashes[slot] = number
        full_at[slot] = 0.0
        self._prepaid.pop(slot, None)
        return slot

    def take(self, slot: int, rate: Rate) -> float:
        """Take one image from a bucket; return 0, or the seconds to wait if it is empty.

        Of a large bucket several are taken at once, for the next calls: a lock that others hold costs 20 µs.
        """
        prepaid = self._prepaid.get(slot, 0)
        if prepaid:
            self._prepaid[slot] = prepaid - 1
            return 0.0
        with self._locked():
            now = monotonic()
            full_at = max(self._full_at[slot], now) + rate.interval_s
            wait_s = full_at - now - rate.period_s
            if wait_s > MICROSECOND_S:
                return wait_s
            more = max(0, min(MAX_PREPAID, rate.images // PREPAID_PART, int(-wait_s / rate.interval_s)))
            self._full_at[slot] = full_at + more * rate.interval_s
        if more:
            self._prepaid[slot] = more
        return 0.0

    def charge(self, slot: int, rate: Rate, images: int) -> None:
        """Take more images, even if the bucket then owes some: the next requests wait for them."""
        with self._locked():
            self._full_at[slot] = max(self._full_at[slot], monotonic()) + images * rate.interval_s

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._file is None:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _open(path: Path) -> BinaryIO:
    """Open the table's file; the first worker creates it, complete, with a new secret."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            allocate(file.fileno(), SIZE)
            file.write(secrets.token_bytes(SECRET_BYTES))
        os.link(draft, path)
    except FileExistsError:  # another worker was first
        pass
    finally:
        draft.unlink(missing_ok=True)
    return path.open("r+b")
