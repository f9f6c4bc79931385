"""Copy experiments' finished runs from runs/ into results/, without their checkpoints, and redraw the figures there.

What results/ held of these experiments is replaced. Of experiments with many runs the single curves are left out.

.venv/bin/python scripts/collect_results.py [RUNS [RESULTS]]
"""

import shutil
import sys
from collections import defaultdict
from pathlib import Path

from ncrun.cli import run
from ncrun.records.read import find_records

KEPT = ("config.yaml", "manifest.json", "theory.json", "geometry.json", "metrics.jsonl")
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
                shutil.copyfile(record.path / name, target / name)
            print(f"{target}: {record.manifest['summary']}")
    return max(
        run(["figures", name, "--scale", scale, "--from", str(results), "--out", str(results)])
        for name, scale in sorted(experiments)
    )


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    sys.exit(main(*(arguments + [Path("runs"), Path("results")][len(arguments) :])))
