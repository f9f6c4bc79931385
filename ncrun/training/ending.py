"""The manifest's entries about a finished run, and its curves.png."""

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.models.saved import head_digest
from ncrun.records import RunDirectory
from ncrun.records.summary import describe
from ncrun.records.target_summary import describe_on_targets
from ncrun.records.verdict import judge, judge_on_targets
from ncrun.run import Run
from ncrun.training.checkpoint import Progress
from ncrun.training.evaluate import Evaluator

# K x K matrices of more classes than this are not written: geometry.json would have megabytes.
MOST_CLASSES_WRITTEN = 200


def time_spent(progress: Progress) -> dict[str, Any]:
    """The manifest's entries about a run's time."""
    return {
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "wall_seconds": round(progress.seconds, 2),
        "measuring_share": round(progress.measuring_seconds / max(progress.seconds, 1e-9), 4),
    }


def outcome(
    run: Run,
    network: Network | FreeFeatures,
    evaluator: Evaluator,
    record: RunDirectory,
    theory: dict[str, Any],
) -> dict[str, Any]:
    """The manifest's entries about a run's result; writes geometry.json."""
    row = record.last_row()
    words = describe(row, theory) if run.problem.targets is None else describe_on_targets(row, theory)
    ending: dict[str, Any] = {"summary": words}
    if run.descent.path:
        ending["summary"] = f"reached an optimum at {len(run.descent.path)} decays, one after the other"
    elif run.is_free:
        verdict = judge(row, theory) if run.problem.targets is None else judge_on_targets(row, theory)
        ending["verdict"] = asdict(verdict)
        ending["summary"] = f"{verdict.word}; {ending['summary']}"
    if isinstance(network, FreeFeatures):
        head = network.head  # part of the identity of runs that use this head
        ending["head_digest"] = head_digest(
            [weight[0] for weight in head.weights], None if head.bias is None else head.bias[0]
        )
    if run.problem.num_outputs <= MOST_CLASSES_WRITTEN:
        record.write_json("geometry.json", evaluator.measured_matrices(network))
    return ending


def draw(records: Sequence[RunDirectory]) -> bool:
    """Draws curves.png of runs whose records are closed. A failure of any kind must not affect them. Returns whether it
    succeeded. matplotlib is imported here, once in a process, so that no first step waits for it."""
    try:
        from ncrun.figures.curves import write_curves

        with warnings.catch_warnings(action="ignore"):
            for record in records:
                write_curves(record.path)
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        print(
            f"ncrun: {records[0].path}: curves.png was not drawn ({why}); the run itself is complete", file=sys.stderr
        )
        return False
    return True
