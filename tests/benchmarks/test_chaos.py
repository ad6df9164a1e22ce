"""The load generator of `make chaos` counts what it should, and the program judges a real fault."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.chaos import __main__ as chaos
from benchmarks.chaos.generator import LOST, Answer, Load, after, goodput, p99_ms

writers: list[asyncio.StreamWriter] = []


async def serve_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer by the body: 200, 503, a closed connection after 200, or none."""
    writers.append(writer)
    while head := await reader.readline():
        length = 0
        while (line := await reader.readline()).strip():
            if line.lower().startswith(b"content-length"):
                length = int(line.split(b":")[1])
        assert head == b"POST /predict HTTP/1.1\r\n"
        body = await reader.readexactly(length)
        if body == b"lose":
            break
        status, closing = ("503", False) if body == b"refuse" else ("200", body == b"close")
        writer.write(f"HTTP/1.1 {status} x\r\n{'connection: close' if closing else 'a: b'}\r\n".encode())
        writer.write(b"content-length: 2\r\n\r\n")
        await asyncio.sleep(0.001)  # head and body apart
        writer.write(b"ok")
        if closing:
            break
    writer.close()


@pytest.mark.parametrize("rate", [None, 200.0])
def test_every_request_is_accounted_for(rate: float | None) -> None:
    async def run() -> list[Answer]:
        server = await asyncio.start_server(serve_some, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        load = Load(url, [b"good", b"refuse", b"close", b"lose"], 4, rate, pause_s=0.01)
        async with server:
            answers = await load.run(1)
            for writer in writers:
                writer.close()
            await asyncio.sleep(0.1)  # until their tasks have ended
            writers.clear()
        return answers

    answers = asyncio.run(run())
    counts = Counter(answer.status for answer in answers)
    assert set(counts) == {200, 503, LOST}
    assert abs(counts[200] - 2 * counts[503]) <= 8
    assert abs(counts[503] - counts[LOST]) <= 4
    if rate is not None:
        assert 150 <= len(answers) <= 200
        assert all(answer.due <= answer.sent <= answer.ended for answer in answers)


def test_figures() -> None:
    answers = [Answer(t / 10, t / 10, t / 10 + 0.05, 200 if t % 2 else 503, 1) for t in range(41)]
    assert goodput(answers) == pytest.approx(5)
    assert p99_ms(answers) == pytest.approx(50)
    assert p99_ms([answer._replace(due=answer.sent - 1) for answer in answers], from_due=True) > 1000
    assert len(after(answers, 2)) == 20


@pytest.mark.slow
@pytest.mark.slow
def test_a_fault_is_done_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chaos.json"
    assert chaos.main(["--only", "start", "--output", str(path)]) == 0
    assert "exit code 1 | code 1 after" in capsys.readouterr().out
    result = json.loads(path.read_text())
    assert result["machine"]["cpus"] >= 1
    assert [promise["kept"] for promise in result["promises"]] == [True]
