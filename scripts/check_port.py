"""Exit with a sentence when the port is taken: check_port.py HOST PORT."""

import errno
import socket
import sys

host, port = sys.argv[1:]
try:
    number = int(port)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        # as the server does: a port that an old connection still lingers on is free
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, number))
except (ValueError, OverflowError):
    sys.exit(f"error: PORT={port} is no port; expected 1 to 65535")
except OSError as error:
    if error.errno == errno.EADDRINUSE:
        sys.exit(f"error: port {port} is taken; stop what listens there, or: make serve PORT=3001")
    sys.exit(f"error: cannot listen on {host}:{port}: {error.strerror}")
