"""The image that `bentoml containerize` makes of the Bento, as far as bentofile.yaml cannot say it.

Given on the service, since an image made from a bentofile alone installs a compiler and git, 577 MB that
nothing here needs. Where both speak, the bentofile's `docker:` and `python:` win, key by key; ours have only
the requirements. tests/test_bento.py reads the result.
"""

import tomllib
from pathlib import Path
from typing import Final

from bentoml.images import Image
from pydantic import BaseModel, ConfigDict

BASE: Final = "python:3.11-slim"
PYTHON: Final = "3.11"
"""As in BASE; by default BentoML takes the version of whoever builds."""
HEALTHCHECK: Final = "/home/bentoml/bento/src/deploy/healthcheck.sh"


class BuildArguments(BaseModel):
    """What `args:` of a bentofile, or `bentoml build --arg`, may say.

    training: add what train.py needs. torch: which build of it, as uv's UV_TORCH_BACKEND names them; empty
    for whatever the package index has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    training: bool = False
    torch: str = "cpu"


def build_image(arguments: BuildArguments) -> Image:
    """The image's definition; its Python packages are the bentofile's and, for training, pyproject's."""
    lines = [
        # the one folder that can be written to when the image runs read-only with a tmpfs
        "ENV BENTOML_HOME=/tmp/bentoml",
        # one process a container: scale by containers; its threads follow the processors that it is given
        "ENV FASHION_MNIST_WORKERS=1",
        "ENV BENTOML_DO_NOT_TRACK=True",
        f'HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["bash", "{HEALTHCHECK}"]',
    ]
    if arguments.training:
        lines.append("ENV MPLCONFIGDIR=/tmp/matplotlib")
    if arguments.training and arguments.torch:
        lines.append(f"ENV UV_TORCH_BACKEND={arguments.torch}")
    image = Image(base_image=BASE, python_version=PYTHON, distro="none")
    # BentoML writes a command after `RUN `, and has no other way to add instructions to its Dockerfile
    image.run("\n".join(["true", *lines]))
    if arguments.training:
        image.python_packages(*_training_packages())
    return image


def _training_packages() -> list[str]:
    path = Path(__file__).parents[2] / "pyproject.toml"
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    packages: list[str] = project["optional-dependencies"]["train"]
    return packages
