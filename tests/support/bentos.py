"""Build Bentos as a user does."""

import os
import subprocess
from pathlib import Path

from support.paths import BIN, ROOT


def build(home: Path, *arguments: str) -> Path:
    """Build a Bento in this BentoML home; return its folder."""
    done = subprocess.run(
        [BIN / "bentoml", "build", "--output", "tag", *arguments],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    name, version = done.stdout.strip().splitlines()[-1].removeprefix("__tag__:").split(":")
    return home / "bentos" / name / version
