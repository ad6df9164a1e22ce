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

    The loss is convex in 1 / temperature, so bisection on its derivative finds the minimum. Guo et al.,
    On Calibration of Modern Neural Networks, 2017.
    """
    z = np.asarray(logits, np.float64)
    low, high = np.log(0.05), np.log(20.0)
    for _ in range(50):
        middle = (low + high) / 2
        probabilities = softmax(z, float(np.exp(middle)))
        # derivative of the loss by 1 / temperature: E[z] under the prediction less z of the label
        slope = (probabilities * z).sum(axis=1).mean() - z[np.arange(len(z)), labels].mean()
        if slope > 0:  # too sharp
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))
