"""Honest probabilities: a temperature, fitted to the calibration images and applied to every answer."""

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities float64 (N, K) of logits (N, K), divided by the temperature; rows sum to 1."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = scaled / scaled.sum(axis=1, keepdims=True)
    return result


def negative_log_likelihood(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Mean of -log p(label), in nats; probabilities below 1e-12 count as 1e-12."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The temperature in 0.05..20 that minimises the negative log likelihood of (N, K) logits.

    The loss is convex in 1 / temperature, so bisection on its derivative finds the minimum (Guo et al.,
    On Calibration of Modern Neural Networks, 2017). One image more is imagined, whose label is any class:
    where all N are answered right, the probabilities stay below 1 by about 1 / N instead of reaching it
    (Platt, Probabilistic Outputs for Support Vector Machines, 1999).
    """
    z = np.asarray(logits, np.float64)
    if np.ptp(z, axis=1).max() == 0:  # nothing to scale
        return 1.0
    unsure = 1 / (len(z) + 1)
    wanted = (1 - unsure) * z[np.arange(len(z)), labels] + unsure * z.mean(axis=1)
    low, high = np.log(0.05), np.log(20.0)
    for _ in range(50):
        middle = (low + high) / 2
        probabilities = softmax(z, float(np.exp(middle)))
        # derivative of the loss by 1 / temperature: E[z] under the prediction less z of the label
        slope = (probabilities * z).sum(axis=1).mean() - wanted.mean()
        if slope > 0:  # too sharp
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))
