"""Run the command line."""

import os
import subprocess
import sys
from pathlib import Path

from support.paths import ROOT


def run(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
    """Run `fashion-mnist ARGUMENTS`; return its exit code, standard output and standard error."""
    done = subprocess.run(
        [Path(sys.executable).parent / "fashion-mnist", *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **environment},
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()
