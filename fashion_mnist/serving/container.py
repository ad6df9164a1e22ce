"""The image that `bentoml containerize` builds: whatever bentofile.yaml cannot describe.

Defined on the service because an image from a bentofile alone installs a compiler and git: 577 MB that
nothing here needs. Keys in the bentofile's `docker:` and `python:` override it; ours set only the
requirements. tests/serving/test_container.py checks the result.
"""

import tomllib
from pathlib import Path
from typing import Final

from bentoml.images import Image
from pydantic import BaseModel, ConfigDict

BASE: Final = "python:3.11-slim"
PYTHON: Final = "3.11"
"""The version in BASE; by default BentoML takes that of the Python that runs the build."""
HEALTHCHECK: Final = "/home/bentoml/bento/src/deploy/healthcheck.sh"


class BuildArguments(BaseModel):
    """Arguments from `args:` in a bentofile, or from `bentoml build --arg`.

    training: add what train.py needs. torch: the build of PyTorch, as named by uv's UV_TORCH_BACKEND; empty
    takes what the package index has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: bool = False
    torch: str = "cpu"


def build_image(arguments: BuildArguments) -> Image:
    """Return the image's definition; for training, it adds the Python packages of pyproject.toml."""
    lines = [
        # the only writable folder when the image runs read-only with a tmpfs
        "ENV BENTOML_HOME=/tmp/bentoml",
        # one process per container: scale by adding containers; threads follow the container's CPUs
        "ENV FASHION_MNIST_WORKERS=1",
        "ENV BENTOML_DO_NOT_TRACK=True",
        f'HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["bash", "{HEALTHCHECK}"]',
    ]
    if arguments.training:
        lines.append("ENV MPLCONFIGDIR=/tmp/matplotlib")
    if arguments.training and arguments.torch:
        lines.append(f"ENV UV_TORCH_BACKEND={arguments.torch}")
    image = Image(base_image=BASE, python_version=PYTHON, distro="none")
    # BentoML writes a command after `RUN `; it has no other way to add instructions to its Dockerfile
    image.run("\n".join(["true", *lines]))
    if arguments.training:
        image.python_packages(*_training_packages())
    return image


def _training_packages() -> list[str]:
    path = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    packages: list[str] = project["optional-dependencies"]["train"]
    return packages
