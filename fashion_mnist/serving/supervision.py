"""Supervision of the workers by the process that starts them: it hands them their model and watches them.

BentoML replaces workers that end, within 10 s. It does not notice one that hangs, and starts one that cannot
start again and again.
"""

import atexit
import dataclasses
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from fashion_mnist.bentoml_internals import server_context
from fashion_mnist.registry.store import ChosenModel
from fashion_mnist.serving.transport.heartbeats import Heartbeat, Heartbeats, Row, is_alive

logger = logging.getLogger("bentoml.service")

FOLDER: Final = "_FASHION_MNIST_RUN"
"""Variable with the folder of what the processes of one service share."""
CHOSEN: Final = "_FASHION_MNIST_CHOSEN"
"""Variable with the model that the parent has chosen, as JSON."""
SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
METRICS: Final = "metrics"
"""Folder of the workers' metric files."""
ROUND_S: Final = 0.5
SILENCE_S: Final = 4.0
"""A worker that gives no sign of life for so long is killed."""
TRACEBACK_S: Final = 0.3
"""For a worker to write where it hangs."""
MAX_FAILED_STARTS: Final = 3


def start(chosen: ChosenModel, workers: int) -> None:
    """Hand the chosen model down to all workers, and watch them. Called once, before they start."""
    os.environ[CHOSEN] = json.dumps({**dataclasses.asdict(chosen), "folder": str(chosen.folder)})
    try:
        # in memory: the tables must not depend on a disk that is full
        place = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        folder = Path(tempfile.mkdtemp(prefix="fashion-mnist-", dir=place))
        (folder / METRICS).mkdir()
        table = Heartbeats(folder / "heartbeats", workers)
    except OSError as error:
        logger.warning(
            "workers that hang are not replaced: there is no folder for temporary files (%s)", error
        )
        return
    os.environ[FOLDER] = str(folder)
    supervisor = Supervisor(table)
    threading.Thread(target=supervisor.run, name="supervisor", daemon=True).start()
    atexit.register(_end, supervisor, folder)


def handed_down() -> ChosenModel | None:
    """Return the model that the parent has chosen, in a worker of it; else None."""
    text = os.environ.get(CHOSEN)
    if text is None or server_context.worker_index is None:
        return None
    values = json.loads(text)
    return ChosenModel(**{**values, "folder": Path(values["folder"])})


def shared_file(name: str) -> Path | None:
    """Return the path of a file that all workers share; None outside a worker."""
    folder = os.environ.get(FOLDER)
    return None if folder is None or server_context.worker_index is None else Path(folder) / name


def join(workers: int) -> Heartbeat | None:
    """Open what this worker shares with the others; return its row, which shows that it starts.

    Called before any metric exists. Returns None outside a worker, and if nobody watches this one.
    """
    if server_context.worker_index is None:
        return None
    from fashion_mnist.serving.monitoring import metric_files  # only workers need prometheus_client

    metric_files.install(shared_file(METRICS))
    path = shared_file("heartbeats")
    if path is None:
        return None
    return Heartbeat(Heartbeats(path, workers), server_context.worker_index)


class Supervisor:
    """Watches the workers from a thread of the process that has started them."""

    def __init__(self, table: Heartbeats) -> None:
        self.table = table
        self.failed_starts = [0] * len(table.rows())  # in a row

    @property
    def gave_up(self) -> bool:
        """Whether a worker could not start, again and again, and no other one serves."""
        return max(self.failed_starts) >= MAX_FAILED_STARTS and all(
            row.beat <= 0 for row in self.table.rows()
        )

    def run(self) -> None:
        """Watch until the process ends."""
        while not self.gave_up:
            last = time.monotonic()
            time.sleep(ROUND_S)
            if time.monotonic() - last > 3 * ROUND_S:  # this process stood still: perhaps the whole machine
                continue
            for index, row in enumerate(self.table.rows()):
                if row.pid:
                    self.look(index, row)
        logger.error("a worker could not start %d times; the log says why. Stopping", MAX_FAILED_STARTS)
        os.kill(os.getpid(), signal.SIGTERM)

    def look(self, index: int, row: Row) -> None:
        """Look after one worker, whose row this is."""
        pid, beat = row
        if not is_alive(pid):
            if self.table[index] == row:  # not yet of the worker that replaces it
                self.table[index] = Row(0, 0.0)
            if beat == 0:
                self.failed_starts[index] += 1
                logger.error("worker process %d has ended before it could serve", pid)
            elif beat > 0:
                logger.error("worker process %d has ended unexpectedly", pid)
        elif beat > 0:
            self.failed_starts[index] = 0
            silence_s = time.monotonic() - beat
            if silence_s > SILENCE_S:
                logger.error("worker process %d has not responded for %.1f s and is killed", pid, silence_s)
                os.kill(pid, signal.SIGABRT)
                time.sleep(TRACEBACK_S)
                _kill(pid)
        elif beat < 0 and time.monotonic() > -beat:
            logger.error("worker process %d does not stop and is killed", pid)
            _kill(pid)


def _kill(pid: int) -> None:
    if is_alive(pid):
        os.kill(pid, signal.SIGKILL)


def _end(supervisor: Supervisor, folder: Path) -> None:
    """Remove what the workers shared; leave with an error code if they could not start."""
    shutil.rmtree(folder, ignore_errors=True)
    if supervisor.gave_up:
        logging.shutdown()
        sys.stdout.flush()
        os._exit(1)  # BentoML would leave with 0
