"""The Bento service's own class, and what BentoML's client is told about /predict.

It stands apart from app.py because `bentoml serve` imports service.py once more than it has workers, in the
process that starts them; only the workers need the HTTP side, which takes half a second to import.
"""

from typing import TYPE_CHECKING, Any

from fashion_mnist.bentoml_internals import IORootModel, Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class PredictInput(IORootModel[Any]):
    """Input for BentoML's client, which reads /schema.json; the endpoint decodes requests itself.

    `image` comes first so that `client.predict(Path("boot.png"))` sends a file.
    """

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "image": {"type": "array", "items": {"type": "file", "format": "image"}},
                "pixels": {"type": "array", "items": {}},
            },
        }


class PredictOutput(IORootModel[Any]):
    """Output for BentoML's client: an object, described by /docs.json."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"type": "object"}


class HttpService(Service[Any]):
    """A BentoML service whose HTTP side is app.AppFactory."""

    def to_asgi(self, is_main: bool = True) -> "ASGIApp":
        """Build the application of the worker in which this runs."""
        from fashion_mnist.serving import app

        self.inject_config()
        return app.build(self, is_main)
