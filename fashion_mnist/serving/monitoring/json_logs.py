"""Log records as lines of JSON."""

import logging
from datetime import UTC, datetime
from typing import Final

import orjson

LOGGERS: Final = ("", "bentoml", "uvicorn.error", "circus")
"""Those that BentoML gives handlers."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line: time, level, logger, message, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": _encodable(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = _encodable(self.formatException(record.exc_info))
        return orjson.dumps(entry).decode()


def use_json() -> None:
    """Let the handlers that exist write JSON, in this process."""
    for name in LOGGERS:
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(JsonFormatter())


def _encodable(text: str) -> str:
    """Escape what UTF-8 cannot express, such as parts of file names; orjson refuses it."""
    return text.encode("utf-8", "backslashreplace").decode()
