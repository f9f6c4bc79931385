"""One program: R >= 1 runs whose parameters are stacked, each with its own directory, records and checkpoint.

A network, or free features with L-BFGS, are a program of one run.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from ncrun.data import streamed, tensors
from ncrun.data.reader import is_lost_worker
from ncrun.data.request import DataRequest
from ncrun.errors import UserError, nearest
from ncrun.models.build import build
from ncrun.models.free_model import FreeFeatures, stacked
from ncrun.models.network import Network
from ncrun.models.own.spec import Module
from ncrun.models.taps import layer_names
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.run import LBFGS, Run
from ncrun.theory import Problem, predict
from ncrun.theory.report import as_json
from ncrun.training import ending, machine
from ncrun.training.checkpoint import NOTHING, Checkpoints, Progress, Search
from ncrun.training.common_norms import with_common_norms
from ncrun.training.display import Display
from ncrun.training.evaluate import Evaluator
from ncrun.training.finish import finish
from ncrun.training.fixed_norms import check_norms
from ncrun.training.loop import fit
from ncrun.training.memory import refuse_what_is_too_large
from ncrun.training.ranks import ALONE, Ranks
from ncrun.training.settle import settle
from ncrun.training.streaming import streaming_of
from ncrun.training.supervise import LOST_WORKER, is_out_of_memory, supervise
from ncrun.training.trial import IMAGES, try_out


@dataclass
class Sitting:
    """A run as this process starts it. found: its checkpoint to continue from. diverged: the reason if it diverged in
    an earlier process; then it only keeps its place in the program, so that the other runs keep their bits."""

    run: Run
    record: RunDirectory
    found: Search = field(default=NOTHING)
    diverged: str | None = None


def train_program(sittings: Sequence[Sitting], quiet: bool = False, ranks: Ranks = ALONE) -> int:
    """Trains or continues runs in one program; returns the exit status (1: one diverged).

    quiet: print nothing about finished runs. ranks: processes that train together. Raises UserError before anything is
    written.
    """
    runs, first = [each.run for each in sittings], sittings[0].run
    several = len(runs) > 1
    device = machine.device_of(first.machine, first.descent.precision)
    refuse_what_is_too_large(runs, device)
    before = next((each.found.environment for each in sittings if each.found.environment), None)
    threads = machine.threads_of(first, before)
    streaming = streaming_of(first, device)
    machine.prepare(threads)
    dtype = getattr(torch, first.descent.dtype)
    with _refusing_what_does_not_fit(first):
        evaluators = _evaluators(runs, device, dtype, streaming, ranks)
        network = _stack([network_of(run) for run in runs]) if several else network_of(first)
        network = machine.placed(network, device, dtype, first.descent.precision)
        network = with_common_norms(network, ranks)
    check_taps(first, network)
    check_own(first, device, evaluators[0].data.train_images)
    if isinstance(network, Network):
        check_norms(first, network, evaluators[0].data.train_images)
    theories = [as_json(each.target) for each in evaluators]
    about = machine.facts_of(device, threads)
    trained = [(n, each) for n, each in enumerate(sittings) if each.diverged is None]
    title = f"{len(trained)} runs together" if several else str(sittings[0].record.path)

    def work(stop_requested: Callable[[], bool]) -> int:
        checkpoints = [Checkpoints(each.record, each.found, {}) for each in sittings]
        if "module" in first.about and (said := first.about["module"].get("said")):
            print(f"ncrun: {said}", file=sys.stderr)
        for n, each in trained:
            facts = about | _facts_of(each.run, evaluators[n].data.index_hash, network.of_run(n))
            if ranks.number > 1:
                facts["ranks"] = ranks.number
            environment, together = machine.environment_of(facts), _trained_together(each, len(runs))
            if together > 1:
                facts["together"] = together
            checkpoints[n] = Checkpoints(each.record, each.found, environment, together)
            if streaming is not None:
                facts["streamed"] = asdict(streaming)
            facts["environment_changes"] = machine.tell_changes(each.record, each.found, environment)
            each.record.begin(each.run.config, each.run.problem, theories[n], facts)
        records = [each.record for each in sittings]
        epochs = len(first.descent.path) or first.descent.most_epochs
        with Display(sittings[0].record.path.name if not several else title, epochs, first.machine.progress) as display:
            if isinstance(first.descent.optimizer, LBFGS):
                assert isinstance(network, FreeFeatures)
                progress = settle(
                    first.descent, network, evaluators[0], records[0], checkpoints[0], display, stop_requested
                )
            else:
                diverged = {n: each.diverged for n, each in enumerate(sittings) if each.diverged is not None}
                ended = first.descent.epochs < sittings[0].found.position[0]  # and the finish continues
                if not ended:
                    progress = fit(
                        runs, network, evaluators, records, checkpoints, display, stop_requested, diverged, ranks
                    )
                if first.descent.finish:
                    assert isinstance(network, Network)
                    before = None if ended else progress
                    progress = finish(
                        first.descent,
                        network,
                        evaluators[0],
                        records[0],
                        checkpoints[0],
                        display,
                        stop_requested,
                        before,
                    )
        return _finish([(n, each) for n, each in trained if n not in progress.failures], progress)

    def _finish(left: Sequence[tuple[int, Sitting]], progress: Progress) -> int:
        """Close the records of the runs that did not diverge."""
        spent = ending.time_spent(progress)
        for n, each in left:
            outcome = ending.outcome(each.run, network.of_run(n), evaluators[n], each.record, theories[n])
            each.record.close(state="done", **spent, **outcome)
        drawn = not ranks.is_first or ending.draw([each.record for _, each in left])
        for _, each in left if not quiet else ():
            print(f"{each.record.path}: {each.record.summary}")
        return 0 if drawn and len(left) == len(runs) else 1

    smaller = "counts or model.width" if first.is_free else "batch_size or model.width"
    smaller += ", or dtype=float32" if first.descent.dtype == "float64" else ""
    with _followed([each for _, each in trained]), _closed_at_last(evaluators[0].data):
        return supervise(title, [each.record for _, each in trained], smaller, work, ranks)


@contextmanager
def _followed(sittings: Sequence[Sitting]) -> Iterator[None]:
    """Connects the runs' loggers. They get every row, and at the end, when it is recorded, how the run ended."""
    following = []
    for each in sittings:
        if each.run.loggers:
            from ncrun.loggers.following import Following  # matplotlib, which the loggers' facts need

            following.append(Following(each.run.loggers, each.record.path))
            each.record.listeners.append(following[-1].row)
    try:
        yield
    finally:
        for follower in following:
            follower.end()


@contextmanager
def _closed_at_last(data: tensors.RunData | streamed.StreamedData) -> Iterator[None]:
    """The processes that read streamed images end with the training."""
    try:
        yield
    finally:
        if isinstance(data, streamed.StreamedData):
            data.reader.close()


def _trained_together(sitting: Sitting, here: int) -> int:
    """The number of runs in a run's program. here: in this process; it can be smaller than before if a run was killed
    after its last step, when others of its program had ended."""
    epochs, _ = sitting.found.position
    return sitting.found.together if epochs == sitting.run.descent.epochs else here


@contextmanager
def _refusing_what_does_not_fit(run: Run) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_lost_worker(error):
            raise UserError(f"dataset={run.config['dataset']['name']}: {LOST_WORKER}") from error
        if not is_out_of_memory(error):
            raise
        raise UserError(f"model={run.model.name}: does not fit into memory with this width and data") from error


def network_of(run: Run) -> Network | FreeFeatures:
    """The model of a run."""
    shape = run.data.image_shape if isinstance(run.data, DataRequest) else None
    return build(run.model, run.problem, shape, [run.descent.seed], run.frozen_head)


def _stack(networks: Sequence[Network | FreeFeatures]) -> FreeFeatures:
    return stacked([network for network in networks if isinstance(network, FreeFeatures)])


def _evaluators(
    runs: Sequence[Run],
    device: torch.device,
    dtype: torch.dtype,
    streaming: streamed.Streaming | None,
    ranks: Ranks,
) -> list[Evaluator]:
    """The prediction of each run. Runs with the same problem share it, because a prediction may take seconds."""
    known: dict[Problem, Evaluator] = {}
    for run in runs:
        problem = run.problem
        if problem not in known:
            if streaming is None:
                data: tensors.RunData | streamed.StreamedData = tensors.load(run.data, device, dtype)
            else:
                assert isinstance(run.data, DataRequest)
                data = streamed.load(run.data, device, dtype, streaming)
            known[problem] = Evaluator(data, Objective.of(problem), predict(problem), run.taps, ranks)
    return [known[run.problem] for run in runs]


def check_own(run: Run, device: torch.device, images: Tensor | streamed.StreamedImages | None = None) -> None:
    """Tries a user's network on some of the run's images; default: on random images of their shape.

    Raises UserError for a network that cannot be trained.
    """
    if not isinstance(run.model, Module):
        return
    assert isinstance(run.data, DataRequest)
    dtype = getattr(torch, run.descent.dtype)
    if images is None:
        images = torch.randn(IMAGES, *run.data.image_shape, generator=torch.Generator().manual_seed(0))
        images = images.to(device, dtype)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        network = network_of(run).to(device=device, dtype=dtype)
        assert isinstance(network, Network)
        try_out(run, run.model, network, images[:IMAGES])


def check_taps(run: Run, network: Network | FreeFeatures) -> None:
    """Raises UserError for a tap that is not a layer of the network."""
    if not run.taps:
        return
    assert isinstance(network, Network)
    names = layer_names(network.backbone)
    for tap in run.taps:
        if tap not in names:
            top = [name for name in names if "." not in name]
            inside = "" if len(top) == len(names) else f", and their sub-layers, such as {names[len(names) // 2]}"
            raise UserError(
                f"taps: {run.model.name} has no layer {tap}; it has {', '.join(top)}{inside}{nearest(tap, names)}"
            )


def _facts_of(run: Run, index_hash: str | None, network: torch.nn.Module) -> dict[str, Any]:
    """The manifest's entries about a run before it starts."""
    problem = run.problem
    return {
        **run.about,
        "class_counts": list(run.data.counts),
        "num_samples": run.data.num_samples,
        "image_shape": list(run.data.image_shape) if isinstance(run.data, DataRequest) else None,
        "index_hash": index_hash,
        "effective_decays": {"weight": list(problem.weight_decays), "feature": problem.feature_decay},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
