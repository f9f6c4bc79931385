"""Command lines without Hydra: argparse, whose errors are one line."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ncrun.errors import UserError

if TYPE_CHECKING:
    from ncrun.figures.page import Page


class Parser(argparse.ArgumentParser):
    """prog: "ncrun figures" and the like; a mistake is a UserError that names the sub-command."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog.split()[-1]}: {message}")


def add_runs(parser: Parser) -> None:
    """What a command reads that takes any number of runs: `runs`, paths."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run directories, .zip archives, or folders that hold some"
    )


def add_page(parser: Parser) -> None:
    """How pictures are printed: what `page_of` reads."""
    page = parser.add_argument_group("the page")
    page.add_argument("--width", metavar="WIDTH", help="column, text (5.5 in) or a number of inches")
    page.add_argument("--venue", metavar="VENUE", help="sizes and type of neurips, icml, iclr, jmlr, aistats, ...")
    page.add_argument("--type", metavar="TYPE", help="sans or serif; left out: serif where there is a venue")
    page.add_argument("--format", metavar="FORMATS", help="some of png, pdf, svg, pgf (png,pdf)")
    page.add_argument("--caption", action="store_true", help="all of the caption in the PNG, too")


def page_of(options: argparse.Namespace) -> "Page":
    """The page that is asked for. Raises UserError."""
    from ncrun.figures import page

    said = {key: getattr(options, key) for key in page.CHOICES if getattr(options, key)}
    return page.page_of(said | ({"caption": "true"} if options.caption else {}), "--")


def following(word: str, before: str, options: Mapping[str, Sequence[str]], words: Sequence[str] = ()) -> list[str]:
    """What may follow in the shell: after an option its choices (of one without any, a file), else options and words.

    word: what is begun. before: the word before it. options: their choices by name.
    """
    choices = options[before] if options.get(before) else [*words, *(options if word.startswith("-") else ())]
    return [choice for choice in choices if choice.startswith(word)]
