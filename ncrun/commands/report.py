"""`ncrun report`: a page about runs, for a browser without a network; or live while they train."""

import os
from collections.abc import Sequence
from pathlib import Path

from ncrun.commands.arguments import Parser, add_runs, following
from ncrun.errors import UserError
from ncrun.records.files import write_text

OUT = Path("report.html")


def report(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    parser = Parser(
        prog="ncrun report",
        description="Write one page about runs: their table, and for each run its curves, classes and matrices beside"
        " the prediction. The page is one file that needs no network. --serve shows runs live instead.",
    )
    add_runs(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"where to write the page; default: {OUT}")
    parser.add_argument("--title", metavar="TEXT", help="its heading; default: the names of the runs")
    parser.add_argument("--serve", action="store_true", help="show the page live, only to browsers on this machine")
    parser.add_argument("--port", type=int, metavar="N", help="for --serve; default: any free port")
    options = parser.parse_args(list(arguments))
    title = options.title or f"ncrun: {', '.join(str(run) for run in options.runs)}"
    if options.serve:
        if options.out is not None:
            raise UserError("--out: has no effect with --serve, which writes nothing")
        return _serve(options.runs, title, options.port)
    if options.port is not None:
        raise UserError("--port: has no effect without --serve")
    return _write(options.runs, title, options.out or OUT)


def completions(word: str, before: str) -> list[str]:
    """What may follow in the shell."""
    return following(word, before, {"--out": (), "--title": (), "--serve": (), "--port": ()})


def _write(folders: Sequence[Path], title: str, out: Path) -> int:
    from ncrun.report.gathered import gather
    from ncrun.report.page import library, page

    _refuse_unwritable(out)  # a missing folder is reported before hundreds of runs are read
    library()
    runs = gather(folders)
    text = page(runs, title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, text)
    except OSError as error:
        raise UserError(f"--out={out}: cannot be written ({error.strerror})") from error
    print(f"{out}: {len(runs)} run{'s' * (len(runs) > 1)}, {len(text.encode()) / 1e6:.1f} MB")
    return 0


def _refuse_unwritable(out: Path) -> None:
    if out.is_dir():
        raise UserError(f"--out={out}: is a folder; name a file")
    there = next(parent for parent in out.absolute().parents if parent.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise UserError(f"--out={out}: cannot be written ({there} is not a folder that you may write to)")


def _serve(folders: Sequence[Path], title: str, port: int | None) -> int:
    from ncrun.report.live import Server
    from ncrun.report.page import library

    if port is not None and not 1 <= port <= 65535:
        raise UserError(f"--port={port}: must be in [1, 65535]")
    library()
    with Server(folders, title, port or 0) as server:
        print(f"{server.address} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0
