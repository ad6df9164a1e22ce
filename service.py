"""The Bento service: `bentoml serve`, then POST a picture to /predict."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml
from bentoml.exceptions import InvalidArgument

from fashion_mnist.bentoml_internals import in_worker, replace_dead_workers_in_images
from fashion_mnist.errors import FashionMnistError
from fashion_mnist.registry import model_folder, store
from fashion_mnist.serving import container, supervision
from fashion_mnist.serving.admission.key_ring import open_ring
from fashion_mnist.serving.bento import HttpService, PredictInput, PredictOutput
from fashion_mnist.serving.config import read_serve_config, unknown_variables
from fashion_mnist.serving.monitoring.json_logs import use_json

if TYPE_CHECKING:  # needed only in the workers, see serving/bento.py
    import numpy as np
    from numpy.typing import NDArray

    from fashion_mnist.inference.predictions import Predictions

logger = logging.getLogger("bentoml.service")

if not in_worker():
    replace_dead_workers_in_images()
    for warning in unknown_variables():
        logger.warning(warning)

try:
    config = read_serve_config()
    heartbeat = supervision.join(config.worker_count)
    chosen = supervision.handed_down() or store.choose(config.model, store.built_with(Path(__file__).parent))
    # a damaged model or a broken file of keys stops the start here, not in each worker
    model_folder.read_record(chosen.folder)
    ring = open_ring(config.api_keys_file, required=config.require_auth)
    arguments = bentoml.use_arguments(container.BuildArguments)
except (FashionMnistError, InvalidArgument) as error:
    sys.exit(f"fashion_mnist: {error}")
if config.log_format == "json":
    use_json()
if ring is None and not in_worker() and sys.argv[1:2] != ["build"]:
    logger.warning("no API keys are configured: every path is open to everyone who can reach the service")
if sys.argv[1:2] == ["build"]:
    if not chosen.in_store and chosen.folder != store.BUNDLED_FOLDER:
        sys.exit(f"fashion_mnist: {chosen.folder}: a Bento packs a model of the store, or the bundled one")
    print(f"packing {chosen.name}, because {chosen.why}; FASHION_MNIST_MODEL packs another", file=sys.stderr)


@bentoml.service(
    name="fashion_mnist",
    service_class=HttpService,
    image=container.build_image(arguments),
    **config.bentoml_settings(),
)
class FashionMnist:
    """Classifies pictures: POST one to /predict. GET /model describes the model."""

    # `bentoml build` adds a model of the store to the Bento; the bundled one is part of the package
    model = bentoml.models.BentoModel(chosen.name) if chosen.in_store else None

    config = config
    heartbeat = heartbeat

    @bentoml.on_deployment
    def start_supervision() -> None:
        """Hand the model down to the workers and watch them; BentoML calls this before it starts them."""
        supervision.start(chosen, config.worker_count)

    def __init__(self) -> None:
        from fashion_mnist.serving.models.served_model import ServedModel

        self.served = ServedModel(chosen, config)
        logger.info(
            "serving %s, because %s; %s, inference threads: %d",
            chosen.name,
            chosen.why,
            self.served.predictor.precision,
            self.served.predictor.threads,
        )

    # `batchable` and its limits only declare the API to BentoML (schema, client). Its dispatcher is not used:
    # after a busy minute it delays a lone client by 13 ms. See serving/models/batching.py.
    @bentoml.api(
        batchable=True,
        max_batch_size=config.batch_size,
        max_latency_ms=config.max_latency_ms,
        input_spec=PredictInput,
        output_spec=PredictOutput,
    )
    def predict(self, items: list[NDArray[np.uint8]]) -> list[Predictions]:
        """Classify one batch; each item is uint8 (n, H, W[, 3])."""
        return self.served.run_batch(items)
