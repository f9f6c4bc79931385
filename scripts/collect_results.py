"""Copy experiments' finished runs from runs/ into results/, without their checkpoints, and redraw the figures.

What results/ held of these experiments is replaced, and all figures and tables of their papers at these scales are
drawn again. Measured numbers are rounded to DIGITS significant digits, which more than halves the records. Of
experiments with many runs the single curves are left out.

.venv/bin/python scripts/collect_results.py [RUNS [RESULTS]]
"""

import json
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from ncrun.cli import run
from ncrun.figures.recipes import FIGURES
from ncrun.records.read import find_records

KEPT = ("config.yaml", "manifest.json", "theory.json")
MEASURED = ("geometry.json", "metrics.jsonl")
DIGITS = 7
CURVES_UP_TO = 12


def main(runs: Path, results: Path) -> int:
    """Returns the exit status of the drawing."""
    experiments = defaultdict(list)
    for record in find_records(runs):
        if record.manifest["experiment"] is not None:
            experiments[record.manifest["experiment"], record.manifest["scale"]].append(record)
    for (experiment, scale), records in experiments.items():
        folder = results / f"{experiment}-{scale}"
        shutil.rmtree(folder, ignore_errors=True)
        kept = (*KEPT, "curves.png") if len(records) <= CURVES_UP_TO else KEPT
        for record in records:
            target = folder / record.path.relative_to(runs)
            target.mkdir(parents=True)
            for name in kept:
                if (record.path / name).is_file():
                    shutil.copyfile(record.path / name, target / name)
            for name in MEASURED:
                if (record.path / name).is_file():
                    (target / name).write_text(rounded(record.path / name))
            print(f"{target}: {record.manifest['summary']}")
    # A paper's table has all its experiments, so all are drawn again, also those that were there before.
    touched = {(experiment.split("/")[0], scale) for experiment, scale in experiments}
    there = {(record.manifest["experiment"] or "", record.manifest["scale"]) for record in find_records(results)}
    status = 0
    for paper, scale in sorted(touched):
        # The head of frozen-head has no figure.
        names = sorted(name for name, its in there if name in FIGURES and (name.split("/")[0], its) == (paper, scale))
        status |= run(["figures", *names, "--scale", scale, "--from", str(results), "--out", str(results)])
    return status


def rounded(path: Path) -> str:
    """A file of JSON lines, or one of a single document, with shorter numbers."""
    text = path.read_text()
    documents = text.splitlines() if path.suffix == ".jsonl" else [text]
    shortened = (
        json.loads(each, parse_float=lambda number: float(f"{float(number):.{DIGITS}g}")) for each in documents
    )
    return "".join(json.dumps(each) + "\n" for each in shortened)


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [Path("runs"), Path("results")][len(arguments) :])))
