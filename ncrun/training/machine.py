"""What a run trains on: its device and threads, and what of them decides its bits."""

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from ncrun import __version__
from ncrun.errors import UserError
from ncrun.records import RunDirectory
from ncrun.run import Machine, Run
from ncrun.training.checkpoint import Search
from ncrun.training.cores import default_threads

M = TypeVar("M", bound=nn.Module)


def device_of(machine: Machine, precision: str) -> torch.device:
    """Where a run trains. Raises UserError if that is not here, or for an option that only a GPU knows."""
    available = torch.cuda.is_available()
    if machine.device == "cuda" and not available:
        raise UserError("device=cuda: PyTorch finds no CUDA device here; use device=cpu or device=auto")
    device = torch.device("cuda" if available and machine.device != "cpu" else "cpu")
    wanted = {"precision=tf32": precision == "tf32", "compile=true": machine.compile}
    wanted["cuda_graphs=true"] = machine.cuda_graphs
    for setting, on in wanted.items():
        if on and device.type != "cuda":
            raise UserError(f"{setting}: needs a CUDA device, and this run is on the CPU")
    return device


def threads_of(run: Run, before: Mapping[str, Any] | None) -> int:
    """As typed; else as before in a run that continues, for threads decide the last bits; else what this process may
    use, but free features are too small for more than one to help. before: the environment that it began in."""
    if run.machine.threads != "auto":
        return run.machine.threads
    if before is not None:
        return int(before["threads"])
    return 1 if run.is_free else default_threads()


def prepare(threads: int) -> None:
    """Let PyTorch compute the same bits again."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True


def placed(network: M, device: torch.device, dtype: torch.dtype, precision: str) -> M:
    """A network on its device. A GPU's tensor cores, which rounded products are made on, want the channels last."""
    on_tensor_cores = device.type == "cuda" and precision != "full"
    order = torch.channels_last if on_tensor_cores else torch.preserve_format
    return network.to(device=device, dtype=dtype, memory_format=order)  # type: ignore[call-overload, no-any-return]


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def facts_of(device: torch.device, threads: int) -> dict[str, Any]:
    """What the manifest says of the code and the machine."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "code": {"version": __version__, "revision": _revision()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "hydra-core")},
        },
        "device": device_name(device),
        "threads": threads,
        "host": socket.gethostname(),
        "slurm": _slurm_job(),
    }


def _slurm_job() -> dict[str, Any] | None:
    """The job that this process is in, as squeue names it (17, or of an array 17_3), its partition, and how often it
    was requeued; None outside Slurm."""
    job, array, task = (os.environ.get(f"SLURM_{name}") for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID"))
    if not job:
        return None
    return {
        "job": f"{array}_{task}" if array and task else job,
        "partition": os.environ.get("SLURM_JOB_PARTITION"),
        "restarts": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    }


def environment_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bits of a run, beside its configuration. facts: its manifest's."""
    versions = {name: facts["versions"][name] for name in ("torch", "numpy")}
    return {
        "threads": facts["threads"],
        "device": facts["device"],
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "samples": facts["index_hash"],
        "ranks": facts.get("ranks", 1),
        **versions,
    }


def tell_changes(record: RunDirectory, found: Search, now: Mapping[str, Any]) -> list[str]:
    """Say on stderr what the user should know of a run that continues; returns what its manifest is to say of it: how
    the environment differs from the one it began in."""
    if found.message:
        print(f"ncrun: {record.path}: {found.message}", file=sys.stderr)
    before = found.environment
    if before is None:
        return []
    differing = [f"{key} {now[key]} instead of {before[key]}" for key in now if now[key] != before.get(key, now[key])]
    if differing:
        print(
            f"ncrun: {record.path}: continues with {', '.join(differing)}:"
            " it will not end with the bits of a run in one go",
            file=sys.stderr,
        )
    return [*record.environment_changes, *differing]


def _revision() -> str | None:
    """The git commit of the code that runs, with "+" if it was changed since; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        ask = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
