"""finish=lbfgs: after the epochs, minimises the objective as it is measured."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from ncrun.data.streamed import StreamedImages
from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.records import RunDirectory
from ncrun.run import Descent
from ncrun.training.checkpoint import Checkpoints, Progress
from ncrun.training.evaluate import Evaluator
from ncrun.training.features import in_parts
from ncrun.training.gradients import tf32
from ncrun.training.lbfgs import AT_REST, LBFGS
from ncrun.training.logbook import Logbook
from ncrun.training.loop import CHECKPOINT_SECONDS, Interrupted
from ncrun.training.schedule import measured_epochs, snapshot_epochs
from ncrun.training.snapshots import Album

# Checkpoints hold the pairs of L-BFGS; writing them takes at most this share of the time.
SHARE_OF_SAVING = 0.05
# The finish adds a quarter to the number of the epochs' snapshots.
SHARE_OF_SNAPSHOTS = 4


def finish(
    descent: Descent,
    network: Network,
    evaluator: Evaluator,
    record: RunDirectory,
    checkpoints: Checkpoints,
    show: Callable[[int, dict[str, Any] | None], None],
    stop_requested: Callable[[], bool],
    progress: Progress | None,
) -> Progress:
    """L-BFGS on the whole training set, in evaluation mode and full precision. It ends after `descent.finish`
    iterations, each counted as an epoch and a step, or when rounding leaves no descent.

    progress: that of the epochs, which have just ended; None: continue an interrupted finish, which `checkpoints`
    found. The other arguments and the exceptions are those of ncrun.training.loop.fit.
    """
    data = evaluator.data
    parameters = [each for each in network.parameters() if each.requires_grad]
    gradient_of = FullGradient(network, evaluator.objective, parameters, descent.batch_size)

    def value_and_gradient(point: Tensor) -> tuple[float, Tensor]:
        vector_to_parameters(point, parameters)
        return gradient_of(data.train_images, data.train_labels)

    descender, generator = LBFGS(value_and_gradient), torch.Generator()
    if progress is None:
        progress = checkpoints.restore(network, descender, generator)
    descender.begin(_vector(parameters).detach())
    first, last = descent.epochs, descent.epochs + descent.finish
    iterations = measured_epochs(descent.measure, descent.finish, full_batch=True)
    measured = {first + each for each in iterations}
    pictured = {first + each for each in snapshot_epochs(-(-descent.snapshots // SHARE_OF_SNAPSHOTS), iterations)}
    album = Album(record, data, pictured)
    logbook = Logbook(network, [record], progress, [""], [album])
    last_saved, until_next = time.perf_counter(), CHECKPOINT_SECONDS

    def measure() -> dict[str, Any]:
        vector_to_parameters(descender.point, parameters)  # the search may have tried a point after it
        return logbook.measure([evaluator])

    def save(state: dict[str, Any]) -> None:
        nonlocal last_saved, until_next
        began = time.perf_counter()
        vector_to_parameters(descender.point, parameters)
        logbook.keep_time()
        logbook.write_snapshots()
        checkpoints.save(network, state, generator.get_state(), torch.get_rng_state(), progress)
        last_saved = time.perf_counter()
        until_next = max(CHECKPOINT_SECONDS, (last_saved - began) / SHARE_OF_SAVING)

    while progress.epoch < last and descender.step():
        progress.epoch, progress.step = progress.epoch + 1, progress.step + 1
        show(progress.epoch, measure() if progress.epoch in measured else None)
        stopping = stop_requested()
        if stopping or time.perf_counter() - last_saved > until_next:
            save(descender.state_dict())
        if stopping:
            raise Interrupted
    if record.last_row()["epoch"] != progress.epoch:  # it ended before the last iteration
        show(progress.epoch, measure())
    if not album.has(progress.epoch):
        evaluator(network, lambda seen: album.add(progress.epoch, seen))
    save(AT_REST)
    return progress


class FullGradient:
    """Value and gradient of the objective over the whole training set, in evaluation mode and full precision, summed
    over parts of the images. Sums over samples are in float64."""

    def __init__(self, network: Network, objective: Objective, parameters: Sequence[Tensor], rows: int) -> None:
        self._network, self._objective, self._parameters, self._rows = network, objective, parameters, rows

    @tf32(False)
    def __call__(self, images: Tensor | StreamedImages, labels: Tensor) -> tuple[float, Tensor]:
        """images: (N, C, H, W). The gradient is one vector over all trained parameters."""
        self._network.eval()
        head = self._network.head
        value = torch.zeros((), dtype=torch.float64, device=images.device)
        gradient = torch.zeros_like(_vector(self._parameters))
        for part, block in in_parts(images, self._rows):
            features, logits = self._network(block)
            weights = [weight.double() for weight in head.weights]
            bias = None if head.bias is None else head.bias.double()
            every = (parameter.double() for parameter in self._network.parameters())
            loss = self._objective.on_batch(logits.double(), labels[part], features.double(), weights, bias, every)
            loss = loss * (len(labels[part]) / len(labels))
            pulls = torch.autograd.grad(loss, self._parameters, materialize_grads=True, allow_unused=True)
            gradient += _vector(pulls)
            value += loss.detach()
        return float(value), gradient


def _vector(tensors: Iterable[Tensor]) -> Tensor:
    """Concatenates tensors of any memory layout."""
    return torch.cat([each.reshape(-1) for each in tensors])
