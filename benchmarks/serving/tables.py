"""The tables of the report, in Markdown. Rows state the work of the network beside the speed."""

from collections.abc import Sequence
from typing import Final

from benchmarks.serving.peer import CPUS, Peer
from benchmarks.serving.peers import PEERS
from benchmarks.serving.results import Results, middle

OURS: Final = "ours"
BY_HAND: Final = "fastapi-openvino"
HELLO: Final = "bentoml-hello"
NONE: Final = "-"
FIGURES: Final = ("p50_ms", "p95_ms", "p99_ms", "cpu_ms")
BULK: Final = {
    "npy@4": "1,000 per request, 4 connections",
    "npy@1": "1,000 per call",
    "image@1": "1 per call",
}
MEGABYTE: Final = 1e6


def write_table(head: Sequence[str], rows: Sequence[Sequence[str]], others: str = "--:") -> str:
    """Return a Markdown table, first column left, the others right; a sentence if there are no rows."""
    if not rows:
        return "Nothing was measured."
    lines = [head, [":--", *[others] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_load(results: Results, load: str) -> str:
    """Return the table of all peers at one load: request rate, its ratio to ours, latencies, CPU, errors."""
    head = ["server", "multiply-adds", "requests/s", "times ours", "p50 ms", "p95 ms", "p99 ms"]
    rows = []
    for peer in PEERS:
        rates = results.values(peer.name, load, "requests_per_s")
        if not rates:
            continue
        figures = [show(middle(results.values(peer.name, load, name))) for name in FIGURES]
        errors = sum(results.values(peer.name, load, "errors"))
        ratio = show_ratios(results.ratios(peer.name, load, "requests_per_s"))
        row = [peer.title, _work(results, peer), show(middle(rates)), ratio, *figures, f"{errors:.0f}"]
        rows.append(row)
    return write_table([*head, "CPU ms/request", "errors"], rows)


def write_connections(results: Results) -> str:
    """Return the table of JSON loads by number of connections, for the peers measured at several."""
    rows = []
    for peer in (p for p in PEERS if len(p.connections) > 1):
        for connections in peer.connections:
            load = f"json@{connections}"
            rates = results.values(peer.name, load, "requests_per_s")
            if rates:
                figures = [show(middle(results.values(peer.name, load, name))) for name in FIGURES]
                ratios = [
                    show_ratios(results.ratios(peer.name, load, n)) for n in ("requests_per_s", "p50_ms")
                ]
                work = _work(results, peer)
                rows.append([peer.title, work, str(connections), show(middle(rates)), *figures, *ratios])
    head = ["server", "multiply-adds", "connections", "requests/s", "p50 ms", "p95 ms", "p99 ms"]
    return write_table([*head, "CPU ms/request", "requests/s, times ours", "p50, times ours"], rows)


def write_bulk(results: Results) -> str:
    """Return the table of images per second, for bulk requests and in process."""
    rows = []
    for peer in PEERS:
        for load, shape in BULK.items():
            ratios = []
            for visits in results.rounds:
                one = visits[peer.name].loads.get(load) if peer.name in visits else None
                ours = visits[OURS].loads.get("npy@4") if OURS in visits else None
                if one and ours:
                    ratios.append(one.images_per_s / ours.images_per_s)
            rates = results.values(peer.name, load, "images_per_s")
            if rates:
                each_ms = middle(results.values(peer.name, load, "cpu_ms_an_image"))
                figures = [show(middle(rates)), show_ratios(ratios), show(each_ms)]
                rows.append([peer.title, _work(results, peer), shape, *figures])
    head = ["what", "multiply-adds", "images", "images/s", "times ours", "CPU ms/image"]
    return write_table(head, rows)


def write_resources(results: Results) -> str:
    """Return the table of start times, memory, and CPU time while idle."""
    rows = []
    for peer in PEERS:
        ready_s = results.ready_s(peer.name)
        if not ready_s:
            continue
        held = results.held(peer.name)
        memory = (
            [NONE] * 4
            if held is None
            else [
                show(held.worker_bytes / MEGABYTE) if held.worker_bytes else NONE,
                show(held.tree_bytes / MEGABYTE),
                f"{held.images:,}",
                f"{held.idle_cpus:.1%}",
            ]
        )
        row = [peer.title, _work(results, peer), results.chosen.get(peer.name, NONE), show(middle(ready_s))]
        rows.append([*row, *memory])
    head = [
        "server",
        "multiply-adds",
        "processes",
        "start to ready, s",
        "worker MB",
        "all MB",
        "after images",
    ]
    return write_table([*head, "idle, % of one CPU"], rows)


def write_promises(results: Results) -> str:
    """Return the table of the service's promises about start and latency."""
    bursts = results.bursts(OURS)
    rows = []
    if bursts:
        first = sum(burst.first_status == 200 for burst in bursts)
        rows.append(["first request after readiness answered with 200", f"{first} of {len(bursts)} starts"])
        failed, sent = sum(b.errors for b in bursts), sum(b.requests for b in bursts)
        at_once = bursts[0].requests
        rows.append([f"failures of {at_once} simultaneous requests after the start", f"{failed} of {sent:,}"])
    ratios = results.ratios(OURS, "json@1", "p50_ms", to=BY_HAND)
    if ratios:
        rows.append(["p50 at one connection, relative to FastAPI with OpenVINO", show_ratios(ratios)])
    if starts := results.ready_ratios(OURS, HELLO):
        rows.append(["start to ready, relative to a hello-world Bento", show_ratios(starts)])
    return write_table(["promise", "measured"], rows)


def write_settings(results: Results) -> str:
    """Return the table of each peer's settings, the variants tried, and its versions."""
    rows = []
    for peer in (p for p in PEERS if p.name in results.chosen):
        tried = results.trials.get(peer.name, {})
        others = [f"{name}: {show(middle(rates))}/s" for name, rates in tried.items()]
        packages = results.versions.get(peer.name, {})
        shown = ", ".join(f"{name} {packages[name]}" for name in peer.packages if name in packages)
        rows.append(
            [peer.title, peer.network, results.chosen[peer.name], "; ".join(others), shown, peer.note]
        )
    head = ["server", "network", "measured with", "tried", "versions", "notes"]
    return write_table(head, rows, others=":--")


def write_missing(results: Results) -> str:
    """Return a list of the peers that were not measured, and of what failed in single rounds."""
    titles = {peer.name: peer.title for peer in PEERS}
    lines = [
        f"- **{titles.get(name, name)}** is missing: {_line(why)}" for name, why in results.missing.items()
    ]
    lines += [f"- {_line(problem)}" for problem in results.problems]
    return "\n".join(lines) or "Nothing failed, and no peer is missing."


def describe(results: Results) -> str:
    """Return date, hardware and extent of the measurement, as a sentence."""
    machine, settings = results.machine, results.settings
    cpus, rounds = machine.get("cpus", CPUS), len(results.rounds)
    return (
        f"{results.date}, {machine.get('processor')}, {cpus} CPUs, {machine.get('system')}; "
        f"{rounds} interleaved rounds of {settings.get('seconds')} s per load; medians over the rounds; "
        f"a network of {results.multiply_adds / 1e6:.1f} M multiply-adds per image."
    )


def show(value: float | None) -> str:
    """Format with three significant digits, without an exponent."""
    if value is None:
        return NONE
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def show_ratios(ratios: list[float]) -> str:
    """Format as the median, with the smallest and the largest in brackets."""
    if not ratios:
        return NONE
    return f"{show(middle(ratios))} ({show(min(ratios))} to {show(max(ratios))})"


def _work(results: Results, peer: Peer) -> str:
    return "none" if peer.network == "none" else f"{results.multiply_adds / 1e6:.1f} M"


def _line(text: str) -> str:
    """Join the text into one line of at most 300 characters."""
    return " ".join(text.split())[:300]
