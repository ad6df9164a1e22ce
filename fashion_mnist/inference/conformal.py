"""Prediction sets: the classes that an image may have; a set holds the right one as often as promised.

Class-conditional split conformal prediction (Vovk, Conditional Validity of Inductive Conformal Predictors,
2012): a class is in the set if its probability is at least the one that most calibration images of that class
reach. The most probable class is always in. The promise holds for pictures like the calibration images.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

COVERAGES: Final = ("0.95", "0.99")
"""Shares of images whose set shall hold the right class, as in a query and a model's record; the first is the
default."""
DIGITS: Final = 8
"""Of the probabilities in an answer. Stored bounds are rounded down to as many, so that an image at the bound
stays in."""


def fit_sets(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, tuple[float, ...]]:
    """Return the least probability of each class, K numbers for each of COVERAGES.

    probabilities: float64 (N, K), after the temperature, of the calibration images. A class with too few of
    them (19 for 0.95, 99 for 0.99) takes the bound of all images together (Ding et al., Class-Conditional
    Conformal Prediction with Many Classes, 2023); if these are too few as well, it is in every set.
    """
    own = probabilities[np.arange(len(labels)), labels]
    classes = range(probabilities.shape[1])
    return {
        text: tuple(_bound(own[labels == index], own, float(text)) for index in classes) for text in COVERAGES
    }


def _bound(own: NDArray[np.float64], pooled: NDArray[np.float64], coverage: float) -> float:
    for values in (own, pooled):
        # of n + 1 exchangeable images, at most this many are below the bound
        below = int(np.floor((len(values) + 1) * (1 - coverage) + 1e-9))
        if below >= 1:
            return float(np.floor(np.sort(values)[below - 1] * 10**DIGITS) / 10**DIGITS)
    return 0.0


def choose(row: Sequence[float], least: Sequence[float], top: int) -> list[int]:
    """Return the classes in the set of one image, the most probable first.

    row: probabilities, rounded to DIGITS. least: of each class, from `fit_sets`. top: the class predicted.
    """
    chosen = [k for k, value in enumerate(row) if value >= least[k] or k == top]
    if len(chosen) > 1:
        chosen.sort(key=row.__getitem__, reverse=True)
    return chosen


def set_members(probabilities: NDArray[np.float64], least: Sequence[float]) -> NDArray[np.bool_]:
    """Return which classes are in the set of each image: bool (N, K); as `choose`, for many images."""
    members: NDArray[np.bool_] = probabilities.round(DIGITS) >= np.asarray(least)
    members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
    return members
