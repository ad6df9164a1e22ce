"""What a model takes and answers: the shape of an image and the names of the classes."""

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
    """What is wrong with these names of classes, as a clause, or None.

    They are keys of JSON objects, words of tables and labels of plots.
    """
    if len(classes) < 2:
        return f"{len(classes)} classes, at least 2 are needed"
    for name in classes:
        if not name.isprintable() or not name.strip():
            return f"the class name {name!r} is empty or not printable"
    twice = next((name for name in classes if classes.count(name) > 1), None)
    return None if twice is None else f"the class name {twice!r} stands twice"


@dataclass(frozen=True)
class ModelSpec:
    """Classes and image shape of one model; they belong to the model, never to the code.

    channels: 1 (gray) or 3 (RGB).
    """

    classes: tuple[str, ...]
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image: (H, W) if gray, (H, W, 3) if not."""
        gray = (self.height, self.width)
        return gray if self.channels == 1 else (*gray, self.channels)

    @property
    def pixel_count(self) -> int:
        """Number of values in one image."""
        return self.height * self.width * self.channels
