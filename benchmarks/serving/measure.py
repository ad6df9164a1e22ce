"""Measure in rounds over all peers: start, check, load and stop one after the other.

Servers start and stop in each round instead of running throughout, because an idle server also uses CPU time
(the report says how much). Each round therefore measures the start as well.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving import load, server
from benchmarks.serving.check import Reference, check_answers
from benchmarks.serving.errors import BenchmarkError
from benchmarks.serving.load import Traffic
from benchmarks.serving.peer import LOCAL, ROOT, Peer, Variant
from benchmarks.serving.results import Burst, Held, Load, Results, Visit
from benchmarks.serving.server import Server

CONNECTIONS: Final = 32
BULK_CONNECTIONS: Final = 4
BODIES: Final = 256
"""Different bodies that a load sends in turn."""
BURST: Final = 512
WARM_UP_S: Final = 1
IDLE_S: Final = 2
OURS: Final = "ours"

Save = Callable[[Results], None]


@dataclass(frozen=True)
class Plan:
    """The parameters of a run.

    images: uint8 (n, H, W), to send. held_images: number of images sent before memory is measured.
    pythons: peer name -> interpreter.
    """

    peers: Sequence[Peer]
    pythons: Mapping[str, Path]
    images: NDArray[np.uint8]
    reference: Reference
    rounds: int
    seconds: int
    trials: int
    bulk_images: int
    held_images: int


def run(plan: Plan, results: Results, save: Save, tell: Callable[[str], None]) -> None:
    """Choose a variant of each peer, then measure all peers round by round; save after each visit."""
    with tempfile.TemporaryDirectory(prefix="fashion-mnist-bench-") as folder:
        variants = _choose_variants(plan, results, Path(folder), tell)
        save(results)
        peers = [peer for peer in plan.peers if peer.name in variants]
        begin, total = time.monotonic(), plan.rounds * len(peers)
        for number in range(plan.rounds):
            results.rounds.append({})
            for place, peer in enumerate(peers):
                done = number * len(peers) + place
                rest_s = (time.monotonic() - begin) / done * (total - done) if done else None
                rest = "" if rest_s is None else f", {rest_s / 60:.1f} min left"
                tell(f"round {number + 1} of {plan.rounds}: {peer.name}{rest}")
                try:
                    visit = _visit(plan, peer, variants[peer.name], Path(folder), held=number == 0)
                except BenchmarkError as error:
                    results.problems.append(f"round {number + 1}, {peer.name}: {error}")
                    tell(f"  failed: {error}")
                else:
                    results.rounds[-1][peer.name] = visit
                    tell(f"  {_tell(visit)}")
                save(results)


def _choose_variants(
    plan: Plan, results: Results, folder: Path, tell: Callable[[str], None]
) -> dict[str, Variant]:
    """Return the variant of each peer with the highest median request rate over interleaved trials.

    A variant that does not start or answers wrongly is recorded as a problem; a peer without a working one
    is missing.
    """
    chosen: dict[str, Variant] = {}
    for peer in plan.peers:
        variants = list(dict.fromkeys(peer.variants))  # on one CPU, some are equal
        if len(variants) > 1:
            tell(f"choosing for {peer.name}: {' or '.join(map(str, variants))}")
            trials: dict[Variant, list[float]] = {variant: [] for variant in variants}
            failure = ""
            for _ in range(plan.trials):
                for variant in variants:
                    try:
                        trials[variant].append(_try(plan, peer, variant, folder))
                    except BenchmarkError as error:
                        failure = f"{peer.name}, {variant}: {error}"
                        results.problems.append(f"trial of {failure}")
                        tell(f"  failed: {failure}")
            variants = [variant for variant in variants if trials[variant]]
            if not variants:
                results.missing[peer.name] = failure
                continue
            variants.sort(key=lambda variant: median(trials[variant]), reverse=True)
            results.trials[peer.name] = {str(variant): rates for variant, rates in trials.items()}
        chosen[peer.name] = variants[0]
        results.chosen[peer.name] = str(variants[0])
    return chosen


def _try(plan: Plan, peer: Peer, variant: Variant, folder: Path) -> float:
    with server.start(peer, variant, plan.pythons[peer.name], folder) as running:
        _check(plan, peer, running)
        _warm_up(plan, peer, running)
        return _measure(plan, peer, running, "json", CONNECTIONS).requests_per_s


def _visit(plan: Plan, peer: Peer, variant: Variant, folder: Path, held: bool) -> Visit:
    """Measure one peer in one round. held: measure memory and idle CPU time too."""
    if not peer.is_server:
        return _run_in_process(plan, peer, variant, folder)
    with server.start(peer, variant, plan.pythons[peer.name], folder) as running:
        visit = Visit(ready_s=running.ready_s)
        if peer.name == OURS:
            visit.burst = _burst(plan, peer, running)
        if not peer.forms:  # only its start is measured
            return visit
        _check(plan, peer, running)
        _warm_up(plan, peer, running)
        for kind, connections in _loads(peer):
            visit.loads[f"{kind}@{connections}"] = _measure(plan, peer, running, kind, connections)
        if held:
            visit.held = _hold(plan, peer, running)
        return visit


def _loads(peer: Peer) -> list[tuple[str, int]]:
    """Return the loads to measure, as (kind, connections)."""
    loads = [("json", connections) for connections in peer.connections]
    loads += [("png", CONNECTIONS)] if "png" in peer.forms else []
    loads += [("npy", BULK_CONNECTIONS)] if "npy" in peer.forms else []
    return loads


def _check(plan: Plan, peer: Peer, running: Server) -> None:
    for kind, form in peer.forms.items():
        check_answers(running.url, form, kind, plan.reference)


def _warm_up(plan: Plan, peer: Peer, running: Server) -> None:
    for kind in (kind for kind in ("json", "png") if kind in peer.forms):
        _generate(plan, peer, running, kind, CONNECTIONS, WARM_UP_S)


def _generate(plan: Plan, peer: Peer, running: Server, kind: str, connections: int, seconds: int) -> Traffic:
    form = peer.forms[kind]
    url = running.url + form.path
    if kind == "npy":
        body = form.write(plan.images[: plan.bulk_images])
        return load.post_for(url, form.content_type, body, connections, seconds)
    bodies = _bodies(plan, peer, kind, BODIES)
    return load.run_wrk(url, form.content_type, bodies, connections, seconds)


def _bodies(plan: Plan, peer: Peer, kind: str, count: int) -> list[bytes]:
    """Return `count` bodies of one image each, repeating the images if there are fewer."""
    images = plan.images
    return [peer.forms[kind].write(images[i % len(images)][np.newaxis]) for i in range(count)]


def _measure(plan: Plan, peer: Peer, running: Server, kind: str, connections: int) -> Load:
    before_s = running.cpu_s()
    traffic = _generate(plan, peer, running, kind, connections, plan.seconds)
    spent_s = running.cpu_s() - before_s
    return Load(
        requests=traffic.requests,
        requests_per_s=traffic.requests / traffic.elapsed_s,
        p50_ms=traffic.p50_ms,
        p95_ms=traffic.p95_ms,
        p99_ms=traffic.p99_ms,
        cpu_ms=spent_s * 1000 / traffic.requests if traffic.requests else None,
        errors=traffic.errors,
        images=plan.bulk_images if kind == "npy" else 1,
    )


def _burst(plan: Plan, peer: Peer, running: Server) -> Burst:
    """Send the first request after the start, then many at once."""
    form = peer.forms["json"]
    bodies = _bodies(plan, peer, "json", BURST)
    headers = {"Content-Type": form.content_type}
    try:
        first = httpx.post(running.url + form.path, content=bodies[0], headers=headers, trust_env=False)
        errors = load.post_at_once(LOCAL, running.port, form.path, form.content_type, bodies)
    except (httpx.TransportError, OSError, TimeoutError) as error:
        raise BenchmarkError(f"the burst after the start failed: {error!r}") from error
    return Burst(first_status=first.status_code, requests=BURST, errors=errors)


def _hold(plan: Plan, peer: Peer, running: Server) -> Held:
    """Measure memory after many images, then the CPU time of the idle server."""
    form, bodies = peer.forms["json"], _bodies(plan, peer, "json", plan.held_images)
    errors = load.post_all(running.url + form.path, form.content_type, bodies, CONNECTIONS)
    memory = running.memory()
    begin, before_s = time.perf_counter(), running.cpu_s()
    time.sleep(IDLE_S)  # the measured window
    idle = (running.cpu_s() - before_s) / (time.perf_counter() - begin)
    return Held(
        images=plan.held_images,
        errors=errors,
        worker_bytes=memory.worker_bytes,
        tree_bytes=memory.tree_bytes,
        idle_cpus=idle,
    )


def _run_in_process(plan: Plan, peer: Peer, variant: Variant, folder: Path) -> Visit:
    """Run a program that measures itself and prints its loads as JSON."""
    ports = server.free_ports(len(server.PORTS))
    launch = server.fill_in(peer, variant, plan.pythons[peer.name], ports, folder)
    command = [*launch.command, str(plan.seconds)]
    done = subprocess.run(
        command, cwd=ROOT, env=launch.environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{peer.name} failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return Visit(loads={name: Load.model_validate(values) for name, values in found.items()})


def _tell(visit: Visit) -> str:
    """Summarize a visit in one line."""
    parts = [] if visit.ready_s is None else [f"ready in {visit.ready_s:.1f} s"]
    parts += [f"{name} {one.requests_per_s:.0f}/s" for name, one in visit.loads.items()]
    errors = sum(one.errors for one in visit.loads.values())
    return ", ".join([*parts, f"{errors} errors"])
