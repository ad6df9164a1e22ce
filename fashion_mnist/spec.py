"""A model's interface: the shape of its images and the names of its classes."""

import unicodedata
from dataclasses import dataclass, field
from typing import Final, Literal

FASHION_MNIST: Final = "fashion-mnist"
FASHION_MNIST_CLASSES: Final = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

MAX_SIDE_PX: Final = 1024
"""Largest side of a model's images. A batch of 16 in RGB, as bytes and as floats, then fits into 1 GB."""
MAX_NAME_LENGTH: Final = 200

Preparation = Literal["garment", "none"]
"""What happens to pictures of another shape than the model's: a garment is cut out and put on black, or the
picture is only resized and padded with black."""

UNPRINTABLE: Final = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories that break a line of text or its encoding; format characters such as ZWJ do not."""


def normal_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return class names in Unicode's composed form, NFC: macOS writes file names decomposed."""
    return tuple(unicodedata.normalize("NFC", name) for name in classes)


def is_one_line(text: str) -> bool:
    """Return whether text is visible, fits on one line of a log or table, and can be encoded."""
    kinds = {unicodedata.category(character) for character in text}
    return not kinds & UNPRINTABLE and not kinds <= {"Zs", "Cf"}


def find_name_problem(classes: tuple[str, ...]) -> str | None:
    """Return what is wrong with these class names, as a clause, or None.

    The names become keys of JSON objects, cells of tables and labels of plots.
    """
    if len(classes) < 2:
        return f"{len(classes)} classes, expected at least 2"
    seen: set[str] = set()
    for name, normal in zip(classes, normal_names(classes), strict=True):
        if len(name) > MAX_NAME_LENGTH:
            return f"the class name {name[:40]!r}… has {len(name)} characters, at most {MAX_NAME_LENGTH} fit"
        if not is_one_line(name):
            return f"the class name {name!r} is empty or not printable"
        if normal in seen:
            return f"the class name {name!r} appears twice"
        seen.add(normal)
    return None


@dataclass(frozen=True)
class ModelSpec:
    """Classes and image shape of one model; stored with the model, never assumed by the code.

    channels: 1 (gray) or 3 (RGB). preparation: `garment` for gray models only; specs that differ in it alone
    are equal, because it does not change what the network's outputs mean.
    """

    classes: tuple[str, ...]
    height: int
    width: int
    channels: int
    preparation: Preparation = field(default="none", compare=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image: (H, W) if gray, else (H, W, 3)."""
        gray = (self.height, self.width)
        return gray if self.channels == 1 else (*gray, self.channels)

    @property
    def pixel_count(self) -> int:
        """Number of values in one image."""
        return self.height * self.width * self.channels
