"""Common parts of the benchmarks: timing in turn, the machine's own rate, memory, and results as rows."""

import ctypes
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

Shape = tuple[int, int, int]  # (m, k) @ (k, n)


@dataclass(frozen=True)
class Row:
    """One line of the table. Times in seconds, medians.

    what: the timed part of the workload; slice: its data, the same on both sides unless it says otherwise. limit: the
    time of the matrix products of ncrun's side alone. memory: peak extra memory of ncrun and of the baseline, in bytes.
    target: the ratio to aim at (with `at_most`: of ncrun's time to the baseline's).
    """

    workload: str
    what: str
    ncrun: float
    baseline: float | None = None
    baseline_is: str = "released procedure"
    limit: float | None = None
    slice: str = ""
    target: str = ""
    memory: tuple[int | None, int | None] | None = None

    @property
    def ratio(self) -> float | None:
        """Baseline over ncrun: how many times as fast ncrun is."""
        return None if self.baseline is None else self.baseline / self.ncrun


def now() -> float:
    """Wall time in seconds, after a GPU in use has finished its work."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], object]) -> float:
    """Seconds of the work."""
    began = now()
    work()
    return now() - began


def alternate(sides: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each side, timed in turn, so that other work on the machine affects all of them."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            times[name].append(timed(work))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def gemm_seconds(shapes: Iterable[Shape], dtype: torch.dtype, repeats: int = 15) -> float:
    """Seconds of these matrix products alone, one after the other, on operands in memory."""
    total, known = 0.0, dict[Shape, float]()
    for shape in shapes:
        if shape not in known:
            m, k, n = shape
            left, right, out = (torch.ones(size, dtype=dtype) for size in ((m, k), (k, n), (m, n)))
            multiply = partial(torch.mm, left, right, out=out)
            multiply()
            known[shape] = statistics.median(timed(multiply) for _ in range(repeats))
        total += known[shape]
    return total


def linear_forward(layers: Sequence[tuple[int, int]], B: int) -> list[Shape]:
    """The products of a forward pass of B samples through linear layers of (inputs, outputs)."""
    return [(B, inputs, outputs) for inputs, outputs in layers]


def linear_step(layers: Sequence[tuple[int, int]], B: int) -> list[Shape]:
    """The products of a training step: forward, gradients of the weights, and of all inputs except the first
    layer's."""
    weights = [(outputs, B, inputs) for inputs, outputs in layers]
    inputs = [(B, outputs, inputs) for inputs, outputs in layers[1:]]
    return [*linear_forward(layers, B), *weights, *inputs]


def peak_memory(work: Callable[[], object]) -> int | None:
    """Bytes by which the process' resident memory rose; None without Linux' /proc."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # otherwise freed memory would be used again, unnoticed
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now the current size
        before = _peak_resident()
        work()
        return _peak_resident() - before
    except (OSError, AttributeError):
        return None


def _peak_resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def machine() -> dict[str, str | int]:
    """The machine and the versions."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    return {
        "cpu": names[0].split(":")[1].strip() if names else platform.processor(),
        "cores": torch.multiprocessing.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def markdown(rows: Sequence[Row], about: Mapping[str, str | int]) -> str:
    """The table, and below it the machine."""
    lines = [
        "| workload | timed | ncrun | baseline | ratio | aim | limit | share | extra memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = "" if row.limit is None else f"{row.limit / row.ncrun:.0%}"
        baseline = "" if row.baseline is None else f"{_seconds(row.baseline)}, {row.baseline_is}"
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        memory = "" if row.memory is None else " against ".join(_megabytes(size) for size in row.memory)
        what = row.what + (f" ({row.slice})" if row.slice else "")
        cells = [row.workload, what, _seconds(row.ncrun), baseline, ratio, row.target, _seconds(row.limit), share]
        lines.append("| " + " | ".join([*cells, memory]) + " |")
    return "\n".join([*lines, "", "; ".join(f"{key}: {value}" for key, value in about.items())])


def json_lines(rows: Sequence[Row], about: Mapping[str, str | int]) -> str:
    """One object per row, the machine first."""
    content = [{"machine": dict(about)}, *({**asdict(row), "ratio": row.ratio} for row in rows)]
    return "".join(json.dumps(entry) + "\n" for entry in content)


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def _megabytes(value: int | None) -> str:
    return "?" if value is None else f"{value / 2**20:.0f} MiB"
