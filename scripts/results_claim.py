"""The claim in one picture, of all finished runs below results/: the picture, and what results/README.md says of it.

.venv/bin/python scripts/results_claim.py [RESULTS [OUT]]    draws RESULTS/claim.png, or OUT.png and OUT.pdf (10 s)
"""

import sys
import tempfile
from pathlib import Path
from shutil import copyfile

from results_numbers import Runs, table

from ncrun.figures import DRAWINGS, diagonal, diagonal_points, panels, saving
from ncrun.figures.page import Page

NAME = "claim"


def section(runs: Runs) -> str:
    standings = [diagonal_points.standing(record) for record in runs.records if not record.on_targets]
    points = diagonal_points.collected(standings)
    named = diagonal_points.outliers(points, standings)
    rows = []
    for kind, each in points.items():
        for state in diagonal_points.STATES:
            number, shares = diagonal.near(each, standings, (state,))
            if number:
                rows.append([kind, diagonal.STATE_WORDS[state], f"{number:,}", *map(diagonal.percent, shares)])
    worst = [
        [each.kind, f"`{each.run.name}`", each.classes, diagonal.loss_in_words(each.run), f"{distance:.2g}"]
        for each in named
        for distance in [points[each.kind].distance[each.place]]
    ]
    without = diagonal.without_place(standings, points)
    targets = len(runs.records) - len(standings)
    return f"""## The claim in one picture

The figure compares what theory predicts for a run with what was measured, for every class (norms, margins) and every pair of classes (cosines) of
{diagonal.runs_in_words(standings)}
Norms are relative to the root mean square of the run's predicted norms, margins to its largest predicted margin. Not drawn:
{"; ".join(f"{number} {reason}" for reason, number in without.items())}; {targets} on targets, which have no classes.

![the claim](claim.png)

A run whose loss is above the claimed one has not converged, or is in another minimum. It is evidence neither for the claim nor against it, and its markers are hollow. Only runs at
the claimed loss or below it are evidence.

{table(["", "runs", "points", *(f"within {tolerance:g}" for tolerance in diagonal.CLOSE)], rows)}

The point farthest from the diagonal, for each panel and state:

{table(["", "run", "class", "grade, loss from the claimed one", "distance"], worst)}
"""


def draw(results: Path, out: Path | None = None) -> None:
    """The PNG beside the records; or PNG and PDF elsewhere."""
    panels.use_style()
    records = [record for record in Runs.below(results).records if not record.on_targets]
    with tempfile.TemporaryDirectory() as folder:
        png, *_ = saving.save(DRAWINGS[NAME].of(records), out or Path(folder) / NAME, Page(caption=True))
        if out is None:
            copyfile(png, results / png.name)


if __name__ == "__main__":
    arguments = [Path(argument) for argument in sys.argv[1:]]
    draw(*(arguments or [Path("results")]))
