"""The micro-benchmark runs and prints every part of a request."""

import pytest

from benchmarks import micro


def test_every_part_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(micro, "SECONDS", 0.0)
    monkeypatch.setattr(micro, "LEAST", 1)
    micro.main()
    out = capsys.readouterr().out
    for part in ("decode JSON", "decode PNG", "decode .npy", "predict 1 ", "predict 64", "encode 1 "):
        assert part in out
    assert "CPUs" in out
