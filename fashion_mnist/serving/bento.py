"""The Bento service's own class, and what BentoML's client is told of /predict.

It stands apart from http_app.py since `bentoml serve` imports service.py once more than it has workers, in
the process that starts them; only the workers need the HTTP side, which takes half a second to import.
"""

from typing import TYPE_CHECKING, Any

from _bentoml_sdk import Service
from _bentoml_sdk.io_models import IORootModel

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class PredictInput(IORootModel[Any]):
    """For BentoML's client, which reads /schema.json; AppFactory decodes requests itself.

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
    """An object, whose form /docs.json describes."""

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {"type": "object"}


class HttpService(Service[Any]):
    """A BentoML service whose HTTP side is http_app.AppFactory."""

    def to_asgi(self, is_main: bool = True) -> "ASGIApp":
        """The application of one worker, in which this runs."""
        from fashion_mnist.serving import app

        self.inject_config()
        return app.build(self, is_main)
