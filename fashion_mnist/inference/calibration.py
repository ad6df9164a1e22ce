"""Calibrated probabilities: a temperature, fitted to the calibration images, scales all logits."""

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities float64 (N, K) of logits (N, K) / temperature; rows sum to 1."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = scaled / scaled.sum(axis=1, keepdims=True)
    return result


def negative_log_likelihood(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the mean of -log p(label), in nats; probabilities below 1e-12 count as 1e-12."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the temperature in 0.05..20 that minimises the negative log likelihood of logits (N, K).

    The loss is convex in 1 / temperature, so bisection on its derivative finds the minimum (Guo et al.,
    On Calibration of Modern Neural Networks, 2017). A pseudo-image with a uniform label is added: even
    if all N predictions are right, the probabilities stay about 1 / N below 1 instead of reaching it (Platt,
    Probabilistic Outputs for Support Vector Machines, 1999).
    """
    z = np.asarray(logits, np.float64)
    if np.ptp(z, axis=1).max() == 0:  # constant logits: no temperature changes them
        return 1.0
    unsure = 1 / (len(z) + 1)
    wanted = (1 - unsure) * z[np.arange(len(z)), labels] + unsure * z.mean(axis=1)
    low, high = np.log(0.05), np.log(20.0)
    for _ in range(50):
        middle = (low + high) / 2
        probabilities = softmax(z, float(np.exp(middle)))
        # derivative of the loss by 1 / temperature: E[z] under the prediction minus z of the label
        slope = (probabilities * z).sum(axis=1).mean() - wanted.mean()
        if slope > 0:  # too confident
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))
