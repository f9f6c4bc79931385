"""How near networks come to their predictions: as their recipes have it, and with freeze_norm and finish=lbfgs.

    python scripts/bench_arrival.py [FOLDER] [--only WORD] [--table]

Trains what is not there yet in FOLDER (runs/arrival), one run after the other with one thread, each continued where it
was stopped, and writes results/bench/arrival.md. --table: writes the table of what is there. What a recipe without the
two keys comes to is taken from the stored records, where it is there; else it is trained as well.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ncrun import cli
from ncrun.config.planning import job_of
from ncrun.records.read import Record, find_records, load_record
from ncrun.records.summary import distance

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "results" / "bench" / "arrival.md"
FREEZE, FINISH = ("freeze_norm=0.6",), ("finish=lbfgs",)


@dataclass(frozen=True)
class Case:
    """words: what it is. typed: its overrides. more: what is typed besides in the run that is to arrive."""

    words: str
    typed: tuple[str, ...]
    more: tuple[str, ...]

    def run(self, folder: Path, arriving: bool) -> tuple[list[str], Path]:
        """What is typed, and where the records go."""
        typed = [*self.typed, *(self.more if arriving else ())]
        (run,) = job_of(typed).runs
        return typed, folder / run.directory.name


def of_recipe(name: str, words: str, *typed: str, scale: str = "cpu", more: tuple[str, ...] = ()) -> Case:
    return Case(words, (f"experiment={name}", f"scale={scale}", *typed), (*FREEZE, *FINISH, *more))


DIGITS = "dataset=digits"
INTRODUCTION = """# Arriving at the prediction

Distance to the prediction (the largest of NC2 of classifier and means, and NC3) and gap to the proven optimum, as the
recipe has it and with `freeze_norm=0.6 finish=lbfgs`; written by `scripts/bench_arrival.py`. In brackets seconds of one
thread, on machines that others used meanwhile. The recipe's epochs, unless the name says other ones.
"""
CASES = (
    of_recipe("dang2024/convolutional", "ResNet18, width 1/8, digits", "model=resnet18", DIGITS, "dataset.size=32"),
    of_recipe("dang2024/convolutional-cifar10", "DenseNet, digits", "model=densenet", DIGITS, "dataset.size=16"),
    of_recipe("dang2024/convolutional", "VGG11, width 1/8, digits", "model=vgg11", DIGITS, "dataset.size=32"),
    of_recipe("dang2024/mlp", "MLP, ReLU features, digits", DIGITS),
    of_recipe(
        "dang2023/mlp-balanced",
        "MLP with BatchNorm, digits",
        "head.depth=1",
        "head.bias=False",
        "model.batch_norm=true",
        "batch_size=128",
        "epochs=600",
    ),
    of_recipe(
        "dang2024/mlp",
        "MLP, ReLU features, MNIST",
        "dataset=mnist",
        "dataset.size=28",
        "dataset.channels=1",
        scale="real",
        more=("epochs=500",),
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="How near networks come to their predictions")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/arrival"))
    parser.add_argument("--only", default="", help="cases whose words or overrides hold this")
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    stored = {
        record.path.name: record for path in sorted((ROOT / "results").glob("*.zip")) for record in find_records(path)
    }
    chosen = [case for case in CASES if options.only in " ".join((case.words, *case.typed))]
    for case in () if options.table else chosen:
        for arriving in (True, False):
            typed, directory = case.run(options.folder, arriving)
            if not arriving and directory.name in stored:
                continue
            status = cli.run(["train", *typed, "threads=1", "progress=false", f"run_dir={directory}"])
            if status:
                return status
    TABLE.write_text("\n".join(table(CASES, options.folder, stored)) + "\n")
    return 0


def table(cases: Sequence[Case], folder: Path, stored: dict[str, Record]) -> Iterator[str]:
    """Markdown, a row for each case whose run has ended."""
    yield INTRODUCTION
    yield "| network | as the recipe has it | at the end of the epochs | after the finish | iterations |"
    yield "|---|---|---|---|---|"
    for case in cases:
        _, directory = case.run(folder, arriving=True)
        if not (directory / "theory.json").is_file():
            continue
        record = load_record(directory)
        _, plain = case.run(folder, arriving=False)
        before = stored.get(plain.name) or load_record(plain)
        rows = record.metrics
        epochs = record.config["epochs"]
        (at_end,) = rows.index[rows["epoch"] == epochs]
        cells = [_cell(before, -1, 0.0), _cell(record, at_end, 0.0)]
        cells.append(_cell(record, -1, rows["seconds"].iloc[at_end]))
        iterations = int(rows["epoch"].iloc[-1]) - epochs
        yield f"| {case.words} | {' | '.join(cells)} | {iterations} |"


def _cell(record: Record, index: int, since: float) -> str:
    row = {str(key): value for key, value in record.metrics.iloc[index].items()}
    return f"{distance(row):.2g}, {row['gap']:.2%} ({row['seconds'] - since:.0f} s)"


if __name__ == "__main__":
    raise SystemExit(main())
