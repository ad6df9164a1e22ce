"""Ray Serve with its batching, on a local Ray started for it."""

from typing import Any

import numpy as np
import orjson
import ray
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.serving.servers.shared import (
    BATCH,
    PORT,
    THREADS,
    WAIT_S,
    WORKERS,
    load_predictor,
    read_body,
    to_answers,
)

LOGGING = {"enable_access_log": False}  # off, as for the other peers


class FashionMnist:
    """Classifies an image in JSON or PNG, sent by POST to /predict."""

    def __init__(self) -> None:
        self.predictor = load_predictor()
        self.spec = self.predictor.spec

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
    async def classify(self, images: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        """Return the answers for images uint8 (1, H, W), in order."""
        return to_answers(self.predictor.predict(np.concatenate(images)), self.spec.classes)

    async def __call__(self, request: Request) -> Response:
        if request.method == "GET":  # readiness, answered by the replica itself
            return Response()
        body = await request.body()
        answer = await self.classify(read_body(request.headers["content-type"], body, self.spec))
        return Response(orjson.dumps(answer), media_type="application/json")


if __name__ == "__main__":
    ray.init(num_cpus=WORKERS * THREADS, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config=LOGGING)
    deployment: Any = serve.deployment(
        num_replicas=WORKERS,
        max_ongoing_requests=256,  # with the default of 5 per replica, a batch would never fill
        ray_actor_options={"num_cpus": THREADS},
        logging_config=LOGGING,
    )(FashionMnist)
    serve.run(deployment.bind(), blocking=True)
