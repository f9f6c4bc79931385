"""The training loop: one linear function."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ncrun.data.augment import augmented
from ncrun.data.batches import batch_slices, epoch_order
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.records import RunDirectory
from ncrun.run import Run
from ncrun.training.checkpoint import Checkpoints, Progress
from ncrun.training.evaluate import Evaluator
from ncrun.training.fixed_norms import fix_norms
from ncrun.training.gradients import gradients_of
from ncrun.training.graph import GraphedStep
from ncrun.training.logbook import Logbook
from ncrun.training.optimisers import StepRule, build_optimiser, plain_step, set_rates
from ncrun.training.ranks import ALONE, Ranks
from ncrun.training.saving import Saving
from ncrun.training.schedule import learning_rate, measured_epochs, snapshot_epochs
from ncrun.training.snapshots import Album

CHECKPOINT_SECONDS = 30.0
# Measurements may be far apart: every this many steps the parameters are checked to be finite.
STEPS_BETWEEN_LOOKS = 100


class Interrupted(Exception):
    """A signal asked the training to stop."""


def fit(
    runs: Sequence[Run],
    network: Network | FreeFeatures,
    evaluators: Sequence[Evaluator],
    records: Sequence[RunDirectory],
    checkpoints: Sequence[Checkpoints],
    show: Callable[[int, dict[str, Any] | None], None],
    stop_requested: Callable[[], bool],
    diverged: Mapping[int, str] | None = None,
    ranks: Ranks = ALONE,
) -> Progress:
    """Trains to the last epoch, from the beginning or from the checkpoint that `checkpoints` found.

    runs, evaluators, records, checkpoints: one for each run in the network; learning rates and objectives may differ.
    show(epoch, row) is called after every epoch, with the first run's row if one was just recorded. diverged: reasons
    of runs that diverged in an earlier process. ranks: processes that train together. Returns the progress. Raises
    Diverged, or Interrupted after a checkpoint.
    """
    descent, machine, augment = runs[0].descent, runs[0].machine, runs[0].data.augment
    data, N = evaluators[0].data, runs[0].data.num_samples
    set_gradients = gradients_of(
        network,
        [each.objective for each in evaluators],
        [each.data.train_labels for each in evaluators],
        descent.precision,
        machine.compile,
        ranks,
    )
    rules = [StepRule.of(each.descent.optimizer, machine.cuda_graphs) for each in runs]
    optimiser, rates = build_optimiser(rules, network), [each.lr for each in rules]
    generator = torch.Generator().manual_seed(descent.seed)
    measured = measured_epochs(descent.measure, descent.epochs, descent.is_full_batch)
    slices = [slice(0, N)] if descent.is_full_batch else batch_slices(N, descent.batch_size)
    parts = [ranks.part(whole) for whole in slices]
    seeds = [each.descent.seed for each in runs]
    saving = Saving(network, optimiser, generator, rules, seeds, checkpoints, diverged or {})
    progress = saving.restore()
    pictured = snapshot_epochs(descent.snapshots, measured)
    albums = [Album(record, each.data, pictured) for record, each in zip(records, evaluators, strict=True)]
    logbook = Logbook(network, records, progress, [f"; try optimizer.lr={rate / 10:g}" for rate in rates], albums)
    last_saved = time.perf_counter()

    update = plain_step(optimiser)

    def take_step(images: Tensor, labels: Tensor, share: float = 1.0) -> None:
        set_gradients(images, labels, share)
        update()
        network.project()

    def new_step() -> Callable[..., None]:
        return GraphedStep(take_step, descent.is_full_batch and not augment) if machine.cuda_graphs else take_step

    step = new_step()

    def measure() -> dict[str, Any]:
        return logbook.measure(evaluators, rates)

    def save() -> None:
        """Saves nothing if a run has diverged without being noticed yet: the earlier checkpoint is good."""
        nonlocal last_saved
        if logbook.diverging():
            return
        logbook.keep_time()
        if ranks.is_first:
            logbook.write_snapshots()
            saving.save(progress)
        last_saved = time.perf_counter()

    def save_if_due() -> None:
        """Saves a checkpoint when it is due, and stops after a signal."""
        stopping = ranks.any(stop_requested())
        if stopping or time.perf_counter() - last_saved > CHECKPOINT_SECONDS:
            save()
        if stopping:
            raise Interrupted

    if isinstance(network, Network) and 0 < descent.norms_fixed_after <= progress.epoch:
        network.keep_norms()
    if progress.epoch == progress.offset == 0:
        show(0, measure())
    for epoch in range(progress.epoch, descent.epochs):
        rates = [
            learning_rate(each.lr, epoch, descent.epochs, descent.drops, descent.drop_every, descent.gamma)
            for each in rules
        ]
        set_rates(optimiser, rates)
        if progress.order is None and not descent.is_full_batch:
            progress.order = epoch_order(N, generator)
        if not network.training:  # after measuring; the call visits all modules
            network.train()
        here = zip(slices[progress.offset :], parts[progress.offset :], strict=True)
        batches = data.batches(progress.order, parts[progress.offset :])
        for (whole, part), (images, labels) in zip(here, batches, strict=True):
            B = whole.stop - whole.start
            if augment:
                mine = slice(part.start - whole.start, part.stop - whole.start)
                images = augmented(images, augment, generator, B, mine)
            step(images, labels, *([len(labels) / B] if ranks.number > 1 else []))
            progress.step += 1
            progress.offset += 1
            if progress.step % STEPS_BETWEEN_LOOKS == 0:
                logbook.check_parameters(rates)
            save_if_due()
        progress.epoch, progress.offset, progress.order = epoch + 1, 0, None
        if progress.epoch == descent.norms_fixed_after:
            assert isinstance(network, Network)
            fix_norms(network, data.train_images, descent.batch_size)
            step = new_step()  # a recorded graph has the earlier BatchNorm
        show(progress.epoch, measure() if progress.epoch in measured else None)
        if progress.epoch < descent.epochs:
            save_if_due()
    save()
    return progress
