"""`ncrun train`: from a validated configuration to a finished run directory."""

import os
import platform
import signal
import subprocess
import sys
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ncrun import __version__
from ncrun.config import RunConfig, data_directory
from ncrun.data.load import load_run_data, read_splits
from ncrun.errors import UserError
from ncrun.models import build
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.records.summary import describe
from ncrun.theory import predict
from ncrun.theory.report import as_json
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator
from ncrun.training.loop import Diverged, Interrupted, fit

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def train(run: RunConfig) -> int:
    """Train one run, or continue it; returns the exit status. Raises UserError before anything is written."""
    record = RunDirectory(run.directory())
    if record.state(run) == "done":
        print(f"{record.path}: finished already; nothing to do")
        return 0
    device = _device(run.device)
    threads = len(os.sched_getaffinity(0)) if run.threads == "auto" else run.threads
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    dtype = getattr(torch, run.dtype)
    counts = run.class_counts()
    data = load_run_data(run.dataset.name, counts, run.subset, run.seed, data_directory(run), device, dtype)
    torch.manual_seed(run.seed)
    try:
        network = build(run).to(device=device, dtype=dtype)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise UserError(f"model={run.model.name}: does not fit into memory at these widths") from error
    objective = Objective(run.loss, run.decay.mode, run.weight_decays(), run.decay.feature, run.num_samples)
    geometry = predict(run.setting())
    theory = as_json(geometry)
    if not record.open(run, theory, _facts(run, data.index_hash, device, threads, network)):
        print(f"{record.path}: finished meanwhile by another process; nothing to do")
        return 0
    stop = _StopSignals()
    try:
        with stop, Display(record.path.name, run.epochs, run.progress) as display:
            evaluator = Evaluator(data, objective, geometry)
            progress, row = fit(run, network, data, objective, evaluator, record, display, lambda: stop.received)
        summary = describe(row, theory)
    except Interrupted:
        record.close(state="interrupted")
        print(f"{record.path}: interrupted; the same command continues it", file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:  # a second Ctrl-C: stop at once, from the last checkpoint
        record.close(state="interrupted")
        return 128 + signal.SIGINT
    except Diverged as error:
        record.close(state="failed", reason=str(error))
        print(f"ncrun: {record.path}: {error}", file=sys.stderr)
        return 1
    except BaseException as error:
        record.close(state="failed", reason=f"{type(error).__name__}: {error}")
        raise
    record.close(
        state="done",
        finished=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        wall_seconds=round(progress.seconds, 2),
        measuring_share=round(progress.measuring_seconds / max(progress.seconds, 1e-9), 4),
        summary=summary,
    )
    _draw(record)
    print(f"{record.path}: {summary}")
    return 0


def preflight(run: RunConfig) -> None:
    """What `train` would refuse in this run beyond its configuration: device, run directory and data. Raises UserError.

    A sweep asks this of all its jobs before the first one starts.
    """
    _device(run.device)
    RunDirectory(run.directory()).state(run)
    _readable(run.dataset.name, data_directory(run))


@cache
def _readable(dataset: str, folder: Path) -> None:
    read_splits(dataset, folder)


class _StopSignals:
    """Notes a first SIGINT or SIGTERM so that the loop can stop after its step; a second one stops at once."""

    def __init__(self) -> None:
        self.number = 0

    @property
    def received(self) -> bool:
        return self.number != 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for each in STOP_SIGNALS:
            signal.signal(each, self._previous[each])

    def __enter__(self) -> "_StopSignals":
        self._previous = {each: signal.signal(each, self._handle) for each in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for each, previous in self._previous.items():
            signal.signal(each, previous)


def _device(wanted: str) -> torch.device:
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise UserError("device=cuda: PyTorch finds no CUDA device here; use device=cpu or device=auto")
    return torch.device("cuda" if available and wanted != "cpu" else "cpu")


def _facts(
    run: RunConfig, index_hash: str, device: torch.device, threads: int, network: torch.nn.Module
) -> dict[str, Any]:
    """What the manifest says of a run before it starts."""
    return {
        "experiment": run.experiment,
        "scale": run.scale,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "code": {"version": __version__, "revision": _revision()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "hydra-core")},
        },
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": threads,
        "dataset": run.dataset.name,
        "class_counts": run.class_counts(),
        "num_samples": run.num_samples,
        "index_hash": index_hash,
        "effective_decays": {"weight": list(run.weight_decays()), "feature": run.decay.feature},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


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


def _draw(record: RunDirectory) -> None:
    """curves.png, in a process of its own: drawing needs no torch, and its failure must not touch the run."""
    drawing = [sys.executable, "-m", "ncrun.figures.curves", str(record.path)]
    done = subprocess.run(drawing, capture_output=True, text=True, check=False)
    if done.returncode:
        print(
            f"{record.path}: curves.png was not drawn: {done.stderr.strip().splitlines()[-1:]}",
            file=sys.stderr,
        )
