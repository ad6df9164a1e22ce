"""Files that several processes map, with all their blocks allocated when they are opened.

A sparse file gets its blocks when a page is first written. If the disk is full by then, the kernel kills the
process with SIGBUS: no exception, no line in the log.
"""

import mmap
import os
from pathlib import Path


def allocate(descriptor: int, size: int) -> None:
    """Give a file its size in bytes, and blocks for all of them. Raises OSError on a full disk."""
    os.truncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        os.posix_fallocate(descriptor, 0, size)


def map_file(path: Path, size: int) -> mmap.mmap:
    """Map a file of this size; create it if it is missing. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        allocate(descriptor, size)
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)
