"""Time and memory with a thousand classes and more: of predictions, and of measuring a file of features.

Writes results/bench/classes.md with a line for each case; a new measurement replaces the old line. Every case runs in a
separate process. Memory is the peak of RssAnon, read from /proc/self/status every few milliseconds: the memory of the
process including imports, without the pages of the mapped file.

    .venv/bin/python scripts/bench_classes.py                     # all but the file of a million samples
    .venv/bin/python scripts/bench_classes.py --only million --scratch /somewhere   # 3 GB, removed at the end
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).resolve().parents[1] / "results" / "bench" / "classes.md"
HEADER = ["| case | processor time | wall time | memory |", "|---|---|---|---|"]
BLOCK = 20_000  # samples written at a time
DECAY_WEIGHT, DECAY_FEATURE = 5e-6, 1e-9


def counts_of(kind: str, K: int) -> list[int]:
    if kind == "two counts":
        return [500] * (K // 2) + [50] * (K - K // 2)
    return [100] * K if kind == "equal counts" else list(range(K, 2 * K))


def prediction(loss: str, K: int, kind: str, bias: bool) -> Callable[[Path], None]:
    def run(_: Path) -> None:
        from ncrun.stated import stated
        from ncrun.theory import predict
        from ncrun.theory.report import as_json

        problem = stated(
            counts=counts_of(kind, K),
            loss=loss,
            depth=1,
            bias=bias,
            feature_sign="free",
            decay_weight=DECAY_WEIGHT if loss == "mse" else 1e-5,
            decay_feature=DECAY_FEATURE if loss == "mse" else 1e-5 / 500,
            widths=[K],
        )
        found = predict(problem)
        as_json(found)
        assert found.claim in ("proven", "certified"), found.note

    return run


def measurement(K: int, d: int, N: int) -> Callable[[Path], None]:
    def run(scratch: Path) -> None:
        import ncrun

        path, rng = scratch / "features.npy", np.random.default_rng(0)
        labels = np.arange(N) * K // N
        means = rng.standard_normal((K, d), dtype=np.float32)
        file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(N, d))
        for start in range(0, N, BLOCK):
            y = labels[start : start + BLOCK]
            file[start : start + BLOCK] = means[y] + 0.3 * rng.standard_normal((len(y), d), dtype=np.float32)
        del file
        weights = means + 0.1 * rng.standard_normal((K, d), dtype=np.float32)
        with Watched():
            found = ncrun.measure(
                np.load(path, mmap_mode="r"),
                labels,
                weights,
                nonnegative_features=False,
                decay_weight=DECAY_WEIGHT,
                decay_feature=DECAY_FEATURE,
            )
        print({key: value for key, value in found.metrics.items() if not isinstance(value, list)})

    return run


CASES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mse-equal": (
        "squared loss with a bias, 10,000 classes of one count",
        prediction("mse", 10_000, "equal counts", True),
    ),
    "mse-two": ("the same of two counts", prediction("mse", 10_000, "two counts", True)),
    "mse-distinct": (
        "squared loss without a bias, 10,000 classes of 10,000 counts",
        prediction("mse", 10_000, "distinct counts", False),
    ),
    "mse-distinct-bias": (
        "squared loss with a bias, 1,000 classes of 1,000 counts",
        prediction("mse", 1_000, "distinct counts", True),
    ),
    "ce-two": ("cross-entropy with a bias, 1,000 classes of two counts", prediction("ce", 1_000, "two counts", True)),
    "ce-distinct": ("the same of 1,000 counts", prediction("ce", 1_000, "distinct counts", True)),
    "thousand": (
        "measuring 50,000 samples of 1,000 classes in 512 dimensions, memory-mapped",
        measurement(1_000, 512, 50_000),
    ),
    "two-thousand": ("the same of 2,000 classes", measurement(2_000, 512, 50_000)),
    "ten-thousand": (
        "measuring 50,000 samples of 10,000 classes in 768 dimensions, memory-mapped",
        measurement(10_000, 768, 50_000),
    ),
    "million": (
        "measuring 1,000,000 samples of 10,000 classes in 768 dimensions, memory-mapped",
        measurement(10_000, 768, 1_000_000),
    ),
}
LONG = ("million",)


class Watched:
    """A context that prints its seconds, and its peak of RssAnon."""

    def __enter__(self) -> None:
        self.peak, self.done = anonymous(), threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, processor = time.perf_counter() - self.wall, time.process_time() - self.processor
        self.done.set()
        self.thread.join()
        print(f"| {processor:.3g} s | {wall:.3g} s | {max(self.peak, anonymous()):.2f} GB |")

    def _watch(self) -> None:
        while not self.done.wait(0.003):
            self.peak = max(self.peak, anonymous())


def anonymous() -> float:
    """GB of this process without mapped files."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e9


def write(name: str, numbers: str) -> None:
    old = OUTPUT.read_text().splitlines()[2:] if OUTPUT.exists() else []
    lines = {line.split(" | ")[0]: line for line in old}
    lines[f"| {name}"] = f"| {name} {numbers}"
    order = [f"| {words}" for words, _ in CASES.values()]
    OUTPUT.write_text("\n".join([*HEADER, *(lines[key] for key in order if key in lines)]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, help="these cases alone")
    parser.add_argument("--scratch", type=Path, help="folder of the file of features; default: a temporary folder")
    parser.add_argument("--inside", choices=CASES, help=argparse.SUPPRESS)  # the process of a case
    arguments = parser.parse_args()
    if arguments.inside:
        case = CASES[arguments.inside][1]
        if "measurement" in case.__qualname__:
            case(arguments.scratch)
        else:
            with Watched():
                case(arguments.scratch)
        return
    for key in arguments.only or [key for key in CASES if key not in LONG]:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            command = [sys.executable, __file__, "--inside", key, "--scratch", scratch]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        numbers = next(line for line in done.stdout.splitlines() if line.startswith("| "))
        print(CASES[key][0], numbers, done.stdout.replace(numbers, ""), flush=True)
        write(CASES[key][0], numbers)


if __name__ == "__main__":
    main()
