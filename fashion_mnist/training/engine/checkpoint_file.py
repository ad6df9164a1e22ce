"""Torch files that survive a kill: they appear only when complete, and reading them runs no code."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch

UNWRITABLE: Final = (OSError, RuntimeError)
"""Errors of `write` on a full disk; torch reports a short write as RuntimeError."""
UNREADABLE: Final = (OSError, RuntimeError, EOFError, KeyError, TypeError, UnpicklingError)
"""Errors of reading a damaged or foreign file and of looking up its keys."""


def write(path: Path, content: dict[str, Any]) -> None:
    """Replace a file with this content once it is complete on disk. Raises one of UNWRITABLE."""
    partial = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Return the content of a file, its tensors on the CPU. Raises one of UNREADABLE.

    mapped: leaves the tensors on disk until they are used, so that large files open at once.
    """
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}")
    return content
