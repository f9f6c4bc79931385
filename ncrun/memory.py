"""The memory of this machine."""

import os
from pathlib import Path

# The memory limit of a container, in both versions of control groups.
GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_memory() -> int:
    """In bytes, used or free: other processes may return theirs."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in GROUPS:
        try:
            sizes.append(int(path.read_text()))
        except (OSError, ValueError):  # there is no limit, or it is "max"
            continue
    return min(sizes)
