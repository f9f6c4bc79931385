"""The speed of ncrun on a GPU: each option compared with the plain baseline of bench_baseline.py and with the peaks of
the device, all in one process.

    python scripts/gpu_speed.py WORKLOAD --out FOLDER [--device cuda] [--tiny]

Workloads: imbalanced, balanced, resnet, metrics, free. Results are appended to FOLDER/speed.jsonl one by one,
and existing ones are skipped, so that the same command continues. FOLDER/peaks.json holds the peaks (`gpu_hour.py`
writes it). `limit` is the time of the work at those peaks and the option's precision; `share` is limit / time. A
failing option is recorded with its error, and the others go on.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_baseline import outer, product
from bench_features import PLAIN_BATCH, descent, measure_features, measure_plainly, plain_descent, trained
from bench_networks import IMBALANCED, Released, fit
from bench_problems import NetworkProblem, feature_problem, network_problem, target_matrices
from bench_timing import Row, machine, markdown, timed
from gpu_cost import Cost, Peaks, forward_cost, peaks_lines, step_cost

from ncrun.config.planning import job_of
from ncrun.metrics.scan import Head
from ncrun.models.network import Network
from ncrun.theory import predict
from ncrun.training.graph import GraphedStep
from ncrun.training.optimisers import StepRule, build_optimiser


@dataclass(frozen=True)
class Option:
    """A combination of the keys for a GPU."""

    precision: str = "full"
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def name(self) -> str:
        """Such as bfloat16 + compile."""
        asked = [key for key in ("compile", "cuda_graphs") if getattr(self, key)]
        return " + ".join([self.precision, *asked])

    @property
    def needs_gpu(self) -> bool:
        return self.precision == "tf32" or self.compile or self.cuda_graphs

    def on(self, problem: NetworkProblem) -> NetworkProblem:
        """The same problem with this option."""
        descent = replace(problem.run.descent, precision=self.precision)
        machine = replace(problem.run.machine, compile=self.compile, cuda_graphs=self.cuda_graphs)
        return replace(problem, run=replace(problem.run, descent=descent, machine=machine))


FULL, TF32, BFLOAT16 = Option(), Option("tf32"), Option("bfloat16")
GRAPHS, COMPILE = Option(cuda_graphs=True), Option(compile=True)
ALL = (FULL, TF32, BFLOAT16, GRAPHS, Option("tf32", cuda_graphs=True), COMPILE, Option("bfloat16", compile=True))


@dataclass(frozen=True)
class Bench:
    """Device and size. tiny: only to see whether it runs."""

    device: torch.device
    peaks: Peaks
    tiny: bool

    def options(self, wanted: Sequence[Option]) -> list[Option]:
        return [each for each in wanted if self.device.type == "cuda" or not each.needs_gpu]


Measured = Iterator[tuple[str, Callable[[], Row]]]


def _epochs(problem: NetworkProblem) -> list[tuple[float, float]]:
    """Trains by ncrun's own loop; returns the seconds of training and of measuring in each epoch."""
    times: list[tuple[float, float]] = []
    fit(problem, problem.network(), lambda training, measuring: times.append((training, measuring)))
    return times


def imbalanced(bench: Bench) -> Measured:
    """A full-batch step of Dang et al. 2023's imbalanced MLP at its own width."""
    width, scale, repeats = (32, 0.05, 3) if bench.tiny else (2048, 1.0, 20)
    typed = [f"model.width={width}", "model.depth=6", "model.batch_norm=false", "head.depth=1", "batch_size=full"]
    typed += ["decay.weight=1e-4", "decay.feature=1e-4", f"measure={repeats}", f"epochs={repeats}", "optimizer.lr=1e-4"]
    problem = network_problem([round(n * scale) for n in IMBALANCED], 10, typed, device=bench.device)
    N, plain = problem.run.data.num_samples, Released(problem)
    theirs = min(timed(plain.train) for _ in range(2))
    limit = step_cost(problem.run, N)

    def row(option: Option) -> Row:
        times = _epochs(option.on(problem))
        return Row(
            f"imbalanced MLP 6 x {width}, {problem.source}",
            f"training step, {option.name}",
            statistics.median(training for training, _ in times[len(times) // 2 :]),
            theirs,
            limit=limit.computing(bench.peaks, option.precision),
            slice=f"N = {N}",
        )

    for option in bench.options(ALL):
        yield option.name, partial(row, option)


def balanced(bench: Bench) -> Measured:
    """A measured epoch of their balanced MLP on a part of CIFAR-10."""
    width, per_class, repeats = (16, 26, 2) if bench.tiny else (512, 1024, 4)
    typed = [f"model.width={width}", "model.depth=6", "model.batch_norm=true", "head.depth=3", "batch_size=128"]
    typed += ["decay.weight=5e-4", "decay.feature=1.28e-6", "measure=every", f"epochs={repeats}", "optimizer.lr=1e-4"]
    num_test = per_class // 5
    problem = network_problem([per_class] * 10, num_test, typed, device=bench.device)
    N, plain = problem.run.data.num_samples, Released(problem)
    plain.measure(outer)  # warms up
    theirs = timed(plain.train) + timed(lambda: plain.measure(outer))
    measuring = forward_cost(problem.run, min(512, N)).times((N + 10 * num_test) / min(512, N))
    limit = step_cost(problem.run, 128).times(N / 128) + measuring

    def row(option: Option) -> Row:
        times = _epochs(option.on(problem))
        return Row(
            f"balanced MLP 6 x {width}, M = 3, batch 128, {problem.source}",
            f"measured epoch, {option.name}",
            statistics.median(training + measured for training, measured in times[1:]),
            theirs,
            limit=limit.computing(bench.peaks, option.precision),
            slice=f"N = {N} + {10 * num_test}",
            target=">= 20",
        )

    for option in bench.options((FULL, TF32, BFLOAT16, GRAPHS, Option("tf32", cuda_graphs=True))):
        yield option.name, partial(row, option)


def resnet(bench: Bench) -> Measured:
    """An epoch of ResNet18 on a part of CIFAR-10, compared with a bare loop in the format for tensor cores."""
    width, per_class, repeats = (0.0625, 13, 2) if bench.tiny else (1, 512, 3)
    typed = ["batch_size=128", "decay.mode=parameters", "decay.weight=5e-4", "optimizer=sgd", "optimizer.lr=1e-3"]
    typed += [f"model.width={width}", f"measure={repeats}", f"epochs={repeats}", "loss=mse"]
    problem = network_problem([per_class] * 10, 10, typed, model="resnet18", device=bench.device)
    N = problem.run.data.num_samples
    reachable = bare_step(problem, min(128, N)) * N / min(128, N)
    limit = step_cost(problem.run, min(128, N)).times(N / min(128, N))

    def row(option: Option) -> Row:
        times = _epochs(option.on(problem))
        seconds = min(training for training, _ in times[1:])
        return Row(
            f"ResNet18 x {width:g}, batch 128, {problem.source}",
            f"training epoch, {option.name}",
            seconds,
            reachable,
            "a bare loop, channels_last, bfloat16",
            limit=limit.computing(bench.peaks, option.precision),
            slice=f"N = {N}, {N / seconds:,.0f} images/s",
            target=">= 0.6",
        )

    wanted = (FULL, TF32, BFLOAT16, Option("bfloat16", cuda_graphs=True), Option("bfloat16", compile=True))
    for option in bench.options(wanted):
        yield option.name, partial(row, option)


def bare_step(problem: NetworkProblem, B: int) -> float:
    """Seconds of a minimal step: forward, backward and SGD on prepared images, in channels_last and bfloat16; on a GPU
    with the fastest convolutions of cuDNN, as a CUDA graph."""
    network = problem.network().to(memory_format=torch.channels_last)
    assert isinstance(network, Network)
    optimiser = build_optimiser([StepRule.of(problem.run.descent.optimizer)], network)
    images = problem.data.train_images[:B].contiguous(memory_format=torch.channels_last)
    before = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with torch.autocast(problem.device.type, torch.bfloat16):
            logits = network(images)[1]
        for parameter in network.parameters():
            parameter.grad = None
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    labels = problem.data.train_labels[:B]
    taken = GraphedStep(step, same_batch=True) if problem.device.type == "cuda" else step
    for _ in range(5):  # cuDNN's search, and the recording
        taken(images, labels)
    times = [timed(lambda: taken(images, labels)) for _ in range(5 if problem.device.type == "cpu" else 30)]
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = before
    return statistics.median(times)


def metrics(bench: Bench) -> Measured:
    """Every metric of features on the device."""
    N, d = (400, 32) if bench.tiny else (50_000, 512)
    on_cpu = feature_problem(N, d)
    head = Head([each.to(bench.device) for each in on_cpu.head.weights], on_cpu.head.bias.to(bench.device))
    problem = replace(
        on_cpu, features=on_cpu.features.to(bench.device), labels=on_cpu.labels.to(bench.device), head=head
    )

    def row() -> Row:
        own = [timed(lambda: measure_features(problem)) for _ in range(7)]
        theirs = [timed(lambda: measure_plainly(problem, product, PLAIN_BATCH, torch.float64)) for _ in range(3)]
        limit = Cost(0, problem.features.numel() * 4, 0).computing(bench.peaks, "full")
        return Row(
            f"metrics alone, d = {d}",
            f"N = {N:,}",
            statistics.median(own[2:]),
            min(theirs),
            "one d x d product per batch and one pinv, float64",
            limit=limit,
            slice="limit: reading the features once",
            target="< 20 ms",
        )

    yield "float64", row


def free(bench: Bench) -> Measured:
    """An iteration of gradient descent on free features, float64."""
    iterations, plain_iterations = (50, 3) if bench.tiny else (20_000, 50)

    def row(M: int, option: Option) -> Row:
        more = [f"device={bench.device.type}", f"cuda_graphs={str(option.cuda_graphs).lower()}"]
        typed = descent(M, iterations, *more, f"measure={iterations}")
        run = job_of(typed).runs[0]
        plain, matrices = plain_descent(run, bench.device), target_matrices(predict(run.problem))
        theirs = statistics.median(timed(lambda: plain.iterate(matrices)) for _ in range(plain_iterations))
        seconds, _ = trained(typed)
        return Row(
            f"free features, d = 64, M = {M}",
            f"an iteration, {option.name}",
            seconds / iterations,
            theirs,
            "measured every iteration",
            slice=f"{iterations:,} in {seconds:.3g} s, {iterations / seconds:,.0f}/s",
            target="<= 0.05 ms",
        )

    for M in (1, 3):
        for option in bench.options((FULL, GRAPHS)):
            yield f"M = {M}, {option.name}", partial(row, M, option)


WORKLOADS: dict[str, Callable[[Bench], Measured]] = {
    "imbalanced": imbalanced,
    "balanced": balanced,
    "resnet": resnet,
    "metrics": metrics,
    "free": free,
}


def run_workload(name: str, bench: Bench, out: Path) -> None:
    """Measures and appends missing results, option by option."""
    file = out / "speed.jsonl"
    for option, measured in WORKLOADS[name](bench):
        key = f"{name}: {option}"
        if any(entry["key"] == key for entry in entries(out)):
            continue
        try:
            entry = {"key": key, **asdict(measured())}
        except Exception as error:  # an option may be untested on this device; the others still count
            entry = {"key": key, "failed": f"{type(error).__name__}: {error}"}
        print(f"{key}: {entry.get('failed') or _seconds(entry)}", flush=True)
        with file.open("a") as lines:
            lines.write(json.dumps(entry) + "\n")


def entries(out: Path) -> list[dict[str, Any]]:
    """All results so far."""
    file = out / "speed.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def as_table(found: Sequence[dict[str, Any]], peaks: Peaks) -> str:
    """Markdown: the results, the failures, and the machine."""
    measured = [each for each in found if "failed" not in each]
    rows = [Row(**{key: value for key, value in each.items() if key != "key"}) for each in measured]
    failed = [f"- {each['key']} failed: {each['failed'].splitlines()[0]}" for each in found if "failed" in each]
    return "\n".join([markdown(rows, {**machine(), "device": peaks.device}), "", *peaks_lines(peaks), *failed]) + "\n"


def _seconds(entry: dict[str, Any]) -> str:
    ratio = "" if entry["baseline"] is None else f", {entry['baseline'] / entry['ncrun']:.3g} times the baseline"
    share = "" if entry["limit"] is None else f", {entry['limit'] / entry['ncrun']:.0%} of the peak"
    return f"{1000 * entry['ncrun']:.4g} ms{ratio}{share}"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="ncrun's speed on a GPU")
    parser.add_argument("workload", choices=list(WORKLOADS))
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="holds peaks.json")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small problems, to see whether it runs")
    chosen = parser.parse_args(arguments)
    peaks = Peaks(**json.loads((chosen.out / "peaks.json").read_text()))
    run_workload(chosen.workload, Bench(torch.device(chosen.device), peaks, chosen.tiny), chosen.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
