"""Fit the head that tells pictures of none of a model's classes: see inference/ood.py."""

import logging
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from fashion_mnist.export import outliers, variations
from fashion_mnist.inference.ood import OodHead, hidden_units
from fashion_mnist.inference.predictor import Predictor

logger = logging.getLogger(__name__)

SEED: Final = 0
MAX_IMAGES: Final = 12_000
"""Training images used; as many are varied, and as many outliers drawn."""
MIN_OUTLIERS: Final = 2_000
CHUNK: Final = 256
"""Pictures drawn at once: 12,000 in colour at 224 px would take 1.8 GB."""
EPOCHS: Final = 12
BATCH: Final = 512
RATE: Final = 4e-3
CLIP: Final = 8.0
"""Standard deviations beyond which an input of the head counts as this far: further tells no more."""

Draw = Callable[[int, int], NDArray[np.uint8]]


def fit_head(predictor: Predictor, images: NDArray[np.uint8]) -> OodHead:
    """Fit a head to what a model answers, at the precision that serves, on known and on drawn pictures.

    images: training images, uint8 (N, H, W[, 3]). Same images and same outputs give the same head.
    """
    start = time.perf_counter()
    rng = np.random.default_rng(SEED)
    known = images[np.sort(rng.permutation(len(images))[:MAX_IMAGES])]
    count = max(MIN_OUTLIERS, len(known))
    positives = np.concatenate(
        [
            _outputs(predictor, len(known), lambda a, b: known[a:b]),
            _outputs(predictor, len(known), lambda a, b: variations.vary_known(known[a:b], rng)),
        ]
    )
    negatives = _outputs(predictor, count, lambda a, b: outliers.draw_outliers(known, b - a, rng))
    head = _fit(positives, negatives)
    logger.info("fitted the OOD head to %d drawn pictures in %.0f s", count, time.perf_counter() - start)
    return head


def _outputs(predictor: Predictor, count: int, draw: Draw) -> NDArray[np.float32]:
    """Return logits and features (count, I) of pictures that `draw` returns from one number to another."""
    parts = [predictor.outputs(draw(a, min(a + CHUNK, count))) for a in range(0, count, CHUNK)]
    return np.concatenate([np.concatenate(part, axis=1) for part in parts])


def _fit(positives: NDArray[np.float32], negatives: NDArray[np.float32]) -> OodHead:
    """Train a network with one hidden layer to tell negatives (N, I) from positives (M, I)."""
    mean, std = positives.mean(axis=0), positives.std(axis=0) + 1e-6
    both = np.concatenate([positives, negatives])
    x = torch.from_numpy(((both - mean) / std).clip(-CLIP, CLIP))
    y = torch.cat([torch.zeros(len(positives)), torch.ones(len(negatives))])
    weight = torch.tensor(len(positives) / len(negatives))
    units = hidden_units(x.shape[1])
    threads, generator = torch.get_num_threads(), torch.Generator().manual_seed(SEED)
    torch.set_num_threads(1)  # the layers are small: threads would wait for each other
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            first, last = nn.Linear(x.shape[1], units), nn.Linear(units, 1, bias=False)
            network = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.2), last)
            steps = EPOCHS * -(-len(x) // BATCH)
            optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
            for _ in range(EPOCHS):
                for rows in torch.split(torch.randperm(len(x), generator=generator), BATCH):
                    loss = F.binary_cross_entropy_with_logits(
                        network(x[rows])[:, 0], y[rows], pos_weight=weight
                    )
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
    finally:
        torch.set_num_threads(threads)
    # standardising is linear, so that the first layer can do it
    weights = first.weight.detach().numpy().T / std[:, None]
    bias = first.bias.detach().numpy() - mean @ weights
    return OodHead(mean - CLIP * std, mean + CLIP * std, weights, bias, last.weight.detach().numpy()[0])
