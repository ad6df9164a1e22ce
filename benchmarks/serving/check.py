"""Check a server's answers against the classes and probabilities of the model run in process."""

import json
from dataclasses import dataclass
from typing import Final

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.forms import Form
from fashion_mnist.inference.predictor import Predictor

TOLERANCE: Final = 0.06
"""Largest accepted difference of a probability. Over all 10,000 test images, bf16 differs from float32 by at
most 0.05."""
MARGIN: Final = 0.2
"""Smallest gap between the two most probable classes of a checked image: rounding cannot swap them."""
CHECKED: Final = 16


@dataclass(frozen=True)
class Reference:
    """Images uint8 (n, H, W), and their probabilities float64 (n, K), computed in float32."""

    images: NDArray[np.uint8]
    probabilities: NDArray[np.float64]


def build_reference(predictor: Predictor, images: NDArray[np.uint8]) -> Reference:
    """Build a reference from the first CHECKED images whose classes are further apart than MARGIN."""
    probabilities = predictor.predict(images).probabilities
    best = np.sort(probabilities, axis=1)
    kept = np.flatnonzero(best[:, -1] - best[:, -2] > MARGIN)[:CHECKED]
    return Reference(images[kept], probabilities[kept])


def check_answers(url: str, form: Form, kind: str, reference: Reference) -> None:
    """Raise BenchmarkError for the first answer that differs from the reference."""
    with httpx.Client(timeout=60, trust_env=False) as http:
        for index, wanted in enumerate(reference.probabilities):
            where = f"{kind}, image {index}"
            body = form.write(reference.images[index : index + 1])
            answer = _post(http, url + form.path, form.content_type, body, where)
            if form.read is None:
                if json.loads(answer) != json.loads(body):
                    raise BenchmarkError(f"{where}: expected the body back, got {answer[:100]!r}")
                continue
            try:
                found = form.read(answer)
            except (ValueError, KeyError, TypeError) as error:
                raise BenchmarkError(f"{where}: cannot be read ({error!r}): {answer[:500]!r}") from error
            _compare(found, wanted, where)


def _post(http: httpx.Client, url: str, content_type: str, body: bytes, where: str) -> bytes:
    try:
        answer = http.post(url, content=body, headers={"Content-Type": content_type})
    except httpx.TransportError as error:
        raise BenchmarkError(f"{where}: no answer: {error!r}") from error
    if answer.status_code != 200:
        raise BenchmarkError(f"{where}: status {answer.status_code}, expected 200: {answer.text[:500]}")
    return answer.content


def _compare(found: NDArray[np.float64], wanted: NDArray[np.float64], where: str) -> None:
    if found.shape != (1, len(wanted)):
        raise BenchmarkError(f"{where}: probabilities of shape {found.shape}, expected (1, {len(wanted)})")
    difference = float(np.abs(found[0] - wanted).max())
    if found[0].argmax() != wanted.argmax() or not difference <= TOLERANCE:
        raise BenchmarkError(
            f"{where}: class {found[0].argmax()}, expected {wanted.argmax()}; "
            f"probabilities differ by {difference:.3f}, expected at most {TOLERANCE}"
        )
