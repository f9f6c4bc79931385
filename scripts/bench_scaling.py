"""How time and memory grow: measuring against samples, width, classes, head layers and tapped layers, and predicting
against classes.

    .venv/bin/python scripts/bench_scaling.py [--quick] [--threads N] [--out FOLDER]

One quantity varies at a time, around N = 20,000 samples of d = 512, K = 10 and M = 1. Beside the times stands the slope
between the last two points, in powers: 1 where time is proportional. Writes FOLDER/scaling.jsonl, .png and .pdf.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from bench_features import measure_features
from bench_problems import feature_problem
from bench_timing import machine, peak_memory, timed

from ncrun.config.planning import job_of
from ncrun.metrics.rows import tap_metrics
from ncrun.theory import predict
from ncrun.theory.report import as_json

N, WIDTH, CLASSES = 20_000, 512, 10
Prepared = Callable[[], object]


@dataclass(frozen=True)
class Point:
    """One problem. seconds: of the fastest try. memory: bytes at the peak beyond the start. features: bytes of these
    alone."""

    varied: str
    value: int
    seconds: float
    memory: int | None
    features: int


@dataclass(frozen=True)
class Study:
    """varied: what is on the axis. prepare(value) returns the work to time; size(value): bytes of its features."""

    varied: str
    values: Sequence[int]
    prepare: Callable[[int], Prepared]
    size: Callable[[int], int] = lambda value: 4 * N * WIDTH


def measuring(samples: int = N, d: int = WIDTH, K: int = CLASSES, M: int = 1) -> Prepared:
    """Every metric of the training split."""
    problem = feature_problem(samples, d, K, M)
    return lambda: measure_features(problem)


def tapping(taps: int) -> Prepared:
    """The metrics of so many tapped layers, each read by a linear layer."""
    problem = feature_problem(N, WIDTH)
    reader = torch.randn(WIDTH, WIDTH, dtype=torch.float64)

    def work() -> None:
        for _ in range(taps):
            tap_metrics(problem.features, problem.labels, CLASSES, torch.float32, reader)

    return work


def predicting(loss: str, K: int) -> Prepared:
    """What `ncrun theory` computes, of K classes of ten sizes."""
    counts = ",".join(str(20 + 20 * (k % 10)) for k in range(K))
    overrides = ["model=ufm", f"counts=[{counts}]", f"model.width={max(K, 64)}", f"loss={loss}", "decay.weight=5e-5"]
    problem = job_of([*overrides, "decay.feature=5e-6"]).runs[0].problem
    return lambda: as_json(predict(problem))


STUDIES = (
    Study("samples N", (2_500, 5_000, 10_000, 20_000, 40_000), lambda n: measuring(samples=n), lambda n: 4 * n * WIDTH),
    Study("width d", (64, 128, 256, 512, 1024, 2048), lambda d: measuring(d=d), lambda d: 4 * N * d),
    Study("classes K", (10, 30, 100, 300, 1000), lambda K: measuring(K=K)),
    Study("head layers M", (1, 2, 3, 6, 9), lambda M: measuring(M=M)),
    Study("tapped layers", (1, 2, 4, 8), tapping),
    Study("classes K, predicting, squared loss", (10, 30, 100, 300, 1000), lambda K: predicting("mse", K), lambda K: 0),
    Study("classes K, predicting, cross-entropy", (10, 30, 100, 300), lambda K: predicting("ce", K), lambda K: 0),
)


def run(study: Study, values: Sequence[int], repeats: int) -> list[Point]:
    """Time and memory at every value."""
    points = []
    for value in values:
        work = study.prepare(value)
        memory = peak_memory(work)  # also warms up
        seconds = min(timed(work) for _ in range(repeats))
        points.append(Point(study.varied, value, seconds, memory, study.size(value)))
    slope = math.log(points[-1].seconds / points[-2].seconds) / math.log(points[-1].value / points[-2].value)
    times = ", ".join(f"{point.value}: {1000 * point.seconds:.4g} ms" for point in points)
    print(f"{study.varied}: {times}; slope at the end {slope:.2f}", flush=True)
    return points


def draw(found: Sequence[Sequence[Point]], path: Path) -> None:
    """Time above, memory below, a column for each study."""
    from matplotlib import pyplot as plt

    from ncrun.figures.panels import STYLE, grid
    from ncrun.figures.saving import save

    with plt.style.context(STYLE):
        figure, axes = grid(2, len(found))
        for (above, below), points in zip(axes.T, found, strict=True):
            values = [point.value for point in points]
            seconds = [point.seconds for point in points]
            above.loglog(values, seconds, "o-", label="measured")
            above.loglog(
                values, [seconds[-1] * value / values[-1] for value in values], ":", color="0.4", label="proportional"
            )
            decades = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
            above.set_ylim(*(10.0**decade for decade in decades))
            kept = [point for point in points if point.memory is not None]
            below.plot(
                [p.value for p in kept], [(p.memory or 0) / 2**20 for p in kept], "o-", label="extra, at its peak"
            )
            if points[0].features:
                below.plot(values, [p.features / 2**20 for p in points], ":", color="0.4", label="one copy of features")
            below.set_xscale("log")
            below.set_ylim(bottom=0, top=1.3 * below.get_ylim()[1])
            for panel in (above, below):
                panel.minorticks_off()
                panel.set_xticks(values, [f"{value:,}" for value in values], rotation=45)
            name, _, kind = points[0].varied.partition(", ")
            above.set_title(kind or "measuring")
            below.set_xlabel(name)
        axes[0, 0].set_ylabel("seconds")
        axes[1, 0].set_ylabel("MiB")
        axes[0, 0].legend(loc="upper left")
        axes[1, 0].legend(loc="upper left")
        save(figure, path)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, draw; returns the exit status."""
    parser = argparse.ArgumentParser(description="time and memory against the size of the problem")
    parser.add_argument("--quick", action="store_true", help="the two smallest points of each curve")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for scaling.jsonl, .png, .pdf")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    found = [
        run(study, study.values[:2] if chosen.quick else study.values, 1 if chosen.quick else 5) for study in STUDIES
    ]
    chosen.out.mkdir(parents=True, exist_ok=True)
    lines = [{"machine": machine()}, *(asdict(point) for points in found for point in points)]
    (chosen.out / "scaling.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    draw(found, chosen.out / "scaling")
    return 0


if __name__ == "__main__":
    sys.exit(main())
