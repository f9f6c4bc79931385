"""`ncrun runs`: lists every run below a folder; there is no database."""

import contextlib
import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from ncrun.commands.arguments import Parser, following
from ncrun.errors import UserError, printable
from ncrun.records.differences import as_json as differences_as_json
from ncrun.records.differences import as_text as differences_as_text
from ncrun.records.differences import differences
from ncrun.records.glance import STATES, Glance, Overview, one_run
from ncrun.records.listing import FACTS, as_csv, as_json, as_text, chosen, ordered, size
from ncrun.records.removal import remove, size_of

DEFAULT = Path("runs")
EVERY_SECONDS = 2.0


def runs(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status (1: a run was not removed). Raises UserError."""
    options = _parser().parse_args(list(arguments))
    states = [state.strip() for each in options.state for state in each.split(",")]
    _refuse_what_has_no_effect(options)
    if options.diff:
        return _diff(options.diff, options.json)
    roots = list(dict.fromkeys(options.folders)) or [DEFAULT]
    overview = Overview()

    def look() -> list[Glance]:
        found = chosen(overview.look(roots), states, options.where)
        # A terminal shows as many runs as it has lines, unfinished ones first.
        order = options.sort or ("state" if options.watch else None)
        return ordered(found, order, options.reverse) if order else found

    if options.watch:
        return _watch(look)
    found = look()
    if options.rm:
        return _remove(found, options.yes)
    if options.json or options.csv:
        print((as_json if options.json else as_csv)(found), end="")
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(as_text(found, width), end="")
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="ncrun runs",
        description="List every run in these folders and archives and below them: its state, progress, the"
        " configuration keys in which the runs differ, its last numbers, and its verdict or the reason"
        " why it ended.",
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR", help="folders, or archives; default: runs/")
    parser.add_argument("--state", action="append", default=[], metavar="STATE", help=f"only {', '.join(STATES)}")
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs with this value in their configuration",
    )
    parser.add_argument("--sort", metavar="NAME", help="sort by a number, such as gap or seconds_left, or by a key")
    parser.add_argument("--reverse", action="store_true", help="largest first")
    parser.add_argument("--json", action="store_true", help="everything as JSON, a line for each run")
    parser.add_argument("--csv", action="store_true", help="everything as CSV, without keys that are equal in all runs")
    parser.add_argument("--watch", action="store_true", help="update every two seconds, until Ctrl-C")
    parser.add_argument("--diff", nargs=2, type=Path, metavar=("A", "B"), help="the differences of two runs")
    parser.add_argument("--rm", action="store_true", help="remove the chosen runs, after a question")
    parser.add_argument("--yes", action="store_true", help="for --rm: do not ask")
    return parser


def completions(word: str, before: str) -> list[str]:
    """What may follow in the shell."""
    keys = []
    if before == "--where":
        from ncrun.config.schema import known_keys  # imports Hydra, which listing does not need

        keys = [f"{key}=" for key in known_keys()]
    words = ("--reverse", "--json", "--csv", "--watch", "--diff", "--rm", "--yes")
    options = {
        "--state": [state for state in STATES if " " not in state],
        "--where": keys,
        "--sort": list(FACTS),
        **dict.fromkeys(words, ()),
    }
    return following(word, before, options)


def _refuse_what_has_no_effect(options: Namespace) -> None:
    ways = [name for name in ("json", "csv", "watch", "rm") if getattr(options, name)]
    if len(ways) > 1:
        raise UserError(f"--{ways[1]}: cannot be combined with --{ways[0]}; choose one")
    if options.diff:
        for name in ("folders", "state", "where", "sort", "reverse", "csv", "watch", "rm"):
            if getattr(options, name):
                raise UserError(f"{name if name == 'folders' else f'--{name}'}: has no effect with --diff")
    if options.yes and not options.rm:
        raise UserError("--yes: has no effect without --rm")
    if options.reverse and not options.sort:
        raise UserError("--reverse: has no effect without --sort")
    if options.watch and not sys.stdout.isatty():
        raise UserError("--watch: needs a terminal, and the output is none")
    if options.rm and not (options.state or options.where):
        folders = options.folders or [DEFAULT]
        if not all((folder / "manifest.json").is_file() for folder in folders):
            raise UserError(
                "--rm: choose runs by --state failed, --where KEY=VALUE or the like, or name run directories"
            )
    if options.rm and not options.yes and not sys.stdin.isatty():
        raise UserError("--rm: asks before it removes, but the input is no terminal; --yes removes without asking")


def _watch(look: Callable[[], Sequence[Glance]]) -> int:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            terminal = shutil.get_terminal_size()
            lines = as_text(look(), terminal.columns).splitlines()
            table, footer = lines[:-2], lines[-1:]
            # As a Text, because names may hold characters that rich takes for markup.
            live.update(Text("\n".join([*footer, "", *table][: terminal.lines])), refresh=True)
            time.sleep(EVERY_SECONDS)
    return 0


def _remove(found: Sequence[Glance], without_asking: bool) -> int:
    if not found:
        print("no runs")
        return 0
    print(as_text(found), end="")
    if not without_asking:
        room = size(sum(map(size_of, found)))
        try:
            answer = input(f"remove {'this run' if len(found) == 1 else f'these {len(found)} runs'} ({room})? [y/N] ")
        except EOFError:
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing is removed")
            return 0
    status = 0
    for run in found:
        try:
            remove(run)
            print(f"{printable(str(run.path))}: removed")
        except UserError as error:
            print(f"ncrun: {printable(str(error))}", file=sys.stderr)
            status = 1
    return status


def _diff(paths: Sequence[Path], print_json: bool) -> int:
    first, second = pair = [one_run(path) for path in paths]
    found = differences(first, second)
    print((differences_as_json if print_json else differences_as_text)(pair, found), end="")
    return 0
