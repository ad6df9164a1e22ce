"""OpenVINO without its telemetry.

`import openvino` writes an identity into the user's home and reports the use to its makers. It does
neither when the package that does is not there (read in openvino 2026.4.1 and nncf 3.4.0).
"""

import sys
from types import ModuleType


def import_openvino() -> ModuleType:
    """Import OpenVINO; to be called before anything else imports it."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    module: ModuleType = openvino
    return module
