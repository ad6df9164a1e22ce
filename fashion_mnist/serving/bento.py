"""The service class, and the schemas of /predict for BentoML's client.

Kept apart from app.py because `bentoml serve` also imports service.py in the process that starts the workers;
only the workers need the HTTP side, which takes half a second to import.
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
    """A BentoML service whose application is built by app.AppFactory."""

    def to_asgi(self, is_main: bool = True) -> "ASGIApp":
        """Build the application of the current worker."""
        from fashion_mnist.serving import app

        self.inject_config()
        return app.build(self, is_main)
