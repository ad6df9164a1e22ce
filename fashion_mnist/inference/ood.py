"""Out-of-distribution detection: an energy score and its threshold."""

import numpy as np
from numpy.typing import NDArray


def energy_score(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the free energy -log(sum(exp(logits))) of logits (N, K): float64 (N,).

    A higher score means less like the training images.
    Liu et al., Energy-based Out-of-distribution Detection, 2020.
    """
    z = np.asarray(logits, np.float64)
    top = z.max(axis=1)
    result: NDArray[np.float64] = -(top + np.log(np.exp(z - top[:, None]).sum(axis=1)))
    return result


def fit_threshold(scores: NDArray[np.float64], refuse: float = 0.01) -> float:
    """Return the threshold that at most a fraction `refuse` of these in-distribution scores exceed."""
    return float(np.quantile(scores, 1 - refuse, method="higher"))
