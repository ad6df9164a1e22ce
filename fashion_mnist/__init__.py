"""A packaged image-classification service: train, store, serve, predict.

Importing this package loads neither torch, openvino nor bentoml; each module imports what it needs.
"""

__version__ = "0.1.0"
