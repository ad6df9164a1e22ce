"""A model's interface: the shape of its images and the names of its classes."""

from dataclasses import dataclass

FASHION_MNIST_CLASSES = (
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


def find_name_problem(classes: tuple[str, ...]) -> str | None:
    """Return what is wrong with these class names, as a clause, or None.

    The names become keys of JSON objects, cells of tables and labels of plots.
    """
    if len(classes) < 2:
        return f"{len(classes)} classes, expected at least 2"
    for name in classes:
        if not name.isprintable() or not name.strip():
            return f"the class name {name!r} is empty or not printable"
    twice = next((name for name in classes if classes.count(name) > 1), None)
    return None if twice is None else f"the class name {twice!r} appears twice"


@dataclass(frozen=True)
class ModelSpec:
    """Classes and image shape of one model; stored with the model, never assumed by the code.

    channels: 1 (gray) or 3 (RGB).
    """

    classes: tuple[str, ...]
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image: (H, W) if gray, else (H, W, 3)."""
        gray = (self.height, self.width)
        return gray if self.channels == 1 else (*gray, self.channels)

    @property
    def pixel_count(self) -> int:
        """Number of values in one image."""
        return self.height * self.width * self.channels
