"""Each worker's share of this machine: some of the cores, and one GPU if there are several."""

import os
from collections.abc import Sequence
from pathlib import Path

from ncrun.run import Job
from ncrun.training.cores import available_cores, typed_threads

# Exists if NVIDIA's driver is loaded.
DRIVER = Path("/dev/nvidiactl")


def places(jobs: Sequence[Job], wanted: int) -> list[dict[str, str]]:
    """The environment of each worker, at most one for each job. wanted: number of workers; 0: one for each GPU if there
    are several, else for each core.

    Runs with threads=auto use OMP_NUM_THREADS.
    """
    gpus = visible_gpus() if any(run.machine.device != "cpu" for job in jobs for run in job.runs) else []
    cores = available_cores()
    number = min(len(jobs), wanted or (len(gpus) if len(gpus) > 1 else cores))
    share = max(1, cores // number)
    threads = min(share, typed_threads() or share)
    found = [{"OMP_NUM_THREADS": str(threads)} for _ in range(number)]
    if len(gpus) > 1:
        for index, environment in enumerate(found):
            environment["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
    return found


def visible_gpus() -> list[str]:
    """The name in CUDA_VISIBLE_DEVICES of each GPU that PyTorch finds."""
    if not DRIVER.exists():
        return []
    import torch

    number = torch.cuda.device_count()
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    return said.split(",")[:number] if said is not None else list(map(str, range(number)))
