"""`ncrun train`: from a validated configuration to a finished run directory."""

import os
import platform
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ncrun import __version__
from ncrun.config import LBFGSConfig, RunConfig, data_directory, nearest
from ncrun.data.load import RunData, check_run_data, free_feature_data, load_run_data
from ncrun.errors import UserError
from ncrun.models import FreeFeatures, Network, build
from ncrun.models.taps import layer_names
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.records.files import write_json
from ncrun.records.summary import describe
from ncrun.records.verdict import judge
from ncrun.theory import predict
from ncrun.theory.report import as_json
from ncrun.training import checkpoint
from ncrun.training.checkpoint import Progress
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator
from ncrun.training.logbook import Diverged
from ncrun.training.loop import Interrupted, fit
from ncrun.training.saving import CommonCheckpoint
from ncrun.training.settle import settle

# K x K matrices of more classes than this are not written out: geometry.json would take megabytes.
MOST_CLASSES_WRITTEN = 200
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def train(run: RunConfig) -> int:
    """Train one run, or continue it; returns the exit status. Raises UserError before anything is written.

    With restarts it trains them all in one program; the run's own directory then holds a summary and their common
    checkpoint, and each start has a directory of an ordinary run in it.
    """
    whole = RunDirectory(run.directory(), run.manifest_name)
    if whole.state(run) == "done":
        print(f"{whole.path}: finished already; nothing to do")
        return 0
    singles = [run.single(restart) for restart in range(run.restarts)] if run.restarts > 1 else [run]
    records = [RunDirectory(single.directory()) for single in singles] if run.restarts > 1 else [whole]
    device = _device(run.device)
    _check_device_options(run, device)
    threads = _threads(run)
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    dtype = getattr(torch, run.dtype or "float32")
    data = _load(run, device, dtype)
    torch.manual_seed(run.seed)
    try:
        network = build(run).to(device=device, dtype=dtype)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise UserError(f"model={run.model.name}: does not fit into memory at these widths") from error
    _check_taps(run, network)
    objective = _objective(run)
    geometry = predict(run.setting())
    theory = as_json(geometry)
    facts = _facts(run, data.index_hash, device, threads, network)
    if not whole.open(run, theory, facts):
        print(f"{whole.path}: finished meanwhile by another process; nothing to do")
        return 0
    if run.restarts > 1:
        for single, record in zip(singles, records, strict=True):
            record.open(single, theory, facts, reopen=True)
    stop = _StopSignals()
    epochs = len(run.path) if run.path is not None else run.epochs
    assert epochs is not None
    try:
        with stop, Display(whole.path.name, epochs, run.progress) as display:
            evaluator = Evaluator(data, objective, geometry, run.taps)
            watched = (display, lambda: stop.received)
            if isinstance(run.optimizer, LBFGSConfig):
                assert isinstance(network, FreeFeatures)
                progress = settle(run, network, data, objective, evaluator, records, whole.checkpoint, *watched)
            else:
                evaluators, saved = [evaluator] * run.restarts, CommonCheckpoint(whole.checkpoint)
                progress = fit(singles, network, evaluators, records, saved, *watched)
        finished = _finish(run, network, evaluator, whole, records, progress, theory)
    except Interrupted:
        _close(whole, records, state="interrupted")
        print(f"{whole.path}: interrupted; the same command continues it", file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:  # a second Ctrl-C: stop at once, from the last checkpoint
        _close(whole, records, state="interrupted")
        return 128 + signal.SIGINT
    except Diverged as error:
        _close(whole, records, state="failed", reason=str(error))
        print(f"ncrun: {whole.path}: {error}", file=sys.stderr)
        return 1
    except BaseException as error:
        _close(whole, records, state="failed", reason=f"{type(error).__name__}: {error}")
        raise
    _draw(finished)
    for record in dict.fromkeys([*finished, whole]):
        print(f"{record.path}: {record.summary}")
    return 0


def _close(whole: RunDirectory, records: Sequence[RunDirectory], **changes: Any) -> None:
    """End all records alike; `whole` is one of them, or the directory that they lie in."""
    for record in {id(record): record for record in (*records, whole)}.values():
        record.close(**changes)


def _finish(
    run: RunConfig,
    network: Network | FreeFeatures,
    evaluator: Evaluator,
    whole: RunDirectory,
    records: Sequence[RunDirectory],
    progress: Progress,
    theory: dict[str, Any],
) -> list[RunDirectory]:
    """Close every record with its summary; returns those of the starts that did not diverge."""
    spent = time_spent(progress)
    outcomes: list[dict[str, Any]] = []
    finished = []
    for index, record in enumerate(records):
        if index in progress.failures:
            record.close(state="failed", reason=progress.failures[index])
            outcomes.append({"run": record.path.name, "state": "failed", "summary": progress.failures[index]})
            continue
        ending = outcome(run, network.member(index), evaluator, record, theory)
        if record is not whole:
            checkpoint.save(record.checkpoint, network.member(index), None, None, progress, [record.metrics_size()])
        record.close(state="done", **spent, **ending)
        outcomes.append({"run": record.path.name, "state": "done", "loss": record.last_row()["loss"], **ending})
        finished.append(record)
    if run.restarts > 1:
        words = Counter(outcome["verdict"]["word"] for outcome in outcomes if "verdict" in outcome)
        if progress.failures:
            words["diverged"] = len(progress.failures)
        counted = ", ".join(f"{count} {word}" for word, count in words.most_common())
        whole.close(state="done", **spent, summary=f"{run.restarts} restarts: {counted}", runs=outcomes)
    return finished


def time_spent(progress: Progress) -> dict[str, Any]:
    """What the manifest of a finished run says of its time."""
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": round(progress.seconds, 2),
        "measuring_share": round(progress.measuring_seconds / max(progress.seconds, 1e-9), 4),
    }


def outcome(
    run: RunConfig,
    network: Network | FreeFeatures,
    evaluator: Evaluator,
    record: RunDirectory,
    theory: dict[str, Any],
) -> dict[str, Any]:
    """What the manifest of a finished run says of its result; writes geometry.json."""
    row = record.last_row()
    ending: dict[str, Any] = {"summary": describe(row, theory)}
    if run.path is not None:
        ending["summary"] = f"settled at {len(run.path)} decays, one after the other"
    elif run.is_free:
        verdict = judge(row, theory)
        ending["verdict"] = asdict(verdict)
        ending["summary"] = f"{verdict.word}; {ending['summary']}"
    if run.num_classes <= MOST_CLASSES_WRITTEN:
        write_json(record.path / "geometry.json", evaluator.geometry(network))
    return ending


def _check_taps(run: RunConfig, network: Network | FreeFeatures) -> None:
    if not run.taps:
        return
    assert isinstance(network, Network)
    names = layer_names(network.backbone)
    for tap in run.taps:
        if tap not in names:
            top = [name for name in names if "." not in name]
            inside = "" if len(top) == len(names) else f", and what is in them, such as {names[len(names) // 2]}"
            raise UserError(
                f"taps: {run.model.name} has no layer {tap}; it has {', '.join(top)}{inside}{nearest(tap, names)}"
            )


def preflight(run: RunConfig) -> None:
    """What `train` would refuse in this run beyond its configuration: device, run directory and data. Raises UserError.

    A sweep asks this of all its jobs before the first one starts.
    """
    _check_device_options(run, _device(run.device))
    RunDirectory(run.directory(), run.manifest_name).state(run)
    if run.dataset is not None:
        check_run_data(run, data_directory(run))
    if run.taps:
        _check_taps(run, build(run))


def _objective(run: RunConfig) -> Objective:
    assert run.loss is not None
    return Objective(run.loss, run.decay.mode, run.weight_decays(), run.decay.feature, run.num_samples)


def _threads(run: RunConfig) -> int:
    """Free features are too small for more than one thread to help."""
    if run.threads == "auto":
        return 1 if run.is_free else len(os.sched_getaffinity(0))
    return int(run.threads)


def _load(run: RunConfig, device: torch.device, dtype: torch.dtype) -> RunData:
    if run.dataset is None:
        return free_feature_data(run.class_counts(), device)
    folder = data_directory(run)
    return load_run_data(run, folder, device, dtype)


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


def _check_device_options(run: RunConfig, device: torch.device) -> None:
    """Raises UserError for an option that only a GPU knows."""
    wanted = {"precision=tf32": run.precision == "tf32", "compile=true": run.compile}
    wanted["cuda_graphs=true"] = run.cuda_graphs
    for setting, on in wanted.items():
        if on and device.type != "cuda":
            raise UserError(f"{setting}: needs a CUDA device, and this run is on the CPU")


def _facts(
    run: RunConfig, index_hash: str | None, device: torch.device, threads: int, network: torch.nn.Module
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
        "dataset": run.dataset_title,
        "class_names": None if run.is_free else run.facts.class_names,
        "data_hash": None if run.own_data is None else run.own_data.digest,
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


def _draw(records: Sequence[RunDirectory]) -> None:
    """curves.png, in a process of its own: drawing needs no torch, and its failure must not touch the runs."""
    drawing = [sys.executable, "-m", "ncrun.figures.curves", *(str(record.path) for record in records)]
    done = subprocess.run(drawing, capture_output=True, text=True, check=False)
    if done.returncode:
        print(
            f"{records[0].path}: curves.png was not drawn: {done.stderr.strip().splitlines()[-1:]}",
            file=sys.stderr,
        )
