"""A packaged image-classification service: train, store, serve, predict.

Importing this package loads none of torch, openvino and bentoml; each module imports what it needs.
"""

__version__ = "0.1.0"
