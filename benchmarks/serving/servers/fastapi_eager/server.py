"""FastAPI and PyTorch as in most services: typed body, eager network, one image at a time."""

from typing import Annotated

import numpy as np
import torch
from fastapi import Body, FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from benchmarks.serving.servers.shared import THREADS, WEIGHTS
from fashion_mnist.export.torch_predictor import load_network
from fashion_mnist.imaging import pixels
from fashion_mnist.registry import model_folder

Pixel = Annotated[int, Field(ge=0, le=255)]


class Picture(BaseModel):
    """Request body."""

    pixels: list[Pixel] = Field(min_length=784, max_length=784)


class Answer(BaseModel):
    """Response body."""

    prediction: str
    class_id: int
    confidence: float
    probabilities: dict[str, float]


torch.set_num_threads(THREADS)  # FastAPI's own threads need OMP_NUM_THREADS as well
app = FastAPI()
record = model_folder.read_record(WEIGHTS)
network = load_network(record, WEIGHTS)


# `def` runs in FastAPI's threads, as its documentation advises for computation
@app.post("/predict")
def predict(picture: Picture) -> Answer:
    """Classify 784 pixels."""
    return _classify(np.array(picture.pixels, np.uint8).reshape(record.spec.shape))


@app.post("/predict/png")
def predict_png(body: Annotated[bytes, Body(media_type="image/png")]) -> Answer:
    """Classify a picture's bytes."""
    return _classify(pixels.read_picture(body, record.spec))


@app.get("/healthz")
def healthz() -> dict[str, str]:
    """Report readiness: the network is loaded on import."""
    return {"torch": torch.__version__}


def _classify(image: NDArray[np.uint8]) -> Answer:
    with torch.inference_mode():
        logits, _ = network(torch.tensor(image).unsqueeze(0))  # (1, K)
        probabilities = torch.softmax(logits[0] / (record.temperature or 1.0), 0).tolist()
    class_id = int(np.argmax(probabilities))
    return Answer(
        prediction=record.classes[class_id],
        class_id=class_id,
        confidence=probabilities[class_id],
        probabilities=dict(zip(record.classes, probabilities, strict=True)),
    )
