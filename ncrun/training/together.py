"""Free-feature runs of one sweep trained in one batched program, each with the run directory that it would have by
itself. Their matrices lie side by side, so that many small products become one call."""

import json
import sys
from collections.abc import Callable, Sequence

import torch

from ncrun.config import RunConfig
from ncrun.data.load import free_feature_data
from ncrun.errors import UserError
from ncrun.models.free_features import free_features, stacked
from ncrun.records import RunDirectory
from ncrun.theory import predict
from ncrun.theory.report import as_json
from ncrun.training import command
from ncrun.training.checkpoint import Checkpoints, Search, search
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator
from ncrun.training.loop import fit
from ncrun.training.optimisers import base_rate
from ncrun.training.saving import OwnCheckpoints
from ncrun.training.supervise import supervise

# What runs of one batch may differ in, besides counts that have the same sum and number.
MAY_DIFFER = ("seed", "decay", "name", "run_dir", "experiment", "scale")


def train_together(runs: Sequence[RunConfig]) -> int:
    """Train runs of a sweep in as few programs as their shapes allow; returns the exit status (1: one diverged).

    A finished run is left alone; interrupted ones are continued, those that stand at the same step together. Raises
    UserError.
    """
    batches: dict[str, list[tuple[RunConfig, Search]]] = {}
    for run in runs:
        record = RunDirectory(run.directory(), run.identity())
        if record.state() == "done":
            print(f"{record.path}: finished already; nothing to do")
            continue
        found = search(record, [record])
        batches.setdefault(_shapes(run, found.step), []).append((run, found))
    statuses = [0]
    for batch in batches.values():
        # Neighbours with the same learning rate are stepped in one call.
        in_order = sorted(batch, key=lambda each: base_rate(each[0]))
        statuses.append(_train_batch([run for run, _ in in_order], [found for _, found in in_order]))
        if statuses[-1] >= 128:  # a signal ends the whole sweep
            break
    return max(statuses)


def _shapes(run: RunConfig, step: int) -> str:
    """Equal for runs that can share a program. step: where their checkpoint stands."""
    content = {key: value for key, value in run.as_dict().items() if key not in MAY_DIFFER}
    del content["optimizer"]["lr"], content["model"]["feature_std"], content["model"]["weight_std"]
    content["counts"] = [run.num_classes, run.num_samples]
    return json.dumps([content, step], sort_keys=True)


def _train_batch(runs: Sequence[RunConfig], found: Sequence[Search]) -> int:
    first, records = runs[0], [RunDirectory(run.directory(), run.identity()) for run in runs]
    device, threads = command.device_of(first), command.threads_of(first, found[0])
    torch.set_num_threads(threads)
    dtype = getattr(torch, first.dtype or "float64")
    network = stacked([free_features(run) for run in runs]).to(device=device, dtype=dtype)
    geometries = [predict(run.problem()) for run in runs]
    theories = [as_json(geometry) for geometry in geometries]
    evaluators = [
        Evaluator(free_feature_data(run.class_counts(), device), command.objective_of(run), geometry)
        for run, geometry in zip(runs, geometries, strict=True)
    ]
    assert first.epochs is not None
    epochs = first.epochs

    def work(stop_requested: Callable[[], bool]) -> int:
        for record in records:
            if not record.hold():
                raise UserError(f"{record.path}: finished meanwhile by another process; the same command goes on")
        checkpoints = []
        for index, record in enumerate(records):
            facts = command.facts_of(runs[index], None, device, threads, network.member(index)) | {
                "together": len(runs)
            }
            environment = command.environment_of(facts)
            checkpoints.append(Checkpoints(record, [record], found[index], environment))
            facts["environment_changes"] = command.tell_changes(record, found[index], environment)
            record.begin(runs[index].as_dict(), runs[index].problem(), theories[index], facts)
        own = OwnCheckpoints(runs, checkpoints)
        with Display(f"{len(runs)} runs together", epochs, first.progress) as display:
            progress = fit(runs, network, evaluators, records, own, display, stop_requested)
        finished = []
        for index, record in enumerate(records):
            if index in progress.failures:
                record.close(state="failed", reason=progress.failures[index])
                print(f"ncrun: {record.path}: {progress.failures[index]}", file=sys.stderr)
                continue
            ending = command.outcome(runs[index], network.member(index), evaluators[index], record, theories[index])
            record.close(state="done", **command.time_spent(progress), **ending)
            finished.append(record)
        drawn = command.draw(finished)
        for record in finished:
            print(f"{record.path}: {record.summary}")
        return 0 if drawn and not progress.failures else 1

    return supervise(f"{len(runs)} runs together", first, records, None, work)
