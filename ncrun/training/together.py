"""Free-feature runs of one sweep trained in one batched program, each with the run directory that it would have by
itself. Their matrices lie side by side, so that many small products become one call."""

import json
import sys
from collections.abc import Sequence

import torch

from ncrun.config import RunConfig
from ncrun.data.load import free_feature_data
from ncrun.errors import UserError
from ncrun.models.free_features import free_features, stacked
from ncrun.records import RunDirectory
from ncrun.theory import predict
from ncrun.theory.report import as_json
from ncrun.training import command
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator
from ncrun.training.logbook import Diverged
from ncrun.training.loop import Interrupted, fit
from ncrun.training.optimisers import base_rate
from ncrun.training.saving import OwnCheckpoints, saved_step

# What runs of one batch may differ in, besides counts that have the same sum and number.
MAY_DIFFER = ("seed", "decay", "name", "run_dir", "experiment", "scale")


def train_together(runs: Sequence[RunConfig]) -> int:
    """Train runs of a sweep in as few programs as their shapes allow; returns the exit status (1: one diverged).

    A finished run is left alone; interrupted ones are continued, those that stand at the same step together. Raises
    UserError.
    """
    waiting = []
    for run in runs:
        if RunDirectory(run.directory()).state(run) == "done":
            print(f"{run.directory()}: finished already; nothing to do")
        else:
            waiting.append(run)
    batches: dict[str, list[RunConfig]] = {}
    for run in waiting:
        batches.setdefault(_shapes(run), []).append(run)
    statuses = [0]
    for batch in batches.values():
        # Neighbours with the same learning rate are stepped in one call.
        statuses.append(_train_batch(sorted(batch, key=base_rate)))
        if statuses[-1] >= 128:  # a signal ends the whole sweep
            break
    return max(statuses)


def _shapes(run: RunConfig) -> str:
    """Equal for runs that can share a program."""
    content = {key: value for key, value in run.as_dict().items() if key not in MAY_DIFFER}
    del content["optimizer"]["lr"], content["model"]["feature_std"], content["model"]["weight_std"]
    content["counts"] = [run.num_classes, run.num_samples]
    content["step"] = saved_step(RunDirectory(run.directory()).checkpoint)
    return json.dumps(content, sort_keys=True)


def _train_batch(runs: Sequence[RunConfig]) -> int:
    first, records = runs[0], [RunDirectory(run.directory()) for run in runs]
    device, threads = command._device(first.device), command._threads(first)
    command._check_device_options(first, device)
    torch.set_num_threads(threads)
    dtype = getattr(torch, first.dtype or "float64")
    network = stacked([free_features(run) for run in runs]).to(device=device, dtype=dtype)
    evaluators, theories = [], []
    for run in runs:
        geometry = predict(run.setting())
        data = free_feature_data(run.class_counts(), device)
        evaluators.append(Evaluator(data, command._objective(run), geometry))
        theories.append(as_json(geometry))
    opened: list[RunDirectory] = []
    try:
        for index, (run, record, theory) in enumerate(zip(runs, records, theories, strict=True)):
            facts = command._facts(run, None, device, threads, network.member(index))
            if not record.open(run, theory, facts | {"together": len(runs)}):
                raise UserError(f"{record.path}: finished meanwhile by another process; the same command goes on")
            opened.append(record)
    except UserError:
        for record in opened:
            record.close(state="interrupted")
        raise
    stop = command._StopSignals()
    assert first.epochs is not None
    saved = OwnCheckpoints(runs, [record.checkpoint for record in records])
    failures: dict[int, str] = {}
    try:
        with stop, Display(f"{len(runs)} runs together", first.epochs, first.progress) as display:
            progress = fit(runs, network, evaluators, records, saved, display, lambda: stop.received)
        failures = progress.failures
        for index, record in enumerate(records):
            if index not in failures:
                ending = command.outcome(runs[index], network.member(index), evaluators[index], record, theories[index])
                record.close(state="done", **command.time_spent(progress), **ending)
    except Interrupted as interrupted:
        failures = interrupted.failures
        _close_unfinished(records, failures, state="interrupted")
        print(f"{len(runs)} runs together: interrupted; the same command continues them", file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:  # a second Ctrl-C: stop at once, from the last checkpoint
        _close_unfinished(records, {}, state="interrupted")
        return 128 + stop.number
    except Diverged as diverged:
        failures = diverged.failures
    except BaseException as error:
        _close_unfinished(records, failures, state="failed", reason=f"{type(error).__name__}: {error}")
        raise
    for index, reason in sorted(failures.items()):
        records[index].close(state="failed", reason=reason)
        print(f"ncrun: {records[index].path}: {reason}", file=sys.stderr)
    finished = [record for index, record in enumerate(records) if index not in failures]
    if finished:
        command._draw(finished)
    for record in finished:
        print(f"{record.path}: {record.summary}")
    return 1 if failures else 0


def _close_unfinished(records: Sequence[RunDirectory], failures: dict[int, str], **changes: str) -> None:
    for index, record in enumerate(records):
        if index in failures:
            record.close(state="failed", reason=failures[index])
        else:
            record.close(**changes)
