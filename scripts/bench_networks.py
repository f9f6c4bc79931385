"""The network workloads of `make bench`: ncrun's own training loop and evaluator, and the released procedure, in turn
for one epoch each."""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from bench_baseline import batches, measure_network, objective, outer, product, train_epoch
from bench_problems import NUM_CLASSES, NetworkProblem, network_problem, target_matrices
from bench_timing import Row, gemm_seconds, linear_forward, linear_step, now, timed

from ncrun.data.batches import epoch_order
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.records import RunDirectory
from ncrun.training import loop
from ncrun.training.checkpoint import NOTHING, Checkpoints
from ncrun.training.evaluate import Evaluator, Moment
from ncrun.training.features import FORWARD_ROWS

IMBALANCED = (100, 100, 200, 200, 300, 300, 400, 400, 500, 500)
LR = 1e-4
# float32 on both sides, in another order of summation. Most numbers agree to 1e-7; but the shift of the BatchNorm
# before the last one, which that one takes out again, has a gradient of rounding alone, of which Adam makes steps of
# full length, and evaluation mode shows them until the running means have followed.
TOLERANCE = 5e-4  # relative for losses and NC1, absolute for distances, which are of order 1
ACCURACY_TOLERANCE = 0.02  # samples whose two best logits differ by rounding


class TimedEvaluator(Evaluator):
    """ncrun's evaluator, timed."""

    seconds = 0.0

    def __call__(
        self, network: Network | FreeFeatures, look: Callable[[Moment], object] | None = None
    ) -> dict[str, Any]:
        began = now()
        row = super().__call__(network, look)
        self.seconds = now() - began
        return row


@contextmanager
def no_checkpoints() -> Iterator[None]:
    """Saves nothing: a run saves every half minute, which with other work between its epochs would be after each
    one."""
    usual = loop.CHECKPOINT_SECONDS
    loop.CHECKPOINT_SECONDS = math.inf
    try:
        yield
    finally:
        loop.CHECKPOINT_SECONDS = usual


def fit(problem: NetworkProblem, network: Network, between: Callable[[float, float], None]) -> list[dict[str, Any]]:
    """Trains by ncrun's own loop. After every epoch it calls between(seconds of training, seconds of measuring), whose
    own time does not count. Returns the recorded rows."""
    evaluator = TimedEvaluator(problem.data, problem.objective(), problem.target)
    found: list[dict[str, Any]] = []
    began = now()

    def show(epoch: int, row: dict[str, Any] | None) -> None:
        nonlocal began
        spent = now() - began
        measuring = evaluator.seconds if row is not None else 0.0
        if row is not None:
            found.append(row)
        if epoch > 0:
            between(spent - measuring, measuring)
        began = now()

    with tempfile.TemporaryDirectory() as folder, no_checkpoints():
        record = RunDirectory(Path(folder), "0123456789")
        checkpoints = Checkpoints(record, NOTHING, {})
        loop.fit([problem.run], network, [evaluator], [record], [checkpoints], show, lambda: False)
    return found


class Released:
    """The plain side of one problem, epoch by epoch, in ncrun's order of samples."""

    def __init__(self, problem: NetworkProblem) -> None:
        self.problem = problem
        self.network = problem.plain()
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=problem.lr)
        self.generator = torch.Generator().manual_seed(problem.run.descent.seed)

    def train(self) -> None:
        run = self.problem.run
        N = run.data.num_samples
        order = None if run.descent.is_full_batch else epoch_order(N, self.generator).tolist()
        loader = batches(self.problem.train, run.descent.batch_size, order)
        train_epoch(self.network, loader, self.optimiser, self.problem.decays, N)

    def measure(self, scatter: Callable[[torch.Tensor], torch.Tensor]) -> list[dict[str, float]]:
        """The training and the test split."""
        matrices = target_matrices(self.problem.target)
        splits = (self.problem.train, self.problem.test)
        return [measure_network(self.network, batches(split, 128), NUM_CLASSES, scatter, matrices) for split in splits]

    @torch.no_grad()
    def loss(self) -> float:
        """The objective over the training split, in evaluation mode."""
        self.network.eval()
        data, problem = self.problem.data, self.problem
        features, logits = self.network(data.train_images)
        weights = self.network.head_weights()
        N = len(features)
        return float(objective(features, logits, data.train_labels, weights, problem.decays, N))


def assert_agreement(problem: NetworkProblem) -> None:
    """Checks that one epoch on both sides, from the same weights, gives the same losses and metrics. Raises
    AssertionError."""
    rows = fit(problem, problem.network(), lambda training, measuring: None)
    plain = Released(problem)
    plain.measure(product)
    for epoch in range(2):
        if epoch:
            plain.train()
        row = next(row for row in rows if row["epoch"] == epoch)
        (train, test), loss = plain.measure(product), plain.loss()
        agree(f"loss after epoch {epoch}", row["loss"], loss, TOLERANCE * loss)
        agree(f"NC1 after epoch {epoch}", row["nc1"], train["nc1"], TOLERANCE * train["nc1"])
        for name in ("nc2_w", "nc2_h", "nc3"):
            agree(f"{name} after epoch {epoch}", row[name], train[name], TOLERANCE)
        agree("training accuracy", row["train_accuracy"], train["accuracy"], ACCURACY_TOLERANCE)
        agree("test accuracy", row["test_accuracy"], test["accuracy"], ACCURACY_TOLERANCE)


def agree(name: str, own: float, plain: float, tolerance: float) -> None:
    """Raises AssertionError with both numbers if they differ by more than the tolerance."""
    assert abs(own - plain) <= tolerance, f"{name}: ncrun {own:.8g}, plain {plain:.8g}, tolerance {tolerance:.2g}"


def full_problem(share: float, epochs: int) -> NetworkProblem:
    """The released MLP of Dang et al. 2023 with three head layers on a share of CIFAR-10."""
    overrides = ["model.width=512", "model.depth=6", "model.batch_norm=true", "head.depth=3", "batch_size=128"]
    overrides += ["decay.weight=5e-4", "decay.feature=1.28e-6", "measure=every", f"epochs={epochs}"]
    counts = [round(5000 * share)] * NUM_CLASSES
    return network_problem(counts, round(1000 * share), [*overrides, f"optimizer.lr={LR}"])


def imbalanced_problem(scale: float, epochs: int) -> NetworkProblem:
    """Their imbalanced one, full batch, with one head layer; `scale` times as many samples."""
    overrides = ["model.width=512", "model.depth=6", "model.batch_norm=false", "head.depth=1", "batch_size=full"]
    overrides += ["decay.weight=1e-4", "decay.feature=1e-4", f"measure={epochs}", f"epochs={epochs}"]
    return network_problem([round(n * scale) for n in IMBALANCED], 10, [*overrides, f"optimizer.lr={LR}"])


def mlp(quick: bool) -> list[Row]:
    """Training, measuring, and both, of the full CIFAR-10 MLP."""
    assert_agreement(full_problem(0.02, 1))
    share, repeats = (0.01, 1) if quick else (0.2, 3)
    problem = full_problem(share, repeats + 1)
    plain, network = Released(problem), problem.network()
    N, M, num_test = problem.run.data.num_samples, problem.run.problem.depth, len(problem.test)
    layers, rows = problem.layers, min(FORWARD_ROWS, N)
    times: dict[str, list[float]] = {}

    def forward() -> None:
        network.eval()
        with torch.no_grad():
            for images in (problem.data.train_images, problem.data.test_images):
                assert images is not None
                for part in torch.split(images, FORWARD_ROWS):
                    network(part)

    def between(training: float, measuring: float) -> None:
        spent = {
            "training": training,
            "measuring": measuring,
            "forward": timed(forward),
            "plain training": timed(plain.train),
            "outer": timed(lambda: plain.measure(outer)),
            "product": timed(lambda: plain.measure(product)),
            "training limit": gemm_seconds(linear_step(layers, 128), torch.float32) * N / 128,
            "forward limit": gemm_seconds(linear_forward(layers, rows), torch.float32) * (N + num_test) / rows,
        }
        for name, seconds in spent.items():
            times.setdefault(name, []).append(seconds)

    fit(problem, network, between)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}  # the first one warms up
    train_limit, forward_limit = medians["training limit"], medians["forward limit"]
    name, part = f"MLP 6 x 512, M = {M}, batch 128, {problem.source}", f"{share:g} of an epoch, N = {N} + {num_test}"
    own = medians["training"] + medians["measuring"]
    best = "one d x d product per batch"
    return [
        Row(name, "training epoch", medians["training"], medians["plain training"], limit=train_limit, slice=part),
        Row(
            name,
            "measured epoch",
            own,
            medians["plain training"] + medians["outer"],
            slice=part,
            target=">= 5",
            limit=train_limit + forward_limit,
        ),
        Row(name, "measured epoch", own, medians["plain training"] + medians["product"], best, slice=part),
        Row(name, "measuring", medians["measuring"], medians["outer"], limit=forward_limit, slice=part),
        Row(
            name,
            "measuring",
            medians["measuring"],
            medians["forward"],
            "one forward pass over both splits",
            slice=part,
            target=">= 0.91",
        ),
    ]


def imbalanced(quick: bool) -> list[Row]:
    """A full-batch training step."""
    assert_agreement(imbalanced_problem(0.05, 1))
    scale, repeats = (0.05, 2) if quick else (1.0, 8)
    problem = imbalanced_problem(scale, repeats + 2)
    N, layers, plain = problem.run.data.num_samples, problem.layers, Released(problem)
    own, theirs, limits = list[float](), list[float](), list[float]()

    def between(training: float, measuring: float) -> None:
        own.append(training)
        theirs.append(timed(plain.train))
        limits.append(gemm_seconds(linear_step(layers, N), torch.float32, repeats=1))

    fit(problem, problem.network(), between)
    step, plain_step, limit = (
        statistics.median(times[2:]) for times in (own, theirs, limits)
    )  # the first ones warm up
    name = f"imbalanced, full batch, width 512, M = 1, {problem.source}"
    return [Row(name, "training step", step, plain_step, limit=limit, slice=f"N = {N}")]
