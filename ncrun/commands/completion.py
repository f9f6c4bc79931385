"""Completion of keys and choices in bash. Hydra's shell function calls `ncrun -sc query=bash` with the line typed so
far, sub-command and all."""

import os
from collections.abc import Sequence
from importlib import import_module

from ncrun.commands.composed import run_composed
from ncrun.errors import UserError

# Commands without Hydra complete by completions(word, before): the begun word and the word before it. If no completion
# matches, the shell completes file names.
COMPLETED = ("plot", "figures", "table", "runs", "rerun", "report", "measure", "doctor")


def complete(arguments: Sequence[str], commands: Sequence[str]) -> int:
    """Run the command; returns the exit status. commands: all possible first words. Raises UserError."""
    line = os.environ.setdefault("COMP_LINE", "")
    words = line.split()
    if any(each.startswith("query=") and each != "query=bash" for each in arguments):
        raise UserError(f"{' '.join(arguments)}: completion works in bash only (query=bash)")
    if "query=bash" in arguments:
        if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
            print(" ".join(commands))
            return 0
        last = "" if line.endswith(" ") else words[-1]
        if words[1] in COMPLETED:
            module = import_module(f"ncrun.commands.{words[1]}")
            print(" ".join(module.completions(last, words[-1] if last == "" else words[-2])))
            return 0
        if words[1] not in ("train", "theory"):
            return 0  # the shell completes files
        if last.startswith("experiment="):  # Hydra does not complete choices in sub-folders
            from ncrun.config.folders import experiments

            print(" ".join(_beginning(last, [f"experiment={name}" for name in experiments()])))
            return 0
        if last.startswith("scale="):
            from ncrun.config.experiments import SCALES

            print(" ".join(_beginning(last, [f"scale={name}" for name in SCALES])))
            return 0
        # Remove the sub-command from the line, and move the cursor's position back by as many characters.
        start = line.index(words[1], len(words[0]))
        removed = len(words[1]) + 1
        os.environ["COMP_LINE"] = line[:start] + line[start + removed :]
        point = int(os.environ.get("COMP_POINT") or len(line))
        os.environ["COMP_POINT"] = str(max(start, point - removed))
    return run_composed(arguments, lambda job: 0)


def _beginning(word: str, choices: Sequence[str]) -> list[str]:
    return [choice for choice in choices if choice.startswith(word)]
