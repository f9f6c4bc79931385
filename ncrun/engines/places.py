"""What each of several workers has of this machine: its share of the cores, and where there are several GPUs one of
them."""

import os
from collections.abc import Sequence
from pathlib import Path

from ncrun.run import Job
from ncrun.training.cores import available_cores, typed_threads

# Where NVIDIA's driver is at work.
DRIVER = Path("/dev/nvidiactl")


def places(jobs: Sequence[Job], wanted: int) -> list[dict[str, str]]:
    """The environment of each worker, no more of them than jobs. wanted: so many workers; 0: one for each of several
    GPUs, or else for each core.

    Runs that do not say how many threads they want take OMP_NUM_THREADS.
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
    """As CUDA_VISIBLE_DEVICES calls each GPU that PyTorch finds here."""
    if not DRIVER.exists():
        return []
    import torch

    number = torch.cuda.device_count()
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    return said.split(",")[:number] if said is not None else list(map(str, range(number)))
