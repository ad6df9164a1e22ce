"""Results as stored in JSON, with their medians and ratios."""

from pathlib import Path
from statistics import median
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Load(BaseModel):
    """One load on one server. requests_per_s: answered with a success status.

    Latencies are per request. cpu_ms: CPU time of the server per request; None if none was answered.
    images: in each request.
    """

    model_config = ConfigDict(frozen=True)

    requests: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float | None
    errors: int = 0
    images: int = 1

    @property
    def images_per_s(self) -> float:
        """Images answered per second."""
        return self.requests_per_s * self.images

    @property
    def cpu_ms_an_image(self) -> float | None:
        """CPU time of the server per image."""
        return None if self.cpu_ms is None else self.cpu_ms / self.images


class Burst(BaseModel):
    """Right after the start: the status of the first request, and how many of a burst failed."""

    model_config = ConfigDict(frozen=True)

    first_status: int
    requests: int
    errors: int


class Held(BaseModel):
    """Memory after `images` images. idle_cpus: CPU time used per second while idle."""

    model_config = ConfigDict(frozen=True)

    images: int
    errors: int
    worker_bytes: int
    tree_bytes: int
    idle_cpus: float


class Visit(BaseModel):
    """One peer in one round. loads: by `kind@connections`. ready_s: None if the peer is not a server."""

    ready_s: float | None = None
    loads: dict[str, Load] = {}
    burst: Burst | None = None
    held: Held | None = None


class Results(BaseModel):
    """A run of the benchmark.

    trials: peer -> variant -> requests per second in each trial. chosen: peer -> the variant measured.
    rounds: peer -> visit, for each round. missing: peer -> why it was not measured. problems: what failed
    in single trials and rounds.
    """

    date: str
    machine: dict[str, Any]
    settings: dict[str, Any]
    multiply_adds: int
    versions: dict[str, dict[str, str]] = {}
    missing: dict[str, str] = {}
    problems: list[str] = []
    chosen: dict[str, str] = {}
    trials: dict[str, dict[str, list[float]]] = {}
    rounds: list[dict[str, Visit]] = []

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        return cls.model_validate_json(path.read_bytes())

    def save(self, path: Path) -> None:
        """Write the file completely or not at all: a run may be stopped at any time."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        new.replace(path)

    def values(self, peer: str, load: str, name: str) -> list[float]:
        """Return one figure of a load, for each round that has it."""
        return [value for _, value in self._by_round(peer, load, name)]

    def ratios(self, peer: str, load: str, name: str, to: str = "ours") -> list[float]:
        """Return a peer's figure divided by another's in the same round, for each round that has both."""
        others = dict(self._by_round(to, load, name))
        pairs = [(value, others.get(number)) for number, value in self._by_round(peer, load, name)]
        return [value / other for value, other in pairs if other]

    def ready_s(self, peer: str) -> list[float]:
        """Return the time from start to ready in each round."""
        visits = [one[peer] for one in self.rounds if peer in one]
        return [visit.ready_s for visit in visits if visit.ready_s is not None]

    def ready_ratios(self, peer: str, to: str) -> list[float]:
        """Return the time from start to ready divided by another peer's, for each round that has both."""
        pairs = [(one[peer].ready_s, one[to].ready_s) for one in self.rounds if {peer, to} <= one.keys()]
        return [value / other for value, other in pairs if value and other]

    def held(self, peer: str) -> Held | None:
        """Return the memory from the round that measured it."""
        return next((v.held for one in self.rounds if (v := one.get(peer)) and v.held), None)

    def bursts(self, peer: str) -> list[Burst]:
        """Return the burst after each start."""
        return [v.burst for one in self.rounds if (v := one.get(peer)) and v.burst]

    def _by_round(self, peer: str, load: str, name: str) -> list[tuple[int, float]]:
        found = []
        for number, visits in enumerate(self.rounds):
            measured = visits[peer].loads.get(load) if peer in visits else None
            value = getattr(measured, name) if measured else None
            if value is not None:
                found.append((number, value))
        return found


def middle(values: list[float]) -> float | None:
    """Return the median, or None of an empty list."""
    return median(values) if values else None
