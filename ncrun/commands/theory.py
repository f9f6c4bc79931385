"""`ncrun theory`: what the theorem predicts for a configuration. Trains nothing and needs no torch."""

import sys
from collections.abc import Sequence

from ncrun.commands.composed import run_composed
from ncrun.commands.keys import asked_for, print_help
from ncrun.run import Job

HELP = """\
ncrun theory [KEY=VALUE ...] [--json]       the geometry of this configuration at its optimum; trains nothing
ncrun theory -m KEY=V1,V2 ... [--json]      the same for a grid; with --json one line for each job, `typed` first
ncrun theory --remedies [KEY=VALUE ...]     adds class weights and a logit adjustment that help rare classes
ncrun theory --help KEY ...                 what keys mean, such as head.depth, decay or model

Prints the claim (how far to trust the prediction), the objective at the optimum, and for each class

  |w|^2, |h|^2    squared norms of its classifier row and of its class mean
  logit, margin   the class mean's logit for its own class; and that minus the largest other logit
  lost            whether the class is lost at the optimum (minority collapse), and at which multiple of these decays
                  that changes

Keys are those of `ncrun train`. The prediction depends on loss, counts or imbalance, model, head and decay only.

for example
  ncrun theory dataset=cifar10 imbalance=0.1 head.depth=3
  ncrun theory model=ufm_relu counts=[50,30,2,1] decay.weight=2e-2 decay.feature=5e-3
  ncrun theory -m model=ufm counts=[50,20,5] head.depth=1,2,3 --json

  --remedies      for cross-entropy with one linear layer: the class weights, or the logit adjustment, that give every
                  class the same margin; and below how many samples the rarest class is lost. Takes seconds, a minute
                  for a hundred classes
  --json          print theory.json; null is a number that is not determined, `collapsed` is a lost class
  --cfg job       every key with its value and meaning
"""


def theory(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    if keys := asked_for(arguments):
        return print_help(keys, arguments)
    if any(word in ("-h", "--help") for word in arguments):
        print(HELP, end="")
        return 0
    print_json, with_remedies = "--json" in arguments, "--remedies" in arguments

    def each(jobs: Sequence[tuple[Sequence[str], Job]]) -> int:
        return max(_predict(job, print_json, with_remedies, typed) for typed, job in jobs)

    rest = [word for word in arguments if word not in ("--json", "--remedies")]
    return run_composed(rest, lambda job: _predict(job, print_json, with_remedies), sweep=each)


def _predict(job: Job, print_json: bool, with_remedies: bool, typed: Sequence[str] | None = None) -> int:
    """typed: in a sweep, the overrides of this job, which its JSON line repeats."""
    from ncrun.theory import predict
    from ncrun.theory.remedies import may_help, remedies
    from ncrun.theory.remedies_report import remedies_as_json, remedies_in_words
    from ncrun.theory.report import as_json, as_table

    run = job.runs[0]
    if "module" in run.about and (said := run.about["module"].get("said")):
        stated = f"model.width={run.problem.widths[0]} model.feature_sign={run.problem.feature_sign}"
        print(f"ncrun: {said}; {stated} say so without building it", file=sys.stderr)
    prediction = predict(run.problem)
    helping = remedies(run.problem) if with_remedies else None
    if print_json:
        import json

        found = as_json(prediction)
        if with_remedies:
            found["remedies"] = remedies_as_json(helping)
        print(json.dumps(found, indent=1) if typed is None else json.dumps({"typed": list(typed)} | found), flush=True)
    else:
        print(as_table(prediction), flush=True)
        if with_remedies:
            print(f"\n{remedies_in_words(helping)}", flush=True)
        elif may_help(run.problem) and any(prediction.collapsed()):
            print("Class weights that keep them: ncrun theory --remedies", flush=True)
    return 0
