"""A run's device and threads, and the part of them that decides its bits."""

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
    """The device of a run. Raises UserError if it does not exist, or for an option that only a GPU has."""
    available = torch.cuda.is_available()
    if machine.device == "cuda" and not available:
        raise UserError("device=cuda: PyTorch finds no CUDA device here; use device=cpu or device=auto")
    device = torch.device("cuda" if available and machine.device != "cpu" else "cpu")
    wanted = {"precision=tf32": precision == "tf32", "compile=true": machine.compile}
    wanted["cuda_graphs=true"] = machine.cuda_graphs
    for setting, on in wanted.items():
        if on and device.type != "cuda":
            raise UserError(f"{setting}: needs a CUDA device, but this run is on the CPU")
    return device


def threads_of(run: Run, before: Mapping[str, Any] | None) -> int:
    """The given threads; else, in a continued run, those from before, because they decide the last bits; else those
    that this process may use, but 1 for free features, which are too small for more. before: the environment at the
    run's start."""
    if run.machine.threads != "auto":
        return run.machine.threads
    if before is not None:
        return int(before["threads"])
    return 1 if run.is_free else default_threads()


def prepare(threads: int) -> None:
    """Makes PyTorch deterministic."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True


def placed(network: M, device: torch.device, dtype: torch.dtype, precision: str) -> M:
    """A network on its device. A GPU's tensor cores, used for rounded products, need channels last."""
    on_tensor_cores = device.type == "cuda" and precision != "full"
    order = torch.channels_last if on_tensor_cores else torch.preserve_format
    return network.to(device=device, dtype=dtype, memory_format=order)  # type: ignore[call-overload, no-any-return]


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def facts_of(device: torch.device, threads: int) -> dict[str, Any]:
    """The manifest's entries about the code and the machine."""
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
    """The Slurm job of this process as in squeue (17, or 17_3 in an array), its partition, and how often it was
    requeued; None outside Slurm."""
    job, array, task = (os.environ.get(f"SLURM_{name}") for name in ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID"))
    if not job:
        return None
    return {
        "job": f"{array}_{task}" if array and task else job,
        "partition": os.environ.get("SLURM_JOB_PARTITION"),
        "restarts": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    }


def environment_of(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bits of a run besides its configuration. facts: from its manifest."""
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
    """Prints on stderr what the user should know about a continued run; returns the manifest's entries about it: the
    differences from the environment at its start."""
    if found.message:
        print(f"ncrun: {record.path}: {found.message}", file=sys.stderr)
    before = found.environment
    if before is None:
        return []
    differing = [f"{key} {now[key]} instead of {before[key]}" for key in now if now[key] != before.get(key, now[key])]
    if differing:
        print(
            f"ncrun: {record.path}: continues with {', '.join(differing)}:"
            " its last bits will differ from those of an uninterrupted run",
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
