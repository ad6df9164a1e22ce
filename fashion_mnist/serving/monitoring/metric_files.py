"""The files in which workers keep their metrics: in memory, and with all their blocks from the start.

prometheus_client (0.26) makes them sparse, and BentoML keeps them in BENTOML_HOME. When that disk is full,
the next new series kills its worker with SIGBUS.
"""

import logging
import mmap
import os
from pathlib import Path
from typing import Final

import prometheus_client.values
from prometheus_client.mmap_dict import MmapedDict

from fashion_mnist.errors import describe
from fashion_mnist.mapped_files import allocate

logger = logging.getLogger("bentoml.service")

SIZE: Final = 1 << 17
"""Bytes of a file at the start: about 400 series. A worker has five files."""
SCRATCH_BYTES: Final = 16
"""At the end of a file, never read: the value of every series for which the disk has no room."""


class AllocatedDict(MmapedDict):
    """A metric file that cannot kill its process. Series without room on the disk are missing in /metrics."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            try:
                with Path(filename).open("ab") as file:
                    allocate(file.fileno(), max(SIZE, os.fstat(file.fileno()).st_size))
            except OSError as error:
                logger.warning("metrics of this worker are missing in /metrics: %s", describe(error))
                filename = f"/proc/self/fd/{os.memfd_create('metrics')}"
        self._full = False
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        size = len(key.encode()) + 64  # of the series, rounded up
        try:
            while self._used + size + SCRATCH_BYTES > self._capacity:
                allocate(self._f.fileno(), 2 * self._capacity)
                self._capacity *= 2
                self._m = mmap.mmap(self._f.fileno(), self._capacity)
        except OSError as error:
            if not self._full:
                logger.warning("new series are missing in /metrics: %s", describe(error))
            self._full = True
            self._positions[key] = self._capacity - SCRATCH_BYTES
            return
        super()._init_value(key)  # type: ignore[no-untyped-call]


def install(folder: Path | None) -> None:
    """Make prometheus_client use such files, in a folder if one is given; before the first metric is made."""
    if folder is not None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    prometheus_client.values.MmapedDict = AllocatedDict  # type: ignore[attr-defined]
