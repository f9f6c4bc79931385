"""Free features to an optimum: scipy's L-BFGS-B until the gradient vanishes, at one decay or along a path of decays.

Such a run takes seconds, so an interrupted one keeps no checkpoint: it starts again and ends with the same bits. The
bounds of L-BFGS-B keep the features of ufm_relu non-negative.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.run import LBFGS, Descent
from ncrun.training.checkpoint import Checkpoints, Progress
from ncrun.training.evaluate import Evaluator
from ncrun.training.logbook import Logbook
from ncrun.training.loop import Interrupted
from ncrun.training.schedule import measured_epochs, snapshot_epochs
from ncrun.training.snapshots import Album

Array = NDArray[np.float64]

# L-BFGS-B's first step has length one in its units. A step this short, in units in which every decay is 1, cannot reach
# another basin (there an optimum is shorter than sqrt(2 log K)).
FIRST_STEP = 0.03
# The length of a kick, in first steps.
KICK = 0.3
# A kick has freed the run if the loss falls by more than this share.
FREED = 1e-9


def settle(
    descent: Descent,
    model: FreeFeatures,
    evaluator: Evaluator,
    record: RunDirectory,
    checkpoints: Checkpoints,
    show: Callable[[int, dict[str, Any] | None], None],
    stop_requested: Callable[[], bool],
) -> Progress:
    """Minimises from the start; one epoch is one iteration.

    With a path, minimises at every factor on all decays, each from the last solution; an epoch is then one point of the
    path. The last arguments are those of ncrun.training.loop.fit. Raises Interrupted or Diverged.
    """
    optimizer, path = descent.optimizer, descent.path
    assert isinstance(optimizer, LBFGS)
    record.cut_metrics(0)
    progress = Progress()
    rng = np.random.default_rng(descent.seed)
    measured = measured_epochs(descent.measure, descent.epochs, full_batch=True)
    album = Album(record, evaluator.data, snapshot_epochs(descent.snapshots, measured))
    logbook = Logbook(model, [record], progress, ["; try optimizer=adam"], [album])
    objective, labels = evaluator.objective, evaluator.data.train_labels
    last_measured = 0

    def after_iteration() -> None:
        nonlocal last_measured
        progress.step += 1
        if stop_requested():
            raise Interrupted
        if not path:
            progress.epoch += 1
            row = None
            if progress.epoch in measured:
                row, last_measured = logbook.measure([evaluator]), progress.epoch
            show(progress.epoch, row)

    if not path:
        show(0, logbook.measure([evaluator]))
        stepped_back = _descend(model, objective, labels, optimizer, descent.epochs, rng, after_iteration)
        # A descent that starts at a stationary point counts as one epoch, too, because a finished run has a measured
        # epoch.
        progress.epoch = max(1, progress.epoch + stepped_back)
        if progress.epoch != last_measured:
            show(progress.epoch, logbook.measure([evaluator]))
        if not album.has(progress.epoch):  # the last epoch was not known before
            evaluator(model, lambda seen: album.add(progress.epoch, seen))
    else:
        for progress.epoch, factor in enumerate(path, start=1):
            here = objective.scaled(factor)
            _descend(model, here, labels, optimizer, descent.epochs, rng, after_iteration)
            show(progress.epoch, logbook.measure([evaluator.scaled(factor)], factor=factor))
    logbook.keep_time()
    logbook.write_snapshots()
    checkpoints.save(model, None, None, torch.get_rng_state(), progress)
    return progress


def _with_fresh_dimensions(x: Array, model: FreeFeatures, rng: np.random.Generator) -> Array:
    """A point whose K weakest feature dimensions are drawn again, small. x: points, a weight, optionally a bias.

    Non-negative features of different classes cannot share a dimension, but one class may use many at no cost. If all
    are used, a class without one cannot get one, even if that would decrease the loss.
    """
    (weight,) = model.head.weights
    split = model.points.numel()
    rest = split + weight.numel()
    points, readers = (
        x[:split].reshape(-1, model.points.shape[2]).copy(),
        x[split:rest].reshape(weight.shape[1:]).copy(),
    )
    load = (points**2).sum(axis=0)
    weakest = np.argsort(load)[: len(readers)]
    points[:, weakest] = KICK / len(points) ** 0.5 * np.abs(rng.standard_normal((len(points), len(weakest))))
    readers[:, weakest] = KICK * rng.standard_normal((len(readers), len(weakest)))
    return np.concatenate([points.ravel(), readers.ravel(), x[rest:]])


def _descend(
    model: FreeFeatures,
    objective: Objective,
    labels: Tensor,
    config: LBFGS,
    iterations: int,
    rng: np.random.Generator,
    after_each: Callable[[], None],
) -> bool:
    """Runs until no entry of the gradient is above the tolerance, or for this many iterations. An exception of
    after_each(), called with the model at its new point, ends the descent.

    Leaves the model at the best point; returns whether this differs from the last one.
    """
    from scipy.optimize import Bounds, minimize  # its import takes longer than such a run

    assert model.num_runs == 1
    assert objective.feature_decay is not None
    factors = [(model.points, objective.feature_decay)]
    factors += list(zip(model.head.weights, objective.weight_decays, strict=True))
    if model.head.bias is not None:
        factors.append((model.head.bias, 1.0 + objective.bias_decay))
    # In units in which every decay is 1 the problem is much better conditioned.
    sizes = [parameter.numel() for parameter, _ in factors]
    units = np.repeat([(decay**0.5 if decay > 0 else 1.0) / FIRST_STEP for _, decay in factors], sizes)
    # Parameters and gradients are moved into one tensor each, so that setting a point is one copy.
    point = torch.cat([parameter.detach().ravel() for parameter, _ in factors])
    pull = torch.zeros_like(point)
    for (parameter, _), values, pulls in zip(factors, torch.split(point, sizes), torch.split(pull, sizes), strict=True):
        parameter.data, parameter.grad = values.view_as(parameter), pulls.view_as(parameter)
    gradient = FreeGradient(model, [objective], labels)

    def place(x: Array) -> None:
        point.copy_(torch.from_numpy(x / units))

    def value_and_gradient(x: Array) -> tuple[float, Array]:
        place(x)
        gradient()
        return float(gradient.values()), pull.cpu().double().numpy() / units

    def callback(x: Array) -> None:
        place(x)
        after_each()

    start = point.cpu().double().numpy() * units
    lowest = np.full(len(start), -np.inf)
    if model.nonnegative:
        lowest[: model.points.numel()] = 0.0
    bounds = Bounds(lowest, np.inf) if model.nonnegative else None

    def descend(x: Array) -> Any:
        options = {"maxiter": left, "maxfun": 3 * left, "ftol": 0.0, "gtol": config.tolerance * FIRST_STEP}
        options["maxcor"] = config.history
        return minimize(
            value_and_gradient, x, jac=True, method="L-BFGS-B", bounds=bounds, callback=callback, options=options
        )

    # At a saddle, such as a feature at zero that no weight reads, the gradient vanishes, too.
    left = iterations
    best = found = descend(start)
    failed, left = 0, left - best.nit
    while failed < config.kicks and left > 0:
        kick = KICK / len(start) ** 0.5 * rng.standard_normal(len(start))
        kicked = _with_fresh_dimensions(best.x, model, rng) if model.nonnegative else best.x
        found = descend(np.maximum(kicked + kick, lowest))
        left -= found.nit
        failed = 0 if found.fun < best.fun * (1 - FREED) else failed + 1
        best = min(best, found, key=lambda each: float(each.fun))
    place(best.x)
    return best is not found
