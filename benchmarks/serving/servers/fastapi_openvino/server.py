"""FastAPI tuned by hand: raw bodies, orjson, no threads, one call of the network per request."""

import io

import numpy as np
import orjson
from fastapi import FastAPI, Request, Response

from benchmarks.serving.servers.shared import load_predictor, read_body, to_answers

app = FastAPI()
predictor = load_predictor()
spec = predictor.spec


# `async`, with the network in the event loop: at one inference thread per worker, handing each request to
# a thread and back costs more than it gains
@app.post("/predict")
async def predict(request: Request) -> Response:
    """Classify one image (JSON pixels, PNG), or all images of a .npy file."""
    content_type = request.headers["content-type"]
    body = await request.body()
    if content_type == "application/x-npy":
        images = np.load(io.BytesIO(body), allow_pickle=False)
        answers = to_answers(predictor.predict(images), spec.classes)
        return Response(orjson.dumps({"predictions": answers}), media_type="application/json")
    answers = to_answers(predictor.predict(read_body(content_type, body, spec)), spec.classes)
    return Response(orjson.dumps(answers[0]), media_type="application/json")


@app.get("/healthz")
async def healthz() -> Response:
    """Report readiness: the network is loaded on import."""
    return Response()
