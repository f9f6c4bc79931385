"""The number of cores that the system, a container, Slurm or the user allows this process."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
# This process' path in each hierarchy of control groups.
OWN_GROUPS = Path("/proc/self/cgroup")


def default_threads() -> int:
    """The threads of a training with threads=auto: OMP_NUM_THREADS if it is set, else all cores of this process."""
    return typed_threads() or available_cores()


def typed_threads() -> int | None:
    """OMP_NUM_THREADS, the first of a list of levels; None if it is not set or not a number above 0."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def available_cores() -> int:
    """The cores on which this process may run, or fewer if a control group (of a container or a service) or Slurm
    (SLURM_CPUS_PER_TASK) limits it."""
    # Only Linux has this call.
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [float(allowed), *_quotas()]
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdecimal() and int(slurm) > 0:
        shares.append(float(slurm))
    return max(1, math.ceil(min(shares)))


def _quotas() -> Iterator[float]:
    """Processor time per wall time, for every control group above this process that limits it."""
    try:
        lines = OWN_GROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            root, read = CGROUPS, _quota
        elif "cpu" in controllers.split(","):
            root, read = CGROUPS / "cpu", _older_quota
        else:
            continue
        # In a container the path may be the host's, although only the root is visible.
        parts = Path(path.lstrip("/")).parts
        for depth in range(len(parts) + 1):
            quota = read(root.joinpath(*parts[:depth]))
            if quota is not None:
                yield quota


def _quota(group: Path) -> float | None:
    return _ratio(_words(group / "cpu.max"))


def _older_quota(group: Path) -> float | None:
    return _ratio([*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _ratio(words: list[str]) -> float | None:
    """Quota over period, both in microseconds; None if there is no limit ("max", -1) or no such file."""
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    quota, period = map(int, words)
    return quota / period if quota and period else None
