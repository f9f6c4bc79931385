"""How near networks come to their predictions, with the settings of their recipes, and with freeze_norm and finish.

    python scripts/bench_arrival.py [FOLDER] [--only WORD] [--pairs N] [--table]

Trains the missing runs into FOLDER (default: runs/arrival), one after the other with one thread, continues interrupted
ones, and writes results/bench/arrival.md. Runs in the stored records are taken from there. --pairs: the
number of pairs that L-BFGS keeps; then the table, only of runs in FOLDER, is printed. --table: trains nothing, and
writes or prints the table of the existing runs.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncrun import cli
from ncrun.config.planning import job_of
from ncrun.records.read import Record, find_records
from ncrun.records.summary import distance
from ncrun.training import lbfgs

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "results" / "bench" / "arrival.md"
FREEZE, FINISH = ("freeze_norm=0.6",), ("finish=lbfgs",)


@dataclass(frozen=True)
class Case:
    """words: its name. typed: its overrides. more: further overrides of the run with the finish."""

    words: str
    typed: tuple[str, ...]
    more: tuple[str, ...]

    def run(self, folder: Path, arriving: bool) -> tuple[list[str], Path]:
        """What is typed, and where the records go."""
        keys = [each.partition("=")[0] for each in self.more]
        without = [f"{key}=null" for key in ("freeze_norm", "finish") if key in keys]
        typed = [*self.typed, *(self.more if arriving else without)]
        (run,) = job_of(typed).runs
        return typed, folder / run.directory.name


def of_recipe(name: str, words: str, *typed: str, scale: str = "cpu", more: tuple[str, ...] = FREEZE) -> Case:
    return Case(words, (f"experiment={name}", f"scale={scale}", *typed), (*FINISH, *more))


DIGITS = "dataset=digits"
USUAL_ADAM = ("optimizer.betas=[0.9,0.999]", "schedule.drops=[0.6,0.85]")
NEAR, LOW = 0.01, 0.001
INTRODUCTION = f"""# Arriving at the prediction

Distance to the prediction (the largest of NC2 of classifier and means, and NC3) and gap to the proven optimum, without
`freeze_norm=0.6 finish=lbfgs` and with them (networks without BatchNorm: `finish=lbfgs`); written by
`scripts/bench_arrival.py`. In brackets seconds of one thread, on a machine that others used meanwhile. All else is the
recipe's of the experiment, unless the first column says otherwise. Arrived: within {NEAR:g} of the
prediction and {LOW:.1%} of the optimum, after so many iterations of those in the last column.
"""
CASES = (
    of_recipe("dang2024/convolutional", "ResNet18, width 1/8, digits", "model=resnet18", DIGITS, "dataset.size=32"),
    of_recipe(
        "dang2024/convolutional-cifar10",
        "ResNet18, width 1/4, 300 images of CIFAR-10, 120 epochs",
        "model=resnet18",
        "model.width=0.25",
        "dataset=cifar10",
        "dataset.size=16",
        "counts=[10,10,20,20,30,30,40,40,50,50]",
        "batch_size=25",
        "decay.weight=2e-3",
        "decay.feature=5e-4",
        "optimizer.lr=2e-3",
        "epochs=120",
        "schedule.drops=[0.6,0.85]",
        "measure=20",
        scale="paper",
    ),
    of_recipe(
        "dang2024/mlp",
        "MLP, ReLU features, MNIST, 300 epochs and the finish in place of 3000",
        "dataset=mnist",
        "dataset.size=28",
        "dataset.channels=1",
        "epochs=3000",
        scale="real",
        more=("epochs=300",),
    ),
    of_recipe(
        "dang2023/mlp-balanced",
        "MLP with BatchNorm, digits, batches of 128, 600 epochs",
        "head.depth=1",
        "head.bias=False",
        "model.batch_norm=true",
        "batch_size=128",
        "epochs=600",
        "measure=10",
        *USUAL_ADAM,
        more=(*FREEZE, "finish_iterations=500"),
    ),
    of_recipe(
        "dang2023/mlp-balanced",
        "the same, 150 epochs and 1000 iterations",
        "head.depth=1",
        "head.bias=False",
        "model.batch_norm=true",
        "batch_size=128",
        "epochs=150",
        "measure=10",
        *USUAL_ADAM,
        more=(*FREEZE, "finish_iterations=1000"),
    ),
    of_recipe("dang2024/convolutional-cifar10", "DenseNet, digits", "model=densenet", DIGITS, "dataset.size=16"),
    of_recipe("dang2024/convolutional", "VGG11, width 1/8, digits", "model=vgg11", DIGITS, "dataset.size=32"),
    of_recipe(
        "dang2024/mlp",
        "MLP, ReLU features, digits, 300 epochs in place of 3500",
        DIGITS,
        "epochs=3500",
        more=("epochs=300",),
    ),
    *(
        of_recipe(
            "dang2023/mlp-imbalanced",
            f"MLP, squared loss, M = {depth}, digits, 500 epochs in place of 3000",
            f"head.depth={depth}",
            "epochs=3000",
            more=("epochs=500", "finish_iterations=1000"),
        )
        for depth in (1, 3, 6)
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="How near networks come to their predictions")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/arrival"))
    parser.add_argument("--only", default="", help="cases whose words or overrides hold this")
    parser.add_argument("--pairs", type=int, help="that L-BFGS keeps")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    if options.pairs:
        lbfgs.FEWEST_PAIRS = lbfgs.MOST_PAIRS = options.pairs
    archives = () if options.pairs else sorted((ROOT / "results").glob("*.zip"))  # those have the usual pairs
    stored = {record.path.name: record for path in archives for record in find_records(path)}
    chosen = [case for case in CASES if options.only in " ".join((case.words, *case.typed))]
    for case in () if options.table else chosen:
        for arriving in (True, False):
            typed, directory = case.run(options.folder, arriving)
            if directory.name in stored:
                continue
            status = cli.run(["train", *typed, "threads=1", "progress=false", f"run_dir={directory}"])
            if status:
                return status
    rows = "\n".join(table(CASES, options.folder, stored)) + "\n"
    if options.pairs:
        print(rows)
    else:
        TABLE.write_text(rows)
    return 0


def table(cases: Sequence[Case], folder: Path, stored: dict[str, Record]) -> Iterator[str]:
    """Markdown, a row for each case whose run has ended."""
    yield INTRODUCTION
    yield "| network | without | at the end of the epochs | after the finish | arrived | iterations |"
    yield "|---|---|---|---|---|---|"
    for case in cases:
        _, directory = case.run(folder, arriving=True)
        _, plain = case.run(folder, arriving=False)
        trained = {path.name: record for path in (directory, plain) for record in find_records(path)}
        record, before = (trained.get(path.name, stored.get(path.name)) for path in (directory, plain))
        if record is None or before is None:
            continue
        rows = record.metrics
        epochs = record.config["epochs"]
        (at_end,) = rows.index[rows["epoch"] == epochs]
        cells = [_cell(before, -1, 0.0), _cell(record, at_end, 0.0)]
        cells.append(_cell(record, -1, rows["seconds"].iloc[at_end]))
        near = rows[["nc2_w", "nc2_h", "nc3"]].max(axis=1) < NEAR
        there = rows["epoch"][near & (rows["gap"] < LOW) & (rows["epoch"] > epochs)]
        cells += ["no" if there.empty else f"{there.iloc[0] - epochs}", f"{rows['epoch'].iloc[-1] - epochs}"]
        yield f"| {case.words} | {' | '.join(cells)} |"


def _cell(record: Record, index: int, since: float) -> str:
    row = {str(key): value for key, value in record.metrics.iloc[index].items()}
    return f"{distance(row):.2g}, {100 * row['gap']:.2g} % ({row['seconds'] - since:.0f} s)"


if __name__ == "__main__":
    raise SystemExit(main())
