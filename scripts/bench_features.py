"""The workloads of `make bench` without a network: free features, trained by the function of `ncrun train`, and the
metrics alone."""

import contextlib
import io
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_baseline import FreeDescent, collapse, outer, product
from bench_networks import agree
from bench_problems import FeatureProblem, feature_problem, target_matrices
from bench_timing import Row, alternate, gemm_seconds, peak_memory, timed
from torch import Tensor

from ncrun.config.planning import job_of
from ncrun.metrics.rows import training_metrics
from ncrun.models.free_model import FreeFeatures
from ncrun.records.read import read_manifest
from ncrun.run import Run
from ncrun.theory import predict
from ncrun.training.program import network_of
from ncrun.training.runs import train

COUNTS = [200, 100, 50, 50]
WIDTH, DECAY, LR, MOMENTUM = 64, 5e-4, 0.1, 0.9
# Both sides in float64: a hundred steps of descent agree to rounding, apart from the pseudo-inverse's cutoff.
FREE_TOLERANCE = 1e-7
# Both sides in float64, one pass or block after the other.
METRIC_TOLERANCE = 1e-8
GAP = 1e-10
PLAIN_BATCH = 4096  # of the best d x d way: the larger the better


def free(M: int, *overrides: str) -> list[str]:
    """The overrides for the released direct optimisation: four classes of COUNTS samples, M linear layers."""
    numbers = ",".join(map(str, COUNTS))
    problem = ["model=ufm", f"counts=[{numbers}]", f"model.width={WIDTH}", f"head.depth={M}", "device=cpu"]
    return [*problem, f"decay.weight={DECAY}", f"decay.feature={DECAY}", *overrides]


def descent(M: int, iterations: int, *overrides: str) -> list[str]:
    """Gradient descent with momentum, as released."""
    momentum = ["optimizer=sgd", f"optimizer.lr={LR}", f"optimizer.momentum={MOMENTUM}", f"epochs={iterations}"]
    return free(M, *momentum, *overrides)


def trained(typed: Sequence[str]) -> tuple[float, list[dict[str, Any]]]:
    """The seconds of a run by `ncrun train`, from its first measurement to its last, and its rows."""
    threads = torch.get_num_threads()
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            path = Path(folder) / "run"
            status = train([job_of([*typed, f"run_dir={path}"])])
            assert status == 0, f"the run ended with status {status}"
            manifest = read_manifest(path)
            assert manifest is not None
            rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    finally:
        torch.set_num_threads(threads)
    return float(manifest["wall_seconds"]), rows


def plain_descent(run: Run, device: torch.device = torch.device("cpu")) -> FreeDescent:  # noqa: B008 (a constant)
    """The plain side of a run, at the same start."""
    model = network_of(run).to(device)
    assert isinstance(model, FreeFeatures)
    labels = torch.repeat_interleave(torch.tensor(COUNTS)).to(device)
    weights = [weight.detach()[0] for weight in model.head.weights]
    return FreeDescent(model.points.detach()[0], weights, labels, DECAY, LR, MOMENTUM)


def assert_descents_agree(M: int, iterations: int) -> None:
    """Compares loss and metrics after some iterations from the same start. Raises AssertionError."""
    typed = descent(M, iterations)
    _, (*_, row) = trained(typed)
    run = job_of(typed).runs[0]
    plain, matrices = plain_descent(run), target_matrices(predict(run.problem))
    for _ in range(iterations):
        found = plain.iterate(matrices)
    loss = plain.iterate(matrices)["loss"]  # the plain side has a loss one iteration later
    agree(f"loss at M = {M}", row["loss"], loss, FREE_TOLERANCE * loss)
    agree(f"NC1 at M = {M}", row["nc1"], found["nc1"], FREE_TOLERANCE * found["nc1"])
    for name in ("nc2_w", "nc2_h", "nc3"):
        agree(f"{name} at M = {M}", row[name], found[name], FREE_TOLERANCE)


def free_features(quick: bool) -> list[Row]:
    """Gradient descent, and the optimum. Both sides use one thread, the fastest for both at this size."""
    iterations, plain_iterations = (300, 20) if quick else (30_000, 300)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [descent_row(M, iterations, plain_iterations) for M in (1, 3)] + [optimum_row(M) for M in (1, 3)]
    torch.set_num_threads(threads)
    return rows


def descent_row(M: int, iterations: int, plain_iterations: int) -> Row:
    """A median iteration of the baseline, from before and after ncrun's run."""
    assert_descents_agree(M, 100)
    typed = descent(M, iterations)
    run = job_of(typed).runs[0]
    plain, matrices = plain_descent(run), target_matrices(predict(run.problem))
    theirs = [timed(lambda: plain.iterate(matrices)) for _ in range(plain_iterations)]
    seconds, _ = trained(typed)
    theirs += [timed(lambda: plain.iterate(matrices)) for _ in range(plain_iterations)]
    N, d, K = sum(COUNTS), WIDTH, len(COUNTS)
    # ncrun multiplies the layers before the features, which leaves K rows instead of N.
    products = [(K, d, d), (d, K, d), (K, d, d)] * (M - 1) + [(N, d, K), (K, N, d), (N, K, d)]
    return Row(
        f"free features, d = {d}, M = {M}",
        "an iteration",
        seconds / iterations,
        statistics.median(theirs),
        "measured every iteration",
        limit=gemm_seconds(products, torch.float64, 51),
        slice=f"{iterations:,} of ncrun's in {seconds:.3g} s",
        target=f"<= {1e3 / 6000:.2g} ms",  # a hundred times the released scripts' 60 iterations a second
    )


def optimum_row(M: int) -> Row:
    """The time of the default optimiser until a measured row is within GAP of the optimum. The released procedure has
    no such optimiser."""
    tries = [trained(free(M)) for _ in range(3)]
    arrived = [next((row["seconds"] for row in rows if row["gap"] < GAP), math.inf) for _, rows in tries]
    seconds = statistics.median(arrived)
    assert seconds < math.inf, f"no row at M = {M} is within {GAP:.0e} of the optimum"
    whole = statistics.median(wall for wall, _ in tries)
    return Row(
        f"free features, d = {WIDTH}, M = {M}",
        f"the optimum to a gap of {GAP:.0e}",
        seconds,
        slice=f"the whole run, to its own tolerance: {whole:.3g} s",
        target="< 1 s",
    )


def measure_features(problem: FeatureProblem) -> dict[str, Any]:
    """Every metric of the training split, by the function that a run and `ncrun measure` call."""
    p = problem
    return training_metrics(p.features, p.labels, p.head, p.objective, p.target, p.baseline)[0]


def measure_plainly(
    problem: FeatureProblem,
    scatter: Callable[[Tensor], Tensor],
    batch: int,
    dtype: torch.dtype,
    samples: int | None = None,
) -> dict[str, float]:
    """NC1 to NC3 by d x d matrices, from the first samples only."""

    def features() -> Iterator[tuple[Tensor, Tensor]]:
        points, labels = torch.split(problem.features[:samples], batch), torch.split(problem.labels[:samples], batch)
        return ((part.to(dtype), own) for part, own in zip(points, labels, strict=True))

    weight = problem.head.suffixes()[0].to(dtype)
    return collapse(features, len(weight), scatter, weight, target_matrices(problem.target))


def assert_metrics_agree(problem: FeatureProblem) -> None:
    """Compares ncrun's metrics with both d x d ways. Raises AssertionError."""
    own = measure_features(problem)
    for way in (product, outer):
        plain = measure_plainly(problem, way, 128, torch.float64)
        for name, value in plain.items():
            agree(f"{name} ({way.__name__})", own[name], value, METRIC_TOLERANCE * max(1.0, abs(value)))


def metrics(quick: bool) -> list[Row]:
    """The metrics alone, for features in memory."""
    assert_metrics_agree(feature_problem(640, 40))
    rows = []
    N, repeats = (2000, 1) if quick else (50_000, 3)
    for d, aim in ((32, ""), (128, "")) if quick else ((512, ">= 4"), (2048, ">= 15")):
        problem = feature_problem(N, d)
        samples, batch = min(N, 2**19 // d), max(1, 2**16 // d)  # 128 samples at d = 512, as in a released batch
        sides: dict[str, Callable[[], object]] = {
            "ncrun": partial(measure_features, problem),
            "double": partial(measure_plainly, problem, product, PLAIN_BATCH, torch.float64),
            "single": partial(measure_plainly, problem, product, PLAIN_BATCH, torch.float32),
            "outer": partial(scatter_of, problem, outer, batch, samples),
        }
        seconds = alternate(sides, repeats)
        memory = peak_memory(sides["ncrun"]), peak_memory(sides["double"])
        whole_outer = seconds["outer"] * N / samples
        limit = gemm_seconds(problem.products, torch.float64)
        name, what, copy = f"metrics alone, d = {d}", f"N = {N:,}", f"one copy of the features: {N * d // 2**18} MiB"
        rows += [
            Row(
                name,
                what,
                seconds["ncrun"],
                seconds["double"],
                "one d x d product per batch and one pinv, float64",
                limit=limit,
                target=aim,
                memory=memory,
                slice=copy,
            ),
            Row(name, what, seconds["ncrun"], seconds["single"], "the same in float32, which is not accurate"),
            Row(
                name,
                what,
                seconds["ncrun"],
                whole_outer,
                "an outer product per sample",
                target=">= 50",
                slice=f"baseline: scatter alone, scaled up from {samples} samples",
            ),
        ]
    return rows


def scatter_of(problem: FeatureProblem, way: Callable[[Tensor], Tensor], batch: int, samples: int) -> None:
    """The within-class scatter alone, of some samples, about known means."""
    d, K = problem.features.shape[1], len(problem.head.bias)
    means, within = torch.zeros(K, d), torch.zeros(d, d)
    for points, labels in zip(
        torch.split(problem.features[:samples], batch), torch.split(problem.labels[:samples], batch), strict=True
    ):
        within += way(points - means[labels])
