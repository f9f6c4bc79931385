"""How time and memory grow: of measuring with samples, width, classes, head layers and tapped layers, and of predicting
with classes.

    .venv/bin/python scripts/bench_scaling.py [--quick] [--threads N] [--out FOLDER] [--redraw]

One quantity varies at a time, around N = 20,000 samples of d = 512, K = 10 and M = 1. Beside the times is the exponent
between the last two points: 1 if time is proportional. Writes FOLDER/scaling.jsonl, .png and .pdf.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from bench_features import measure_features
from bench_problems import feature_problem
from bench_timing import machine, peak_memory, timed

from ncrun.config.planning import job_of
from ncrun.metrics.rows import tap_metrics
from ncrun.theory import predict
from ncrun.theory.report import as_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N, WIDTH, CLASSES = 20_000, 512, 10
Prepared = Callable[[], object]


@dataclass(frozen=True)
class Point:
    """One problem. seconds: of the fastest try. memory: peak bytes minus those at the start. features: their own
    bytes."""

    varied: str
    value: int
    seconds: float
    memory: int | None
    features: int


@dataclass(frozen=True)
class Study:
    """varied: the quantity on the axis. prepare(value) returns the work to time; size(value): bytes of its features."""

    varied: str
    values: Sequence[int]
    prepare: Callable[[int], Prepared]
    size: Callable[[int], int] = lambda value: 4 * N * WIDTH


def measuring(samples: int = N, d: int = WIDTH, K: int = CLASSES, M: int = 1) -> Prepared:
    """Every metric of the training split."""
    problem = feature_problem(samples, d, K, M)
    return lambda: measure_features(problem)


def tapping(taps: int) -> Prepared:
    """The metrics of some tapped layers, each read by a linear layer."""
    problem = feature_problem(N, WIDTH)
    reader = torch.randn(WIDTH, WIDTH, dtype=torch.float64)

    def work() -> None:
        for _ in range(taps):
            tap_metrics(problem.features, problem.labels, CLASSES, torch.float32, reader)

    return work


def predicting(loss: str, K: int) -> Prepared:
    """The prediction for K classes with ten different counts."""
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


def draw(found: Sequence[Sequence[Point]], where: Mapping[str, object], path: Path) -> None:
    """Measuring on the left: time, and memory over that of the features, over what is varied, in units of its smallest
    value. Predicting on the right: time and memory over the classes. where: the machine, for the caption."""
    from matplotlib import pyplot as plt

    from ncrun.figures import looks, panels, saving

    measured = [points for points in found if points[0].features]
    predicted = [points for points in found if not points[0].features]
    with plt.style.context(panels.STYLE):
        figure, axes = panels.grid(2, 2, height=2.1)
        (seconds, times), (memories, bytes_) = axes
        for place, points in enumerate(measured):
            look, over = looks.look(place), [point.value / points[0].value for point in points]
            label = f"{points[0].varied}: {points[0].value:,} to {points[-1].value:,}"
            seconds.plot(over, [point.seconds for point in points], label=label, **look)
            kept = [(x, point.memory / point.features) for x, point in zip(over, points, strict=True) if point.memory]
            if kept:  # small work may stay within memory that the process already had
                memories.plot(*zip(*kept, strict=True), **look)
        for place, points in enumerate(predicted):
            look, over = looks.look(place), [float(point.value) for point in points]
            times.plot(
                over, [point.seconds for point in points], label=points[0].varied.partition("predicting, ")[2], **look
            )
            kept = [(x, point.memory / 2**20) for x, point in zip(over, points, strict=True) if point.memory]
            if kept:
                bytes_.plot(*zip(*kept, strict=True), **look)
        if measured:
            seconds.set(title="measuring", ylabel="seconds")
            memories.set(xlabel="times the smallest", ylabel="extra memory / features")
            if memories.get_lines():
                memories.axhline(1, linestyle=":", color="0.4", linewidth=1.0)
            panels.legend_above(figure, seconds.get_legend_handles_labels()[0])
        if predicted:
            times.set(title="predicting", ylabel="seconds")
            bytes_.set(xlabel="classes K", ylabel="extra memory, MiB")
            times.legend(loc="upper left")
        for ax in axes.flat:
            ax.set(xscale="log", yscale="log")
            if ax.get_lines():
                if ax in axes[0]:
                    _proportional(ax)
                panels.tidy_log(ax.xaxis)
                panels.tidy_log(ax.yaxis)
            else:
                panels.nothing_to_draw(ax)
        panels.caption(figure, _words(where))
        saving.save(figure, path)


def _proportional(ax: "Axes") -> None:
    """A dotted line for proportional growth, through the first point."""
    found = [np.asarray(line.get_data(), dtype=float) for line in ax.get_lines()]
    x, y = found[0]
    ends = np.array([x.min(), max(each[0].max() for each in found)])
    ax.plot(ends, y[0] * ends / x[0], ":", color="0.4", linewidth=1.0)


def _words(where: Mapping[str, object]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in where.items())
    return (
        f"One quantity is varied at a time around {N:,} samples of {WIDTH} dimensions, {CLASSES} classes and one head"
        " layer; the fastest of several tries, and memory at its peak beyond the start (over that of the features where"
        f" these are given). Dotted: proportional, and as much as the features. Measured on: {facts}."
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs, prints and draws; returns the exit status."""
    parser = argparse.ArgumentParser(description="time and memory over the size of the problem")
    parser.add_argument("--quick", action="store_true", help="only the two smallest points of each curve")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("results/bench"), help="folder for scaling.jsonl, .png, .pdf")
    parser.add_argument(
        "--redraw", action="store_true", help="draw scaling.jsonl of that folder again, without measuring"
    )
    chosen = parser.parse_args(arguments)
    file = chosen.out / "scaling.jsonl"
    if not chosen.redraw:
        measure(chosen.threads, chosen.quick, file)
    draw(*read(file), chosen.out / "scaling")
    return 0


def measure(threads: int, quick: bool, file: Path) -> None:
    """All studies, into a file: the machine, then a line for each point."""
    torch.set_num_threads(threads)
    found = [run(study, study.values[:2] if quick else study.values, 1 if quick else 5) for study in STUDIES]
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [{"machine": machine()}, *(asdict(point) for points in found for point in points)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(file: Path) -> tuple[list[list[Point]], dict[str, object]]:
    """The points of each study, and the machine."""
    first, *lines = (json.loads(line) for line in file.read_text().splitlines())
    points = [Point(**line) for line in lines]
    return [
        [point for point in points if point.varied == name] for name in dict.fromkeys(p.varied for p in points)
    ], first["machine"]


if __name__ == "__main__":
    sys.exit(main())
