"""The plots of the report. Points are medians over the rounds; whiskers span the smallest to the largest."""

from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.serving.peer import DEEP, Peer
from benchmarks.serving.peers import PEERS
from benchmarks.serving.results import Results, middle

OURS: Final = "ours"
OURS_COLOR: Final = "tab:orange"
OTHER_COLOR: Final = "tab:blue"
OTHER_COLORS: Final = ("tab:blue", "tab:green", "tab:purple", "tab:brown")


def plot_servers(results: Results) -> Figure:
    """Plot requests per second, latencies and CPU time at 32 connections, JSON pixels."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    rate, latency, cpu = figure.subplots(1, 3, sharey=True)
    peers = [peer for peer in PEERS if results.values(peer.name, "json@32", "requests_per_s")]
    peers.sort(key=lambda peer: middle(results.values(peer.name, "json@32", "requests_per_s")) or 0)
    _points(rate, results, peers, "requests_per_s")
    _points(latency, results, peers, "p50_ms")
    for place, peer in enumerate(peers):  # a stroke at the p99, next to the p50's point
        p99_ms = middle(results.values(peer.name, "json@32", "p99_ms"))
        latency.plot([p99_ms], [place], marker="|", markersize=14, color="black", linestyle="")
    _points(cpu, results, peers, "cpu_ms")
    rate.set_yticks(range(len(peers)), [peer.title for peer in peers])
    rate.set(xlabel="requests per second", xscale="log")
    latency.set(xlabel="latency, ms: p50 (point), p99 (stroke)", xscale="log")
    cpu.set(xlabel="server CPU, ms per request", xlim=(0, None))
    figure.suptitle(_title(results, "JSON pixels, 32 connections"), fontsize=10)
    return figure


def plot_connections(results: Results) -> Figure:
    """Plot requests per second and p50 by connections, for the peers measured at several."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    rate, latency = figure.subplots(1, 2)
    others = iter(OTHER_COLORS)
    for peer in (p for p in PEERS if len(p.connections) > 1):
        color = OURS_COLOR if peer.name == OURS else next(others)
        measured = [c for c in peer.connections if results.values(peer.name, f"json@{c}", "p50_ms")]
        for axes, name in ((rate, "requests_per_s"), (latency, "p50_ms")):
            values = [middle(results.values(peer.name, f"json@{c}", name)) for c in measured]
            axes.plot(measured, values, marker="o", color=color, label=peer.title)
    for axes, label in ((rate, "requests per second"), (latency, "p50, ms")):
        axes.set(xlabel="connections", ylabel=label, xscale="log", yscale="log")
        axes.set_xticks(DEEP, [str(c) for c in DEEP])
        axes.grid(alpha=0.3, which="both")
    if rate.lines:
        rate.legend()
    figure.suptitle(_title(results, "JSON pixels"), fontsize=10)
    return figure


def _points(axes: Axes, results: Results, peers: list[Peer], name: str) -> None:
    for place, peer in enumerate(peers):
        values = results.values(peer.name, "json@32", name)
        middling = middle(values)
        if middling is None:
            continue
        spread = [[middling - min(values)], [max(values) - middling]]
        color = OURS_COLOR if peer.name == OURS else OTHER_COLOR
        axes.errorbar(middling, place, xerr=spread, fmt="o", color=color, ecolor="gray", capsize=3)
    axes.grid(alpha=0.3)


def _title(results: Results, what: str) -> str:
    """Return a title: `what`, the work of the network, the hardware and n."""
    return (
        f"{what}; network of {results.multiply_adds / 1e6:.1f} M multiply-adds; "
        f"{results.machine.get('processor')}, {results.machine.get('cpus')} CPUs; "
        f"n = {len(results.rounds)} rounds; {results.date}"
    )
