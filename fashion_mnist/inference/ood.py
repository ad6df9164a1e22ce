"""Out-of-distribution detection: a score of how unlike the training images a picture is, and its threshold.

A model has a head for it: a small network on the outputs of the large one, fitted by export/ood_head.py.
Models of earlier releases have none, and are scored by their energy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fashion_mnist.errors import ModelError
from fashion_mnist.registry import model_folder
from fashion_mnist.registry.model_folder import ModelRecord

SHARES: Final = np.arange(1, 51) / 1000
"""Shares of known images that a threshold may refuse, 0.1 to 5 %; a record has a threshold for each."""
DEFAULT_SHARE: Final = 0.01
MAX_HEAD_BYTES: Final = 100_000
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class OodHead:
    """Scores the outputs of a network: I inputs (its logits, then its features), H hidden units.

    low, high: (I,), limits of the inputs. weights: (I, H). bias, output: (H,). All float32.
    """

    low: Floats
    high: Floats
    weights: Floats
    bias: Floats
    output: Floats

    def score(self, logits: Floats, features: Floats) -> NDArray[np.float64]:
        """Return the log-odds that each image is none of the model's classes: float64 (N,)."""
        x = np.concatenate((logits, features), axis=1)  # (N, I)
        np.minimum(x, self.high, out=x)  # np.clip takes twice as long
        np.maximum(x, self.low, out=x)
        hidden = x @ self.weights  # (N, H)
        hidden += self.bias
        np.maximum(hidden, 0, out=hidden)
        return (hidden @ self.output).astype(np.float64)

    def to_bytes(self) -> bytes:
        """Return the content of its file: all numbers, little-endian float32, in the order of the fields."""
        parts = (self.low, self.high, self.weights, self.bias, self.output)
        return np.concatenate([np.ravel(part) for part in parts]).astype("<f4").tobytes()


def hidden_units(inputs: int) -> int:
    """Return how many hidden units a head with this many inputs has: 32, or as many as its file may hold."""
    return min(32, (MAX_HEAD_BYTES // 4 - 2 * inputs) // (inputs + 2))


def read_head(folder: Path, inputs: int) -> OodHead:
    """Read the head of a model whose network has this many outputs, logits and features together.

    Raises ModelError when the file has another size or a number is not finite.
    """
    path = folder / model_folder.OOD_HEAD
    hidden = hidden_units(inputs)
    expected = 2 * inputs + inputs * hidden + 2 * hidden
    with path.open("rb") as file:
        data = file.read(MAX_HEAD_BYTES + 1)
    if len(data) != 4 * expected:
        raise ModelError(
            f"{path}: {len(data)} bytes, expected {4 * expected} for {inputs} outputs of the network; "
            "the model is damaged, download or train it again"
        )
    values = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(values).all():
        raise ModelError(f"{path}: a number is not finite; the model is damaged, download or train it again")
    low, high, weights, bias, output = np.split(values, np.cumsum([inputs, inputs, inputs * hidden, hidden]))
    return OodHead(low, high, weights.reshape(inputs, hidden), bias, output)


def energy_score(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the free energy -log(sum(exp(logits))) of logits (N, K): float64 (N,).

    A higher score means less like the training images.
    Liu et al., Energy-based Out-of-distribution Detection, 2020.
    """
    z = np.asarray(logits, np.float64)
    top = z.max(axis=1)
    result: NDArray[np.float64] = -(top + np.log(np.exp(z - top[:, None]).sum(axis=1)))
    return result


def fit_thresholds(scores: NDArray[np.floating]) -> tuple[float, ...]:
    """Return, for each of SHARES, the threshold that at most this share of known images' scores exceed."""
    return tuple(np.quantile(scores, 1 - SHARES, method="higher").tolist())


def threshold_at(share: float, thresholds: Sequence[float]) -> float:
    """Return the threshold for a share between those of SHARES. thresholds: from `fit_thresholds`."""
    return float(np.interp(share, SHARES, thresholds))


def find_threshold(record: ModelRecord, share: float) -> float | None:
    """Return the threshold at which a model refuses a share of known images, between those of its record.

    share: 0.001..0.05. A record of an earlier release has only one threshold, for 0.01. None without any.
    """
    if record.ood_thresholds is None or record.ood_threshold is None:
        return record.ood_threshold
    return threshold_at(share, record.ood_thresholds)
