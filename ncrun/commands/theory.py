"""`ncrun theory`: what the theorem predicts for a configuration. Trains nothing, and needs no torch."""

import sys
from collections.abc import Sequence

from ncrun.commands.composed import run_composed
from ncrun.run import Job


def theory(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    print_json = "--json" in arguments
    return run_composed([a for a in arguments if a != "--json"], lambda job: _predict(job, print_json))


def _predict(job: Job, print_json: bool) -> int:
    from ncrun.theory import predict
    from ncrun.theory.report import as_json, as_table

    run = job.runs[0]
    if "module" in run.about and (said := run.about["module"].get("said")):
        stated = f"model.width={run.problem.widths[0]} model.feature_sign={run.problem.feature_sign}"
        print(f"ncrun: {said}; {stated} say so without building it", file=sys.stderr)
    prediction = predict(run.problem)
    if print_json:
        import json

        print(json.dumps(as_json(prediction), indent=1), flush=True)
    else:
        print(as_table(prediction), flush=True)
    return 0
