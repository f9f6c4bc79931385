"""Command lines without Hydra: argparse, whose errors are one line."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from ncrun.errors import UserError


class Parser(argparse.ArgumentParser):
    """prog: "ncrun figures" and the like; a mistake is a UserError that names the sub-command."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog.split()[-1]}: {message}")


def add_runs(parser: Parser) -> None:
    """What a command reads that takes any number of runs: `runs`, paths."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run directories, .zip archives, or folders that hold some"
    )


def following(word: str, before: str, options: Mapping[str, Sequence[str]], words: Sequence[str] = ()) -> list[str]:
    """What may follow in the shell: after an option its choices (of one without any, a file), else options and words.

    word: what is begun. before: the word before it. options: their choices by name.
    """
    choices = options[before] if options.get(before) else [*words, *(options if word.startswith("-") else ())]
    return [choice for choice in choices if choice.startswith(word)]
