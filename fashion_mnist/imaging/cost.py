"""What decoding a picture costs, known from its headers."""

from typing import NamedTuple


class Cost(NamedTuple):
    """Estimated cost of decoding: CPU time, and peak memory besides the file itself."""

    cpu_s: float
    peak_bytes: int


def estimate(data: bytes, max_pixels: int, enough: tuple[int, int]) -> Cost:
    """Return an upper bound, in practice, on what decoding a picture costs."""
    return Cost(0.0, 0)
