"""Picture files in a folder and its sub-folders, told by their content; what is passed over is collected."""

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fashion_mnist.errors import InputError
from fashion_mnist.imaging import decoder

Skipped = dict[str, list[str]]
"""Reason -> paths of the files and folders that were passed over."""

SYSTEM_FILES: Final = {"__macosx", "@eadir", "thumbs.db", "desktop.ini"}
HIDDEN: Final = "hidden or of the system"
EMPTY: Final = "folder without pictures"
LOOP: Final = "link to a folder that holds it"
NO_PICTURE: Final = "not a picture"
DAMAGED: Final = "damaged"
REASONS: Final = {"too_many_pixels": "too large", "unsupported_picture_format": "in another format"}
NAMED: Final = 3
"""How many files a line names for each reason."""


def skip(skipped: Skipped, reason: str, path: Path) -> None:
    """Note that a file or folder is passed over."""
    skipped.setdefault(reason, []).append(str(path))


def merge_skipped(one: Skipped, other: Skipped) -> Skipped:
    """Return what was passed over in two sources."""
    return {reason: one.get(reason, []) + other.get(reason, []) for reason in {**one, **other}}


def describe_skipped(skipped: Skipped) -> str:
    """Return the counts by reason, with the first files of each: `2 damaged (a.png, b.png)`."""
    return ", ".join(
        f"{len(paths)} {reason} ({', '.join(paths[:NAMED])}{', …' if len(paths) > NAMED else ''})"
        for reason, paths in skipped.items()
    )


def list_folder(folder: Path, skipped: Skipped) -> list[Path]:
    """Return the files and folders in a folder, sorted, without hidden ones and those of the system."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.lower() in SYSTEM_FILES:
            skip(skipped, HIDDEN, path)
        else:
            found.append(path)
    return found


def walk(folder: Path, skipped: Skipped) -> Iterator[Path]:
    """Yield the files in a folder and its sub-folders, in sorted order."""
    for path in list_folder(folder, skipped):
        if path.is_dir() and folder.resolve().is_relative_to(path.resolve()):
            skip(skipped, LOOP, path)
        elif path.is_dir():
            yield from walk(path, skipped)
        else:
            yield path


def skip_if_no_picture(skipped: Skipped, path: Path, data: bytes, error: Exception) -> bool:
    """Pass over a file in which neither content nor name is a picture's; return whether it is one."""
    if not isinstance(error, InputError) or find_reason(path, data, error) != NO_PICTURE:
        return False
    skip(skipped, NO_PICTURE, path)
    return True


def find_reason(path: Path, data: bytes, error: InputError) -> str:
    """Return why a file is passed over. A picture is damaged if its content or its name says it is one."""
    if error.code in REASONS:
        return REASONS[error.code]
    kind, _ = mimetypes.guess_type(path.name)
    claims = kind is not None and kind.startswith("image/")
    return DAMAGED if claims or decoder.count_pixels(data) else NO_PICTURE
