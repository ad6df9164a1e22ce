"""`fashion-mnist keys`: the file it writes, and what it refuses."""

import json
import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.commands import run

from fashion_mnist.errors import ConfigError
from fashion_mnist.serving.admission.key_file import read_keys
from fashion_mnist.serving.admission.key_ring import KeyRing

KEY = re.compile(r"fmk_[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def keys(*arguments: str, path: Path, code: int = 0) -> tuple[str, str]:
    found, output, errors = run("keys", *arguments, "--file", path)
    assert found == code, errors
    return output, errors


def finds(path: Path, key: str) -> str | None:
    found = KeyRing(path).find(b"Bearer " + key.strip().encode())
    return None if found is None else found.name


def test_add_prints_the_key_once_and_keeps_its_digest(path: Path) -> None:
    output, errors = keys("add", "app", "--role", "predict", "--expires", "90d", path=path)
    assert KEY.fullmatch(output)
    assert "shown only now" in errors
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert output.strip() not in path.read_text()
    assert finds(path, output) == "app"
    assert finds(path, output[:-2] + "x") is None
    listed, _ = keys("list", path=path)
    assert re.search(r"app +predict +\d{4}-\d\d-\d\d +\d{4}-\d\d-\d\d +default", listed)
    assert list(path.parent.iterdir()) == [path]


def test_rotate_keeps_the_old_key_for_a_while(path: Path) -> None:
    old, _ = keys("add", "app", "--role", "read", "--rate", "5/min", path=path)
    new, _ = keys("rotate", "app", "--grace", "1h", path=path)
    assert [finds(path, key) for key in (old, new)] == ["app", "app"]
    newest, _ = keys("rotate", "app", "--grace", "0m", path=path)
    assert [finds(path, key) for key in (old, new, newest)] == [None, None, "app"]
    assert {(key.role.name, key.rate) for key in read_keys(path)} == {("READ", "5/min")}


def test_remove(path: Path) -> None:
    key, _ = keys("add", "app", "--role", "admin", path=path)
    keys("add", "other", "--role", "admin", path=path)
    keys("remove", "app", path=path)
    assert finds(path, key) is None
    _, errors = keys("remove", "app", path=path, code=2)
    assert errors == "fashion-mnist: there is no key app; the file has other\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "a b", "--role", "read"), "not a name"),
        (("add", "", "--role", "read"), "not a name"),
        (("add", "x", "--role", "root"), "root"),
        (("add", "x", "--role", "read", "--expires", "soon"), "not a duration"),
        (("add", "x", "--role", "read", "--rate", "fast"), "not a rate"),
        (("rotate", "x"), "no key x"),
    ],
)
def test_what_is_refused_changes_nothing(path: Path, arguments: tuple[str, ...], message: str) -> None:
    output, errors = keys(*arguments, path=path, code=2)
    assert message in errors
    assert not output
    assert not path.exists()


def test_a_name_is_added_once(path: Path) -> None:
    keys("add", "app", "--role", "read", path=path)
    before = path.read_bytes()
    assert "already" in keys("add", "app", "--role", "read", path=path, code=2)[1]
    assert path.read_bytes() == before


def test_two_editors_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: keys("add", f"k{n}", "--role", "read", path=path), range(6)))
    assert {key.name for key in read_keys(path)} == {f"k{n}" for n in range(6)}


def test_without_a_file_the_variable_is_named() -> None:
    code, _, errors = run("keys", "list")
    assert (code, "FASHION_MNIST_API_KEYS_FILE" in errors) == (2, True)


GOOD = {"name": "a", "role": "read", "sha256": "ab" * 32, "created": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"format": 2, "keys": []}',
        json.dumps({"format": 1, "keys": [{**GOOD, "name": "a:b"}]}),
        json.dumps({"format": 1, "keys": [{**GOOD, "role": "root"}]}),
        json.dumps({"format": 1, "keys": [{**GOOD, "sha256": "ab"}]}),
        json.dumps({"format": 1, "keys": [{**GOOD, "created": "yesterday"}]}),
        json.dumps({"format": 1, "keys": [{**GOOD, "expires": 5}]}),
        json.dumps({"format": 1, "keys": [{**GOOD, "rate": "fast"}]}),
        json.dumps({"format": 1, "keys": [GOOD, {**GOOD, "name": "b"}]}),
        # the SHA-256 of nothing: an empty key
        json.dumps(
            {
                "format": 1,
                "keys": [
                    {**GOOD, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
                ],
            }
        ),
        json.dumps({"format": 1, "keys": [GOOD] * 20_000}),
    ],
)
def test_a_damaged_file_is_refused_in_a_sentence(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"keys\.json: (damaged|format|larger)"):
        KeyRing(path)


def test_no_keys_no_file_and_a_pipe_are_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        KeyRing(path)
    path.write_text('{"format": 1, "keys": []}')
    with pytest.raises(ConfigError, match="it has no key"):
        KeyRing(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a file"):
        KeyRing(tmp_path / "pipe")
