"""Every private name of BentoML that this project uses, in one place.

Read in the source of bentoml 1.4.39; tests/serving/test_bentoml_internals.py checks that they are unchanged.
Import them from here: `from fashion_mnist.bentoml_internals import Service`. Each loads on first use: the
process that starts the workers needs only two, and importing `ServiceAppFactory` takes half a second.

Service, IORootModel             the service class and the base of its input and output specs
ServiceAppFactory                builds a worker's ASGI application; ContextMiddleware is part of it
RunnerTrafficMetricsMiddleware   names and labels of BentoML's request metrics
BentoMLContainer                 the model store's folder, the metrics client and the trace exporter
server_context                   the worker's index, the Bento's name and version

One private parameter is used elsewhere: registry/store.py gives bentoml.models.create its own `_model_store`.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _bentoml_impl.server.app import ContextMiddleware as ContextMiddleware
    from _bentoml_impl.server.app import ServiceAppFactory as ServiceAppFactory
    from _bentoml_sdk import Service as Service
    from _bentoml_sdk.io_models import IORootModel as IORootModel
    from bentoml._internal.configuration.containers import BentoMLContainer as BentoMLContainer
    from bentoml._internal.context import server_context as server_context
    from bentoml._internal.server.http.instruments import (
        RunnerTrafficMetricsMiddleware as RunnerTrafficMetricsMiddleware,
    )

HOMES: Final = {
    "Service": "_bentoml_sdk.Service",
    "IORootModel": "_bentoml_sdk.io_models.IORootModel",
    "ServiceAppFactory": "_bentoml_impl.server.app.ServiceAppFactory",
    "ContextMiddleware": "_bentoml_impl.server.app.ContextMiddleware",
    "RunnerTrafficMetricsMiddleware": (
        "bentoml._internal.server.http.instruments.RunnerTrafficMetricsMiddleware"
    ),
    "BentoMLContainer": "bentoml._internal.configuration.containers.BentoMLContainer",
    "server_context": "bentoml._internal.context.server_context",
}


def __getattr__(name: str) -> Any:
    try:
        module, _, attribute = HOMES[name].rpartition(".")
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(module), attribute)


def in_worker() -> bool:
    """Return whether this process is one of BentoML's workers, not the one that starts them."""
    return importlib.import_module("bentoml._internal.context").server_context.worker_index is not None


def replace_dead_workers_in_images() -> None:
    """Make BentoML replace dead workers inside its images, as it does everywhere else.

    BentoML decides with `bentoml.serving.running_inside_container`, in the process that starts the workers;
    nothing else calls that function. Workers need not import that module.
    """
    serving = importlib.import_module("bentoml.serving")
    serving.running_inside_container = lambda: False  # type: ignore[attr-defined]
