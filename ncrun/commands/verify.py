"""`ncrun verify`: whether the files of finished runs are as they were written."""

from collections.abc import Sequence

from ncrun.commands.arguments import Parser, add_runs
from ncrun.errors import UserError
from ncrun.records import seal
from ncrun.records.places import Place, is_archive, runs_below
from ncrun.records.read import read_manifest


def verify(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status (1 if a file was changed, damaged, or is gone). Raises UserError."""
    parser = Parser(
        prog="ncrun verify",
        description="Say of runs whether their files are as they were when the run was finished, by the checksums in"
        " its manifest.json. A line for each run; exit status 1 if a file is not.",
    )
    add_runs(parser)
    options = parser.parse_args(list(arguments))
    status = 0
    for root in options.runs:
        if not root.is_dir() and not is_archive(root):
            raise UserError(f"{root}: no such folder, nor a .zip archive")
        found = False
        for place in runs_below(root):
            found, (words, is_right) = True, _checked(place)
            print(f"{place.path}: {words}", flush=True)
            status = status if is_right else 1
        if not found:
            raise UserError(f"{root}: holds no run")
    return status


def _checked(place: Place) -> tuple[str, bool]:
    """What is to be said of a run, and whether nothing is wrong with it."""
    try:
        manifest = read_manifest(place)
        broken = None if manifest is None else seal.broken(manifest, place.sha256)
    except (UserError, OSError) as error:
        return str(error).removeprefix(f"{place.path}/"), False
    if broken:
        return f"{', '.join(broken)}: not as when the run was finished", False
    if broken is None:
        done = manifest is not None and manifest.get("state") == "done"
        return f"no seal: {'finished by an older version' if done else 'not finished'}", True
    sealed = manifest["seal"]["files"] if manifest is not None else {}
    without = [name for name in seal.DISPENSABLE if name in sealed and place.sha256(name) is None]
    return "as when it was finished" + (f", without {', '.join(without)}" if without else ""), True
