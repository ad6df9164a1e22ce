"""CPUs: affinity, cgroup quotas and flags, as the kernel reports them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fashion_mnist.cpu import available_cpus, multiplies_bytes, read_quotas

CPU_V1 = Path("/sys/fs/cgroup/cpu")


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def member(folder: Path, text: str) -> Path:
    path = folder / "membership"
    path.write_text(text)
    return path


def test_cgroup_v2_counts_every_group_up_to_the_root(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    group(groups / "a.slice" / "b", cpu__max="150000 100000")
    group(groups / "a.slice", cpu__max="max 100000")
    group(groups, cpu__max="400000 100000")
    assert read_quotas(groups, member(tmp_path, "0::/a.slice/b\n")) == [1.5, 4.0]


def test_in_a_cgroup_v1_container_the_mount_is_its_own_group(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    group(groups / "cpu,cpuacct", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    text = "5:memory:/docker/1f2e\n4:cpu,cpuacct:/docker/1f2e\n0::/\n"
    assert read_quotas(groups, member(tmp_path, text)) == [2.5]


@pytest.mark.parametrize(("quota", "period"), [("-1", "100000"), ("", ""), ("100", "0x"), ("max", "1")])
def test_an_unlimited_or_unreadable_quota_is_ignored(tmp_path: Path, quota: str, period: str) -> None:
    groups = tmp_path / "groups"
    group(groups / "cpu", cpu__cfs_quota_us=quota, cpu__cfs_period_us=period)
    assert read_quotas(groups, member(tmp_path, "1:cpu:/\n")) == []


def test_without_cgroups_there_is_no_quota(tmp_path: Path) -> None:
    assert read_quotas(tmp_path, tmp_path / "missing") == []
    assert read_quotas(tmp_path, member(tmp_path, "0::/somewhere\n")) == []


def test_without_affinity_all_cpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cpus() == 1


def test_the_affinity_is_respected() -> None:
    code = "import os; from fashion_mnist.cpu import available_cpus; print(available_cpus())"
    one = {min(os.sched_getaffinity(0))}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, one),
    )  # fmt: skip
    assert int(done.stdout) == 1 <= available_cpus()


@pytest.mark.skipif(
    not (os.access(CPU_V1 / "tasks", os.W_OK) and len(os.sched_getaffinity(0)) > 1),
    reason="needs write access to cgroup v1, and two CPUs",
)
def test_a_real_cgroup_limits_the_cpus(tmp_path: Path) -> None:
    folder = CPU_V1 / f"fashion-mnist-test-{os.getpid()}"
    folder.mkdir()
    try:
        (folder / "cpu.cfs_quota_us").write_text("120000")
        code = (
            f"import os; open({str(folder / 'tasks')!r}, 'w').write(str(os.getpid()))\n"
            "from fashion_mnist.cpu import available_cpus; print(available_cpus())"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert int(done.stdout) == 1
    finally:
        folder.rmdir()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags\t\t: fpu avx2 avx_vnni\n", True),
        ("Features\t: fp asimd asimddp\n", True),
        ("flags\t\t: fpu avx2 avx512f\nmodel name: avx512_vnni\n", False),
    ],
)
def test_cpus_with_fast_int8_are_recognised_by_their_flags(tmp_path: Path, text: str, expected: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    assert multiplies_bytes(path) is expected
    assert multiplies_bytes(tmp_path / "missing") is False
