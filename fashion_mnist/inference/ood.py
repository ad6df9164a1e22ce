"""Is the picture like anything the network has learnt? An energy score and its threshold."""

import numpy as np
from numpy.typing import NDArray


def energy_score(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Free energy -log(sum(exp(logits))) of logits (N, K); float64 (N,), higher is stranger.

    Liu et al., Energy-based Out-of-distribution Detection, 2020.
    """
    z = np.asarray(logits, np.float64)
    top = z.max(axis=1)
    result: NDArray[np.float64] = -(top + np.log(np.exp(z - top[:, None]).sum(axis=1)))
    return result


def fit_threshold(scores: NDArray[np.float64], refuse: float = 0.01) -> float:
    """The score above which the strangest `refuse` of these known images lie."""
    return float(np.quantile(scores, 1 - refuse, method="higher"))
