"""Install what a run needs: wrk, Java, and a virtual environment for each peer."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.peer import ROOT, Peer

ENVIRONMENTS: Final = ROOT / ".bench"
PACKAGES: Final = {"wrk": "wrk", "java": "openjdk-17-jre-headless"}
"""Tool -> Debian package."""
STAMP: Final = ".installed"


def install_tools() -> dict[str, str]:
    """Install missing tools if possible; return why a tool is still missing, by tool."""
    absent = [tool for tool in PACKAGES if shutil.which(tool) is None]
    if absent and (apt := _find_apt()):
        _run([*apt, "update"])
        for tool in absent:
            _run([*apt, "install", "--yes", "--no-install-recommends", PACKAGES[tool]])
    return {
        tool: f"{tool} is not installed; on Debian and Ubuntu: apt install {PACKAGES[tool]}"
        for tool in absent
        if shutil.which(tool) is None
    }


def prepare(peer: Peer) -> Path:
    """Return the interpreter of the peer's environment; create it if it is missing or has other versions.

    Raises BenchmarkError with the end of pip's output.
    """
    folder = ENVIRONMENTS / (peer.like or peer.name)
    python = folder / "bin" / "python"
    wanted = _read_requirements(peer.folder / "requirements.txt")
    stamp = folder / STAMP
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted):
        _check(_run([sys.executable, "-m", "venv", "--clear", str(folder)]), peer)
        chosen = shlex.split(os.environ.get("PIP_ARGS", ""))  # as in `make train`: package index, torch build
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", *chosen]
        if torch := re.search(r"^torch==\S+", wanted, re.MULTILINE):
            _check(_run([*pip, torch.group()]), peer)  # alone, so that no other package decides the build
        _check(_run([*pip, "-r", str(peer.folder / "requirements.txt")]), peer)
        stamp.write_text(wanted, encoding="utf-8")
    if peer.preparation:
        parts = [
            part.format(python=python, bin=python.parent, folder=peer.folder) for part in peer.preparation
        ]
        _check(_run(parts), peer)
    return python


def read_versions(peer: Peer, python: Path) -> dict[str, str]:
    """Return the versions of Python and of the packages named in the peer's requirements or `packages`."""
    wanted = _read_requirements(peer.folder / "requirements.txt")
    names = {*re.findall(r"^([\w-]+)(?:\[\w+\])?==", wanted, re.MULTILINE), *peer.packages}
    code = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps({'python': platform.python_version(), **{n: version(n) for n in sys.argv[1:]}}))"
    )
    done = _run([str(python), "-c", code, *sorted(names)])
    _check(done, peer)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def _read_requirements(path: Path) -> str:
    """Read a requirements file with the files that it includes."""
    text = path.read_text(encoding="utf-8")
    included = re.findall(r"^-r (\S+)", text, re.MULTILINE)
    return text + "".join(_read_requirements(path.parent / name) for name in included)


def _find_apt() -> list[str] | None:
    """Return the command by which this user may run apt-get, or None."""
    if shutil.which("apt-get") is None:
        return None
    if os.geteuid() == 0:
        return ["apt-get", "--quiet"]
    if shutil.which("sudo") and _run(["sudo", "--non-interactive", "true"]).returncode == 0:
        return ["sudo", "--non-interactive", "apt-get", "--quiet"]
    return None


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _check(done: "subprocess.CompletedProcess[str]", peer: Peer) -> None:
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-1000:]
        raise BenchmarkError(f"the environment of {peer.name} cannot be created: {said}")
