"""`ncrun table`: the final numbers of runs, one row for each configuration."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from ncrun.commands.arguments import Parser, following
from ncrun.commands.changed import warn_of_changed
from ncrun.errors import UserError
from ncrun.records.files import write_text
from ncrun.records.groups import gather
from ncrun.records.table import COLUMNS, SUFFIXES, WRITERS, as_text, check_columns, final_table


def table(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    parser = Parser(
        prog="ncrun table",
        description="Print the final numbers of finished runs: one row for each configuration, mean and standard"
        " deviation over its seeds.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run directories, or folders with run directories in them"
    )
    parser.add_argument(
        "--format", choices=list(WRITERS), help="default: from the suffix of --out, else text that fits the terminal"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to write it; default: print it")
    parser.add_argument("--columns", metavar="NAME,NAME", help=f"metrics to show; default: {','.join(COLUMNS)}")
    options = parser.parse_args(list(arguments))
    form = options.format or _form_of(options.out)
    records = gather(options.runs)
    warn_of_changed(records)
    finished = [record for record in records if record.manifest["state"] == "done"]
    if not finished:
        raise UserError("none of these runs is finished; `ncrun plot` draws unfinished runs, too")
    columns = check_columns(options.columns.split(","), finished) if options.columns else COLUMNS
    for record in records:
        if record.manifest["state"] != "done":
            print(f"ncrun: {record.path}: is not finished ({record.manifest['state']}); skipped", file=sys.stderr)
    frame = final_table(finished, columns)
    if options.out is None:
        fits = form is None and not options.columns
        terminal = shutil.get_terminal_size().columns if fits else None
        print(as_text(frame, terminal) if form is None else WRITERS[form](frame), end="")
        return 0
    text = WRITERS[form or "text"](frame)
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write_text(options.out, text)
    except OSError as error:
        raise UserError(f"--out={options.out}: cannot be written ({error.strerror})") from error
    print(options.out)
    return 0


def completions(word: str, before: str) -> list[str]:
    """What may follow in the shell."""
    return following(word, before, {"--format": list(WRITERS), "--out": (), "--columns": ()})


def _form_of(out: Path | None) -> str | None:
    """The format for a file's suffix; None without a file. Raises UserError for an unknown suffix."""
    if out is None:
        return None
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out={out}: must end in one of {', '.join(SUFFIXES)}; or choose by --format")
    return SUFFIXES[out.suffix]
