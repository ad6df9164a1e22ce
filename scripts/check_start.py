"""Exit with an error message if the service cannot start: check_start.py HOST PORT."""

import errno
import os
import socket
import sys
from pathlib import Path

host, port = sys.argv[1:]
try:
    number = int(port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        # like the server: a port on which an old connection still lingers counts as free
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, number))
except (ValueError, OverflowError):
    sys.exit(f"error: PORT={port} is not a port; expected 1 to 65535")
except OSError as error:
    if error.errno == errno.EADDRINUSE:
        sys.exit(f"error: port {port} is taken; stop what listens on it, or: make serve PORT=3001")
    sys.exit(f"error: cannot listen on {host}:{port}: {error.strerror}")

# BentoML creates these folders before it loads the service, and shows a traceback if it cannot
home = Path(os.path.expandvars(os.environ.get("BENTOML_HOME", "~/bentoml"))).expanduser()
try:
    for name in ("bentos", "models", "envs", "tmp"):
        (home / name).mkdir(parents=True, exist_ok=True)
except OSError as error:
    sys.exit(
        f"error: BentoML cannot create {error.filename} ({error.strerror}); "
        "set BENTOML_HOME to a folder that you can write to: BENTOML_HOME=/tmp/bentoml make serve"
    )
