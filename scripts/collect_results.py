"""Copy an experiment's finished runs from runs/ into results/, without their checkpoints, and redraw its figures there.

.venv/bin/python scripts/collect_results.py [RUNS [RESULTS]]
"""

import shutil
import sys
from pathlib import Path

from ncrun.cli import run
from ncrun.records.read import find_records

KEPT = ("config.yaml", "manifest.json", "theory.json", "metrics.jsonl", "curves.png")


def main(runs: Path, results: Path) -> int:
    """Returns the exit status of the drawing."""
    experiments = set()
    for record in find_records(runs):
        experiment, scale = record.manifest["experiment"], record.manifest["scale"]
        if experiment is None:
            continue
        experiments.add((experiment, scale))
        target = results / f"{experiment}-{scale}" / record.path.name
        target.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            shutil.copyfile(record.path / name, target / name)
        print(f"{target}: {record.manifest['summary']}")
    return max(
        run(["figures", name, "--scale", scale, "--from", str(results), "--out", str(results)])
        for name, scale in sorted(experiments)
    )


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [Path("runs"), Path("results")][len(arguments) :])))
