"""The key ring: what counts as a key, and what a change of the file does; without a service."""

import base64
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.commands import run

from fashion_mnist.errors import ConfigError
from fashion_mnist.serving.admission import key_ring
from fashion_mnist.serving.admission.access import Access
from fashion_mnist.serving.admission.key_file import digest_of, edit_keys, read_keys
from fashion_mnist.serving.admission.key_ring import KeyRing

SECRET = "fmk_" + "s" * 43
CREATED = "2026-01-01T00:00:00+00:00"
ENTRY = {"name": "app", "role": "read", "sha256": digest_of(SECRET).hex(), "created": CREATED}
GOOD = b"Bearer " + SECRET.encode()


def write(path: Path, *entries: dict[str, Any]) -> None:
    path.write_text(json.dumps({"format": 1, "keys": entries}))


def keys(*arguments: str, path: Path, code: int = 0) -> tuple[str, str]:
    found, output, errors = run("keys", *arguments, "--file", path)
    assert found == code, errors
    return output.strip(), errors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    write(path, ENTRY)
    return path


@pytest.fixture
def ring(path: Path) -> KeyRing:
    return KeyRing(path)


@pytest.fixture
def refresh(ring: KeyRing) -> Callable[[], None]:
    """Let a second pass, so that the file is looked at."""
    clock = iter(range(10**9))
    return lambda: ring.refresh(2.0 * next(clock))


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr(key_ring.logger, "propagate", True)
    caplog.set_level(logging.INFO, logger=key_ring.logger.name)

    def take() -> list[str]:
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return lines

    return take


def basic(user: str, secret: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{secret}".encode())


@pytest.mark.parametrize("header", [GOOD, GOOD.replace(b"B", b"b"), GOOD + b" ", basic("app", SECRET)])
def test_a_key_is_found(ring: KeyRing, header: bytes) -> None:
    found = ring.find(header)
    assert found is not None
    assert (found.name, found.role.name) == ("app", "READ")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b" ",
        b"Bearer",
        b"Bearer ",
        b"Basic",
        b"Basic ",
        SECRET.encode(),
        b"Token " + SECRET.encode(),
        b"Bearer\t" + SECRET.encode(),
        b"Bearer " + SECRET.upper().encode(),
        b"Bearer " + digest_of(SECRET).hex().encode(),
        b"Bearer " + SECRET.encode() + b"," + SECRET.encode(),
        b"Bearer \xff\xfe",
        "Bearer schlüssel".encode(),
        b"Basic !!!!",
        b"Basic abc",
        b"Basic \xff",
        b"Basic " + base64.b64encode(b"\xff:\xfe"),
        b"Basic " + base64.b64encode(SECRET.encode()),
        basic("app", ""),
        basic("", SECRET),
        basic("other", SECRET),
        basic("app", SECRET + ":"),
        b"Bearer " + b"x" * 65_536,
        b"Basic " + b"A" * 65_536,
    ],
    ids=lambda header: ascii(header)[2:40],
)
def test_a_malformed_header_holds_no_key(ring: KeyRing, header: bytes) -> None:
    assert ring.find(header) is None


def test_two_headers_hold_no_key(ring: KeyRing) -> None:
    header = (b"authorization", GOOD)
    access = Access(ring, {})
    assert access.find_key([header]) is not None
    assert access.find_key([header, header]) is None


@pytest.mark.parametrize(
    ("expires", "valid"), [("2026-01-01T00:00:01Z", False), ("2999-01-01T00:00:00+02:00", True)]
)
def test_an_expired_key_is_none(path: Path, expires: str, valid: bool, log: Callable[[], list[str]]) -> None:
    write(path, {**ENTRY, "expires": expires})
    assert (KeyRing(path).find(GOOD) is not None) == valid
    assert log() == ([] if valid else [f"{path}: every API key has expired"])


def test_both_keys_are_valid_until_the_grace_period_ends(
    path: Path, ring: KeyRing, refresh: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    new, _ = keys("rotate", "app", "--grace", "1h", path=path)
    refresh()
    assert [ring.find(key) is not None for key in (GOOD, b"Bearer " + new.encode())] == [True, True]
    later = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: later)
    assert [ring.find(key) is not None for key in (GOOD, b"Bearer " + new.encode())] == [False, True]


@pytest.mark.parametrize(
    "harm", [Path.unlink, lambda path: path.write_text("{"), lambda path: write(path, {})]
)
def test_a_harmed_file_leaves_the_last_keys_valid_and_is_logged_once(
    path: Path,
    ring: KeyRing,
    refresh: Callable[[], None],
    log: Callable[[], list[str]],
    harm: Callable[[Path], Any],
) -> None:
    refresh()
    harm(path)
    for _ in range(5):
        refresh()
        assert ring.find(GOOD) is not None
    (line,) = log()
    assert line.endswith("; the keys read before stay valid")
    assert str(path) in line
    write(path)  # no key: all are revoked
    refresh()
    assert ring.find(GOOD) is None
    assert log() == ['{"event":"keys_changed","added":[],"removed":["app"]}']


def test_the_file_is_looked_at_once_a_second(path: Path, ring: KeyRing) -> None:
    ring.refresh(10.0)
    write(path)
    ring.refresh(10.9)
    assert ring.find(GOOD) is not None
    ring.refresh(11.0)
    assert ring.find(GOOD) is None


def test_a_change_is_logged_with_its_names_only(
    path: Path, refresh: Callable[[], None], log: Callable[[], list[str]]
) -> None:
    keys("add", "new", "--role", "predict", path=path)
    refresh()
    write(path, {**ENTRY, "role": "admin"})  # edited by hand
    refresh()
    added, changed = map(json.loads, log())
    assert added == {"event": "keys_changed", "added": ["new"], "removed": []}
    assert changed == {"event": "keys_changed", "added": ["app"], "removed": ["app", "new"]}


def deny(path: Path) -> None:
    raise ConfigError(f"API keys: {path}: Permission denied")


def test_a_chmod_is_noticed(
    path: Path,
    ring: KeyRing,
    refresh: Callable[[], None],
    log: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refresh()
    with monkeypatch.context() as patch:  # root could read the file in spite of its mode
        patch.setattr(key_ring, "read_keys", deny)
        write(path, ENTRY, {**ENTRY, "name": "b", "sha256": "ab" * 32})
        refresh()
    refresh()
    (denied,) = log()
    assert "Permission denied; the keys read before stay valid" in denied
    path.chmod(0o640)
    refresh()
    assert log() == ['{"event":"keys_changed","added":["b"],"removed":[]}']
    path.chmod(0o600)
    refresh()
    assert log() == []  # no key has changed


def test_a_link_stays_and_its_file_is_replaced(path: Path, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    link, other = tmp_path / "etc" / "link.json", tmp_path / "etc" / "other.json"
    link.symlink_to(path)
    other.symlink_to(link)
    ring = KeyRing(other)
    key, _ = keys("add", "new", "--role", "predict", path=other)
    assert other.is_symlink()
    assert link.is_symlink()
    assert {key.name for key in read_keys(path)} == {"app", "new"}
    ring.refresh(0.0)
    assert ring.find(b"Bearer " + key.encode()) is not None
    assert sorted(tmp_path.iterdir()) == [tmp_path / "etc", path]  # no drafts


def test_a_file_that_is_mounted_alone_is_explained(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(self: Path, target: Path) -> None:  # what Linux answers for a mount point
        raise OSError(16, os.strerror(16), str(self))

    before = path.read_bytes()
    monkeypatch.setattr(Path, "replace", replace)
    with (
        pytest.raises(ConfigError, match="busy; mount the folder of the file, not the file"),
        edit_keys(path),
    ):
        pass
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "times",
    [
        {"created": "2026-01-01T00:00:00"},
        {"expires": "2999-01-01"},
        {"expires": "0001-01-01T00:00:00+23:59"},
        {"expires": "9999-12-31T23:59:59-23:59"},
        {"expires": "x" * 100_000},
    ],
)
def test_times_without_a_zone_or_out_of_range_are_refused(path: Path, times: dict[str, str]) -> None:
    write(path, {**ENTRY, **times})
    with pytest.raises(ConfigError, match=r"keys\.json: damaged \(.*; restore it") as raised:
        KeyRing(path)
    assert len(str(raised.value)) < 500


def test_an_expired_name_can_be_added_again(path: Path) -> None:
    expired = {**ENTRY, "expires": "2026-01-02T00:00:00+00:00"}
    write(path, expired, {**expired, "sha256": "ab" * 32}, {**ENTRY, "name": "b", "sha256": "cd" * 32})
    keys("add", "app", "--role", "predict", path=path)
    assert [(key.name, key.expired) for key in read_keys(path)] == [("b", False), ("app", False)]
    assert "already" in keys("add", "app", "--role", "predict", path=path, code=2)[1]
