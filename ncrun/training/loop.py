"""The training loop: one linear function."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ncrun.config import AdamConfig, RunConfig, SGDConfig
from ncrun.data.batches import batch_slices, epoch_order
from ncrun.data.load import RunData
from ncrun.models import FreeFeatures, Network
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.training.checkpoint import Checkpoints, Progress
from ncrun.training.evaluate import Evaluator
from ncrun.training.logbook import Logbook
from ncrun.training.optimisers import build_optimiser
from ncrun.training.schedule import learning_rate, measured_epochs

CHECKPOINT_SECONDS = 30.0


class Interrupted(Exception):
    """A signal asked the run to stop."""


def fit(
    run: RunConfig,
    network: Network | FreeFeatures,
    data: RunData,
    objective: Objective,
    evaluator: Evaluator,
    records: Sequence[RunDirectory],
    checkpoints: Checkpoints,
    show: Callable[[int, dict[str, Any] | None], None],
    stop_requested: Callable[[], bool],
) -> Progress:
    """Train to the last epoch, from the start or from what `checkpoints` found.

    records: one for each start that lives in the network. show(epoch, row) is called after every epoch, with the first
    start's row that was just recorded, if any. Returns how the run went. Raises Diverged, or Interrupted after a
    checkpoint.
    """
    N, config = run.num_samples, run.optimizer
    assert isinstance(config, AdamConfig | SGDConfig)
    assert run.epochs is not None
    parameters = list(network.parameters())
    optimiser = build_optimiser(config, parameters)
    generator = torch.Generator().manual_seed(run.seed)
    measured = measured_epochs(run.measure, run.epochs, run.is_full_batch)
    slices = [slice(0, N)] if run.is_full_batch else batch_slices(N, run.batch_size)
    weights = list(network.head.weights)
    progress = checkpoints.restore(network, optimiser, generator)
    logbook = Logbook(network, records, progress, f"; try optimizer.lr={config.lr / 10:g}")
    last_saved = time.perf_counter()

    def measure() -> dict[str, Any]:
        return logbook.measure(evaluator, optimiser.param_groups[0]["lr"])

    def save() -> None:
        nonlocal last_saved
        logbook.check_parameters(optimiser.param_groups[0]["lr"])
        logbook.keep_time()
        checkpoints.save(network, optimiser, generator, progress)
        last_saved = time.perf_counter()

    def save_if_due() -> None:
        """A checkpoint every so often, and the end if a signal asks for it."""
        stopping = stop_requested()
        if stopping or time.perf_counter() - last_saved > CHECKPOINT_SECONDS:
            save()
        if stopping:
            raise Interrupted

    if progress.epoch == progress.offset == 0:
        show(0, measure())
    for epoch in range(progress.epoch, run.epochs):
        rate = learning_rate(
            config.lr, epoch, run.epochs, run.schedule.drops or [], run.schedule.step, run.schedule.gamma
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
            loss = objective.on_batch(logits, labels, features, weights, parameters)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            network.project()
            progress.step += 1
            progress.offset += 1
            save_if_due()
        progress.epoch, progress.offset, progress.order = epoch + 1, 0, None
        show(progress.epoch, measure() if progress.epoch in measured else None)
        if progress.epoch < run.epochs:
            save_if_due()
    save()
    return progress
