"""How many threads a run has that is not told: OMP_NUM_THREADS, else the least of all that limits it."""

from pathlib import Path

import pytest
from conftest import RunOf

from ncrun.training import cores, machine

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def of_eight_cores(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN_GROUPS", tmp_path / "groups")
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "available", "threads"),
    [
        ({}, 8, 8),
        ({"SLURM_CPUS_PER_TASK": "3"}, 3, 3),
        ({"SLURM_CPUS_PER_TASK": "16"}, 8, 8),
        ({"OMP_NUM_THREADS": "2"}, 8, 2),
        ({"OMP_NUM_THREADS": "12,2"}, 8, 12),  # who says so has the say
        ({"OMP_NUM_THREADS": "2", "SLURM_CPUS_PER_TASK": "4"}, 4, 2),
        ({"OMP_NUM_THREADS": "many", "SLURM_CPUS_PER_TASK": ""}, 8, 8),
        ({"OMP_NUM_THREADS": "0"}, 8, 8),
    ],
)
def test_what_the_environment_says(
    variables: dict[str, str], available: int, threads: int, monkeypatch: Patch, run_of: RunOf
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cores.available_cores() == available
    assert machine.threads_of(run_of("model=mlp"), None) == threads
    assert machine.threads_of(run_of("model=mlp", "threads=5"), None) == 5
    assert machine.threads_of(run_of("model=mlp"), {"threads": 6}) == 6  # a run that continues keeps its bits
    assert machine.threads_of(run_of("model=ufm", "counts=[3,2]"), None) == 1


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b", {"a/cpu.max": "150000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/a/b", {"cpu.max": "400000 100000", "a/b/cpu.max": "600000 100000"}, 4),
        ("0::/of/the/host", {"cpu.max": "50000 100000"}, 1),  # as a container sees it
        ("4:memory:/x\n3:cpu,cpuacct:/y", {"cpu/y/cpu.cfs_quota_us": "300000", "cpu/y/cpu.cfs_period_us": "100000"}, 3),
        ("3:cpu,cpuacct:/y", {"cpu/y/cpu.cfs_quota_us": "-1", "cpu/y/cpu.cfs_period_us": "100000"}, 8),
        ("0::/", {}, 8),
    ],
    ids=["a part of two", "of the container", "the host's path", "version 1", "version 1 without limit", "none"],
)
def test_what_a_control_group_allows(own: str, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    (tmp_path / "groups").write_text(f"{own}\n")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{content}\n")
    assert cores.available_cores() == expected
