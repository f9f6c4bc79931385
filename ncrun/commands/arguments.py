"""Command lines that argparse reads, without Hydra. Errors are one line."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ncrun.errors import UserError

if TYPE_CHECKING:
    from ncrun.figures.page import Page


class Parser(argparse.ArgumentParser):
    """prog: such as "ncrun figures". A mistake is a UserError that names the sub-command."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog.split()[-1]}: {message}")


def add_runs(parser: Parser) -> None:
    """Adds the argument `runs`: any number of paths."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run directories, .zip archives, or folders with run directories in them",
    )


def add_page(parser: Parser) -> None:
    """Adds the options for the printed page, which `page_of` reads."""
    page = parser.add_argument_group("the page")
    page.add_argument("--width", metavar="WIDTH", help="column, text (5.5 in) or a number of inches")
    page.add_argument(
        "--venue", metavar="VENUE", help="font and sizes of a venue: neurips, icml, iclr, jmlr, aistats, ..."
    )
    page.add_argument("--type", metavar="TYPE", help="sans or serif; default: serif with --venue, else sans")
    page.add_argument("--format", metavar="FORMATS", help="any of png, pdf, svg, pgf; default: png,pdf")
    page.add_argument("--caption", action="store_true", help="write the whole caption into the PNG, too")


def page_of(options: argparse.Namespace) -> "Page":
    """The page that the options describe. Raises UserError."""
    from ncrun.figures import page

    said = {key: getattr(options, key) for key in page.CHOICES if getattr(options, key)}
    return page.page_of(said | ({"caption": "true"} if options.caption else {}), "--")


def following(word: str, before: str, options: Mapping[str, Sequence[str]], words: Sequence[str] = ()) -> list[str]:
    """Completions for the shell: after an option its choices (files if it has none), else options and words.

    word: the begun word. before: the word before it. options: the choices of each option.
    """
    choices = options[before] if options.get(before) else [*words, *(options if word.startswith("-") else ())]
    return [choice for choice in choices if choice.startswith(word)]
