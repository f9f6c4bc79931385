"""`ncrun train`: from a validated configuration to a finished run directory."""

import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ncrun import __version__
from ncrun.config import LBFGSConfig, RunConfig, data_directory
from ncrun.data.load import RunData, check_run_data, free_feature_data, load_run_data
from ncrun.errors import UserError, nearest
from ncrun.models import FreeFeatures, Network, build
from ncrun.models.taps import layer_names
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.records.files import write_json
from ncrun.records.summary import describe
from ncrun.records.verdict import judge
from ncrun.theory import predict
from ncrun.theory.report import as_json
from ncrun.training.checkpoint import NOTHING, Checkpoints, Progress, Search, search
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator
from ncrun.training.loop import fit
from ncrun.training.settle import settle
from ncrun.training.supervise import is_out_of_memory, supervise

# K x K matrices of more classes than this are not written out: geometry.json would take megabytes.
MOST_CLASSES_WRITTEN = 200


def train(run: RunConfig) -> int:
    """Train one run, or continue it; returns the exit status. Raises UserError before anything is written.

    With restarts it trains them all in one program; the run's own directory then holds a summary and their common
    checkpoint, and each start has a directory of an ordinary run in it.
    """
    whole = RunDirectory(run.directory(), run.identity(), run.manifest_name)
    if whole.state() == "done":
        print(f"{whole.path}: finished already; nothing to do")
        return 0
    several = run.restarts > 1
    singles = [run.single(restart) for restart in range(run.restarts)] if several else [run]
    records = [RunDirectory(single.directory(), single.identity()) for single in singles] if several else [whole]
    device = device_of(run)
    starts_again = isinstance(run.optimizer, LBFGSConfig)  # and ends with the same bits
    found = NOTHING if starts_again else search(whole, records)
    threads = threads_of(run, found)
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    dtype = getattr(torch, run.dtype or "float32")
    try:
        data = _load(run, device, dtype)
        torch.manual_seed(run.seed)
        network = build(run).to(device=device, dtype=dtype)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"model={run.model.name}: does not fit into memory with these widths and data") from error
    _check_taps(run, network)
    geometry = predict(run.problem())
    theory = as_json(geometry)
    facts = facts_of(run, data.index_hash, device, threads, network)
    environment = environment_of(facts)
    checkpoints = Checkpoints(whole, records, found, environment)
    epochs = len(run.path) if run.path is not None else run.epochs
    assert epochs is not None

    def work(stop_requested: Callable[[], bool]) -> int:
        if not whole.hold():
            print(f"{whole.path}: finished meanwhile by another process; nothing to do")
            return 0
        if several:
            for record in records:
                record.hold(reopen=True)
        facts["environment_changes"] = tell_changes(whole, found, environment)
        for directory, of in {whole: run, **dict(zip(records, singles, strict=True))}.items():
            directory.begin(of.as_dict(), of.problem(), theory, facts)
        evaluator = Evaluator(data, objective_of(run), geometry, run.taps)
        with Display(whole.path.name, epochs, run.progress) as display:
            watched = (records, checkpoints, display, stop_requested)
            if starts_again:
                assert isinstance(network, FreeFeatures)
                progress = settle(run, network, evaluator, *watched)
            else:
                progress = fit(singles, network, [evaluator] * run.restarts, *watched)
        finished = _finish(run, network, evaluator, whole, records, progress, theory, environment)
        drawn = draw(finished)
        for record in dict.fromkeys([*finished, whole]):
            print(f"{record.path}: {record.summary}")
        return 0 if drawn else 1

    return supervise(str(whole.path), run, records, whole if several else None, work)


def _finish(
    run: RunConfig,
    network: Network | FreeFeatures,
    evaluator: Evaluator,
    whole: RunDirectory,
    records: Sequence[RunDirectory],
    progress: Progress,
    theory: dict[str, Any],
    environment: dict[str, Any],
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
            Checkpoints(record, [record], NOTHING, environment).save(network.member(index), None, None, progress)
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
    device_of(run)
    RunDirectory(run.directory(), run.identity(), run.manifest_name).state()
    if run.dataset is not None:
        check_run_data(run, data_directory(run))
    if run.taps:
        _check_taps(run, build(run))


def objective_of(run: RunConfig) -> Objective:
    """What a run's steps descend."""
    assert run.loss is not None
    return Objective(run.loss, run.decay.mode, run.weight_decays(), run.decay.feature, run.num_samples)


def threads_of(run: RunConfig, found: Search) -> int:
    """As before in a run that continues: threads decide the last bits. Else all cores, but free features are too small
    for more than one to help."""
    if run.threads != "auto":
        return int(run.threads)
    if found.environment is not None:
        return int(found.environment["threads"])
    return 1 if run.is_free else len(os.sched_getaffinity(0))


def environment_of(facts: dict[str, Any]) -> dict[str, Any]:
    """What decides the bits of a run, beside its configuration."""
    versions = {name: facts["versions"][name] for name in ("torch", "numpy")}
    return {
        "threads": facts["threads"],
        "device": facts["device"],
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "samples": facts["index_hash"],
        **versions,
    }


def tell_changes(whole: RunDirectory, found: Search, now: dict[str, Any]) -> list[str]:
    """Say on stderr what the user should know of a run that continues; returns what its manifest is to say of it: how
    the environment differs from the one it began in."""
    if found.message:
        print(f"ncrun: {whole.path}: {found.message}", file=sys.stderr)
    before = found.environment
    if before is None:
        return []
    differing = [f"{key} {now[key]} instead of {before[key]}" for key in now if now[key] != before.get(key, now[key])]
    if differing:
        print(
            f"ncrun: {whole.path}: continues with {', '.join(differing)}:"
            " it will not end with the bits of a run in one go",
            file=sys.stderr,
        )
    return [*whole.environment_changes, *differing]


def _load(run: RunConfig, device: torch.device, dtype: torch.dtype) -> RunData:
    if run.dataset is None:
        return free_feature_data(run.class_counts(), device)
    folder = data_directory(run)
    return load_run_data(run, folder, device, dtype)


def device_of(run: RunConfig) -> torch.device:
    """Where a run trains. Raises UserError if that is not here, or for an option that only a GPU knows."""
    available = torch.cuda.is_available()
    if run.device == "cuda" and not available:
        raise UserError("device=cuda: PyTorch finds no CUDA device here; use device=cpu or device=auto")
    device = torch.device("cuda" if available and run.device != "cpu" else "cpu")
    wanted = {"precision=tf32": run.precision == "tf32", "compile=true": run.compile}
    wanted["cuda_graphs=true"] = run.cuda_graphs
    for setting, on in wanted.items():
        if on and device.type != "cuda":
            raise UserError(f"{setting}: needs a CUDA device, and this run is on the CPU")
    return device


def facts_of(
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


def draw(records: Sequence[RunDirectory]) -> bool:
    """curves.png, in a process of its own: drawing needs no torch, and its failure must not touch the runs. Returns
    whether it succeeded."""
    drawing = [sys.executable, "-m", "ncrun.figures.curves", *(str(record.path) for record in records)]
    done = subprocess.run(drawing, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"exit status {done.returncode}"
        print(
            f"ncrun: {records[0].path}: curves.png was not drawn ({why}); the run itself is complete", file=sys.stderr
        )
    return done.returncode == 0
