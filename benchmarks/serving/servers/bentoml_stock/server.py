"""A BentoML service as in its documentation: typed APIs, `batchable=True`, nothing else."""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType, Shape
from numpy.typing import NDArray
from PIL.Image import Image

from benchmarks.serving.servers.shared import BATCH, WORKERS, load_predictor

Pixels = Annotated[NDArray[np.uint8], DType("uint8"), Shape((-1, 784))]


@bentoml.service(name="fashion_mnist_stock", workers=WORKERS)
class FashionMnist:
    """Classify pixels (n, 784) or pictures; return probabilities (n, K)."""

    def __init__(self) -> None:
        self.predictor = load_predictor()

    @bentoml.api(batchable=True, max_batch_size=BATCH)
    def predict(self, images: Pixels) -> NDArray[np.float64]:
        """Classify rows of pixels."""
        shaped = images.reshape(-1, *self.predictor.spec.shape)
        return self.predictor.predict(shaped).probabilities

    @bentoml.api(batchable=True, max_batch_size=BATCH)
    def predict_png(self, images: list[Image]) -> NDArray[np.float64]:
        """Classify pictures, already opened by BentoML."""
        decoded = np.stack([np.asarray(image.convert("L")) for image in images])
        return self.predictor.predict(decoded).probabilities
