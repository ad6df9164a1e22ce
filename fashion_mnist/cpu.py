"""CPUs: how many this process may use, and whether they are fast in int8."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
MEMBERSHIP: Final = Path("/proc/self/cgroup")
FLAG_LINES: Final = ("flags", "Features")
INT8_FLAGS: Final = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
"""VNNI and AMX on x86-64, the dot product on Arm."""


def available_cpus() -> int:
    """Return the number of CPUs this process may use: its affinity, capped by the cgroup quota, at least 1.

    Quotas are rounded down: one thread too many is stopped for part of every period, and all others wait.
    """
    # macOS and Windows report no affinity
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *map(int, read_quotas())]))


def multiplies_bytes(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether the CPU, by its flags, multiplies int8 faster than bf16 or fp32."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return any(set(line.split()) & INT8_FLAGS for line in text.splitlines() if line.startswith(FLAG_LINES))


def read_quotas(groups: Path = CONTROL_GROUPS, membership: Path = MEMBERSHIP) -> list[float]:
    """Return the quotas that bind this process, in CPUs, from cgroup v1 and v2.

    A container sees its own group as the root, so every visible group on the path to the root counts.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux, or /proc is hidden
        return []
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers == "":
            mounts = [groups, groups / "unified"]
        elif "cpu" in names:
            mounts = [groups / controllers, groups / "cpu"]
        else:
            continue
        for mount in mounts:
            for folder in _upwards(mount, path):
                quota = _read_quota(folder)
                if quota is not None:
                    quotas.append(quota)
    return quotas


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    folder = mount / path.strip("/")
    while folder != mount:
        yield folder
        folder = folder.parent
    yield mount


def _read_quota(folder: Path) -> float | None:
    """Return how many CPUs a group may use; None if it has no limit or does not exist."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii")
        return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None
