"""How much memory there is."""

import os
from pathlib import Path

# The limit of the container that a process may be in: of the two versions of control groups.
GROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_memory() -> int:
    """In bytes, used or not: what others use may be given back."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in GROUPS:
        try:
            sizes.append(int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it is no number: "max"
            continue
    return min(sizes)
