"""Files that processes share as memory: a full disk is an error when they are opened, not a crash later."""

import logging
from pathlib import Path

import pytest
from support.disks import fill, small_disk

from fashion_mnist.mapped_files import map_file
from fashion_mnist.serving.admission.rates import Rate, RateTable
from fashion_mnist.serving.transport.connection_counts import ConnectionCounts


def test_two_maps_of_a_file_share_its_memory_and_opening_it_again_keeps_it(tmp_path: Path) -> None:
    first = map_file(tmp_path / "table", 8192)
    first[8000] = 7
    assert map_file(tmp_path / "table", 8192)[8000] == 7
    assert (tmp_path / "table").stat().st_blocks * 512 >= 8192


def test_a_full_disk_is_an_error_when_a_file_is_opened(tmp_path: Path) -> None:
    with small_disk(tmp_path, 100_000):
        fill(tmp_path)
        with pytest.raises(OSError, match="No space left on device"):
            map_file(tmp_path / "table", 8192)
        with pytest.raises(OSError, match="No space left on device"):
            map_file(tmp_path / "table", 8192)  # the first attempt leaves a file


def test_a_worker_does_without_shared_tables_on_a_full_disk(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="bentoml.service")
    with small_disk(tmp_path, 100_000):
        fill(tmp_path)
        counts = ConnectionCounts(tmp_path / "connections", 2, 1)
        rates = RateTable(tmp_path / "rates")
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("rates")] == []
    counts.mine = 3
    assert counts.mine == 3
    slot = rates.find(b"client")
    assert rates.take(slot, Rate(1, 60.0)) == 0
    assert rates.take(slot, Rate(1, 60.0)) > 0
    assert [record.getMessage() for record in caplog.records] == [
        "connections are spread unevenly over the workers: No space left on device",
        "each worker allows clients their whole rate: No space left on device",
    ]
