"""The training loop: one linear function."""

import time
from collections.abc import Callable
from typing import Any

import torch

from ncrun.config import RunConfig
from ncrun.data.batches import batch_slices, epoch_order
from ncrun.data.load import RunData
from ncrun.models import Network
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.training import checkpoint
from ncrun.training.checkpoint import Progress
from ncrun.training.evaluate import Evaluator
from ncrun.training.optimisers import build_optimiser
from ncrun.training.schedule import learning_rate, measured_epochs

CHECKPOINT_SECONDS = 30.0
# A loss so many times its first value has exploded, even if it is still a number.
EXPLOSION = 1e6


class Diverged(Exception):
    """The loss is no longer a number; the message says where, and what to try."""


class Interrupted(Exception):
    """A signal asked the run to stop; it was checkpointed."""


def fit(
    run: RunConfig,
    network: Network,
    data: RunData,
    objective: Objective,
    evaluator: Evaluator,
    record: RunDirectory,
    show: Callable[[int, dict[str, Any] | None], None],
    stop_requested: Callable[[], bool],
) -> tuple[Progress, dict[str, Any]]:
    """Train from the start, or from the record's checkpoint, to the last epoch.

    show(epoch, row) is called after every epoch, with the row that was just recorded, if any. Returns how the run
    went and the last row. Raises Diverged or Interrupted, the latter after a checkpoint.
    """
    N = run.num_samples
    parameters = list(network.parameters())
    optimiser = build_optimiser(run.optimizer, parameters)
    generator = torch.Generator().manual_seed(run.seed)
    progress, row = Progress(), {}
    measured = measured_epochs(run.measure, run.epochs, run.is_full_batch)
    slices = [slice(0, N)] if run.is_full_batch else batch_slices(N, run.batch_size)
    if record.checkpoint.is_file():
        progress, metrics_size = checkpoint.load(record.checkpoint, network, optimiser, generator)
        record.cut_metrics(metrics_size)
    else:
        record.cut_metrics(0)
    clock = time.perf_counter() - progress.seconds
    last_saved = time.perf_counter()

    def measure() -> dict[str, Any]:
        began = time.perf_counter()
        try:
            values = evaluator(network)
            progress.first_loss = progress.first_loss or values["loss"]
            if values["loss"] > EXPLOSION * progress.first_loss:
                raise FloatingPointError(
                    f"the loss is {values['loss']:.3g}, from {progress.first_loss:.3g} at the start"
                )
        except FloatingPointError as error:
            raise Diverged(
                f"diverged: {error} after step {progress.step} (epoch {progress.epoch}) with learning rate"
                f" {optimiser.param_groups[0]['lr']:g}; try optimizer.lr={run.optimizer.lr / 10:g}"
            ) from error
        progress.seconds = time.perf_counter() - clock
        progress.measuring_seconds += time.perf_counter() - began
        line = {"epoch": progress.epoch, "step": progress.step, **values}
        line |= {"lr": optimiser.param_groups[0]["lr"], "seconds": round(progress.seconds, 3)}
        record.append(line)
        return line

    def save() -> None:
        progress.seconds = time.perf_counter() - clock
        checkpoint.save(record.checkpoint, network, optimiser, generator, progress, record.metrics_size())

    if progress.epoch == progress.offset == 0:
        row = measure()
        show(0, row)
    for epoch in range(progress.epoch, run.epochs):
        rate = learning_rate(
            run.optimizer.lr, epoch, run.epochs, run.schedule.drops, run.schedule.step, run.schedule.gamma
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        if progress.order is None and not run.is_full_batch:
            progress.order = epoch_order(N, generator)
        order = None if progress.order is None else progress.order.to(data.train_labels.device)
        network.train()
        for part in slices[progress.offset :]:
            chosen = part if order is None else order[part]
            labels = data.train_labels[chosen]
            features, logits = network(data.train_images[chosen])
            loss = objective.on_batch(logits, labels, features, network.head.weights, parameters)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            progress.step += 1
            progress.offset += 1
            if stop_requested() and progress.offset < len(slices):
                save()
                raise Interrupted
        progress.epoch, progress.offset, progress.order = epoch + 1, 0, None
        is_measured = progress.epoch in measured
        if is_measured:
            row = measure()
        show(progress.epoch, row if is_measured else None)
        stopping = stop_requested()
        if stopping or progress.epoch == run.epochs or time.perf_counter() - last_saved > CHECKPOINT_SECONDS:
            save()
            last_saved = time.perf_counter()
        if stopping and progress.epoch < run.epochs:
            raise Interrupted
    return progress, row or record.last_row()  # a run may be taken up after its last epoch
