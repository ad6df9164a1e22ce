"""Saving to BentoML's model store so that a kill or a full disk at any moment leaves no half model.

BentoML copies a model into its final folder: until the last file is complete, the store holds a broken model.
Here the copy is made outside the store, brought to the disk, and renamed.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import bentoml

PREFIX: Final = ".unfinished-"
"""No tag begins with a dot."""
ABANDONED_S: Final = 3600.0
"""Age of a draft whose process must have been killed."""


class AtomicStore:
    """A store for BentoML's Model.save. models: the folder `models` of a BENTOML_HOME."""

    def __init__(self, models: Path) -> None:
        self.models = models

    @contextlib.contextmanager
    def register(self, tag: bentoml.Tag) -> Iterator[str]:
        """Yield a folder to write the model into; move it into the store at the end. Raises OSError."""
        drafts, folder = self.models.parent / "tmp", self.models / tag.path()  # BentoML makes `tmp`, too
        for parent in (drafts, folder.parent):
            parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(parent)
        draft = Path(tempfile.mkdtemp(prefix=PREFIX, dir=drafts))
        # BentoML's file with the version to serve, written before the model appears: it may find no room
        latest = folder.parent / f"{PREFIX}latest-{tag.version}"
        try:
            yield str(draft)
            latest.write_text(str(tag.version), encoding="utf-8")
            for path in (latest, draft, *draft.rglob("*")):
                _sync(path)
            try:
                draft.rename(folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                shutil.copytree(draft, folder)  # `models` is a mount of its own: cannot be atomic
            if self._is_newest(tag):
                latest.replace(self.models / tag.latest_path())
            _sync(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            latest.unlink(missing_ok=True)

    def _is_newest(self, tag: bentoml.Tag) -> bool:
        """Return whether no later model is the latest. Raises what BentoML does if that one is damaged."""
        if not (self.models / tag.latest_path()).exists():
            return True
        return bentoml.models.get(tag).creation_time >= bentoml.models.get(tag.name).creation_time


def _sync(path: Path) -> None:
    """Bring a file or folder to the disk, so that after a power cut no name stands for missing content."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another process has finished
            # ctime: copying sets mtime to that of the source
            if time.time() - path.stat().st_ctime > ABANDONED_S:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
