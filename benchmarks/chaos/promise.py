"""What was promised, and what was seen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """One row of the table."""

    done: str
    promised: str
    seen: str
    kept: bool
