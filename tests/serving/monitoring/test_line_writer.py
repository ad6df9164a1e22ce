"""Log lines reach their file whole; a reader that stops, or a full disk, costs lines and nothing else."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from fashion_mnist.serving.monitoring import line_writer
from fashion_mnist.serving.monitoring.line_writer import PIPE_BYTES, LineWriter, _pack


def add_all(writer: LineWriter, lines: list[bytes]) -> float:
    """Add lines in an event loop; return the longest pause that this meant for the loop, in seconds."""

    async def run() -> float:
        longest = 0.0
        for number, line in enumerate(lines):
            start = time.perf_counter()
            writer.add(line)
            if number % 100 == 0:
                writer.flush()
            longest = max(longest, time.perf_counter() - start)
        return longest

    return asyncio.run(run())


def test_two_writers_of_one_pipe_never_mix_their_lines() -> None:
    reader, fd = os.pipe()
    lost: list[int] = []
    writers = [LineWriter(fd, lost.append) for _ in range(2)]
    lines = [[b"%d %d %s\n" % (who, n, b"x" * (n % 400)) for n in range(3000)] for who in range(2)]
    received = bytearray()

    def read() -> None:
        while chunk := os.read(reader, 5000):
            received.extend(chunk)

    thread = threading.Thread(target=read)
    thread.start()
    adders = [threading.Thread(target=add_all, args=pair) for pair in zip(writers, lines, strict=True)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    for writer in writers:
        writer.close()
    os.close(fd)
    thread.join()
    os.close(reader)
    assert lost == []
    assert sorted(received.splitlines(keepends=True)) == sorted(lines[0] + lines[1])


def test_a_reader_that_stops_costs_lines_but_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_writer, "CLOSE_S", 0.1)
    reader, fd = os.pipe()
    lost: list[int] = []
    writer = LineWriter(fd, lost.append)
    count = line_writer.MAX_LINES + 5000
    assert add_all(writer, [b"x" * 99 + b"\n"] * count) < 5
    thread = writer._thread
    start = time.monotonic()
    writer.close()
    assert time.monotonic() - start < 5
    assert 0 < sum(lost) <= 5000
    os.close(reader)  # now writing fails, and the thread ends
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    # all but what fits into the pipe, 64 KB
    assert count - 700 <= sum(lost) <= count
    os.close(fd)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full: a full disk is not tried")
def test_a_full_disk_costs_the_lines_only() -> None:
    lost: list[int] = []
    fd = os.open("/dev/full", os.O_WRONLY)
    writer = LineWriter(fd, lost.append)
    add_all(writer, [b"line\n"] * 300)
    writer.close()
    os.close(fd)
    assert sum(lost) == 300


def test_groups_of_lines_fit_into_a_pipe() -> None:
    lines = [b"x" * size + b"\n" for size in (4095, 1, 5000, 10, 4000, 500)]
    groups = list(_pack(lines))
    assert [line for group in groups for line in group] == lines
    assert [len(group) for group in groups] == [1, 1, 1, 2, 1]
    assert all(sum(map(len, group)) <= PIPE_BYTES for group in groups if len(group) > 1)
