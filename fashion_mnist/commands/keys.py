"""The commands `fashion-mnist keys …`: add, list, remove and rotate API keys."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from fashion_mnist.errors import ConfigError
from fashion_mnist.serving.admission import key_file
from fashion_mnist.serving.admission.key_file import NAME, Key, Role
from fashion_mnist.serving.admission.rates import read_rate

VARIABLE: Final = "FASHION_MNIST_API_KEYS_FILE"
DURATION: Final = re.compile(r"([0-9]{1,5})([mhdw])")
UNITS_S: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def duration(text: str) -> float:
    """Return the seconds of a duration such as `90d`. Raises click.BadParameter."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a duration; expected one such as 30m, 12h, 90d or 2w")
    return float(match[1]) * UNITS_S[match[2]]


FILE = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    envvar=VARIABLE,
    show_envvar=True,
    required=True,
    help="The file.",
)


@click.group()
def keys() -> None:
    """Manage the API keys of the service."""


@keys.command()
@click.argument("name")
@click.option("--role", type=click.Choice([role.name.lower() for role in Role]), required=True)
@click.option("--expires", type=duration, help="Valid for this long, such as 90d.  [default: for ever]")
@click.option("--rate", help="Images per period, such as 100/s or 600/min.  [default: the service's]")
@FILE
def add(name: str, role: str, expires: float | None, rate: str | None, path: Path) -> None:
    """Add a key and print it; it is shown only now. The file is made if there is none."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name[:70]!r} is not a name; use up to 64 letters, digits, `_`, `.` and `-`")
    try:
        if rate is not None:
            read_rate(rate)
    except ValueError as error:
        raise ConfigError(f"--rate {error}") from error
    with key_file.edit_keys(path) as found:
        if any(key.name == name and not key.expired for key in found):
            raise ConfigError(f"there is a key {name} already; `keys rotate {name}` replaces it")
        found[:] = [key for key in found if key.name != name]  # expired
        until = None if expires is None else time.time() + expires
        key = Key(name, Role[role.upper()], b"", time.time(), until, rate)
        secret = _issue(found, key)
    _print_new(secret, key)


@keys.command("list")
@FILE
def list_keys(path: Path) -> None:
    """List the keys, without the secrets."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("name", "role", "created", "expires", "rate"):
        table.add_column(column)
    for key in key_file.read_keys(path):
        until = "never" if key.expires is None else _date(key.expires) + (" (expired)" if key.expired else "")
        table.add_row(key.name, key.role.name.lower(), _date(key.created), until, key.rate or "default")
    Console().print(table)


@keys.command()
@click.argument("name")
@FILE
def remove(name: str, path: Path) -> None:
    """Remove a key; the service refuses it within two seconds."""
    with key_file.edit_keys(path) as found:
        _named(found, name)
        found[:] = [key for key in found if key.name != name]
    click.echo(f"removed {name}", err=True)


@keys.command()
@click.argument("name")
@click.option(
    "--grace", type=duration, default="7d", show_default=True, help="How long the old key stays valid."
)
@FILE
def rotate(name: str, grace: float, path: Path) -> None:
    """Replace a key by a new one of the same role and rate, and print it; both are valid for a while."""
    with key_file.edit_keys(path) as found:
        newest, now = _named(found, name)[-1], time.time()
        kept = [k for k in found if k.name != name or not k.expired]
        end = now + grace
        found[:] = [k._replace(expires=min(k.expires or end, end)) if k.name == name else k for k in kept]
        lifetime_s = None if newest.expires is None else newest.expires - newest.created
        key = newest._replace(created=now, expires=None if lifetime_s is None else now + lifetime_s)
        secret = _issue(found, key)
    _print_new(secret, key)


def _named(found: list[Key], name: str) -> list[Key]:
    named = [key for key in found if key.name == name]
    if not named:
        known = ", ".join(sorted({key.name for key in found})) or "none"
        raise ConfigError(f"there is no key {name[:70]}; the file has {known}")
    return named


def _issue(found: list[Key], key: Key) -> str:
    """Append a key with a new secret; return the secret."""
    secret = key_file.new_key()
    found.append(key._replace(digest=key_file.digest_of(secret)))
    return secret


def _print_new(secret: str, key: Key) -> None:
    """Print a secret, after the file is saved."""
    until = "never expires" if key.expires is None else f"expires on {_date(key.expires)}"
    click.echo(secret)
    click.echo(f"{key.name} ({key.role.name.lower()}) {until}; this key is shown only now", err=True)


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
