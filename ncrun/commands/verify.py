"""`ncrun verify`: checks that the files of finished runs, and with --data their data, are unchanged."""

from collections.abc import Sequence

from ncrun.commands.arguments import Parser, add_runs
from ncrun.data import Source
from ncrun.errors import UserError
from ncrun.records import seal
from ncrun.records.places import Place, check_place, runs_below
from ncrun.records.read import load_record, read_manifest


def verify(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status (1 if a file was changed, damaged or removed). Raises UserError."""
    parser = Parser(
        prog="ncrun verify",
        description="Check that the files of runs are unchanged since the run finished, by the checksums in its"
        " manifest.json. Prints a line for each run; exit status 1 if a file changed.",
    )
    add_runs(parser)
    parser.add_argument(
        "--data", action="store_true", help="also read your own data, and check that they are unchanged"
    )
    options = parser.parse_args(list(arguments))
    status = 0
    data = _Data()
    for root in options.runs:
        check_place(root)
        found = False
        for place in runs_below(root):
            found, (words, is_right) = True, _checked(place)
            if is_right and options.data:
                words, is_right = data.checked(place, words)
            print(f"{place.path}: {words}", flush=True)
            status = status if is_right else 1
        if not found:
            raise UserError(f"{root}: holds no run")
    return status


class _Data:
    """Users' own data, each read once, without the cached digests."""

    def __init__(self) -> None:
        self._digests: dict[Source, str | None] = {}

    def checked(self, place: Place, words: str) -> tuple[str, bool]:
        """The line about a run with unchanged files, and whether its data are unchanged. words: about its files."""
        manifest = read_manifest(place)
        if manifest is None or manifest.get("data_hash") is None or manifest.get("state") != "done":
            return words, True
        from ncrun.library.network import source_of  # PyTorch

        try:
            source = source_of(load_record(place), None)
            if source not in self._digests:
                self._digests[source] = source.digest_of_bytes()
        except UserError as error:
            return f"{words}; {str(error).removeprefix(f'{place.path}: ')}", False
        if self._digests[source] != manifest["data_hash"]:
            return f"{words}; {source.title}: changed since it was trained", False
        return f"{words}; {source.title}: unchanged since it was trained", True


def _checked(place: Place) -> tuple[str, bool]:
    """The line about a run, and whether the run is unchanged."""
    try:
        manifest = read_manifest(place)
        broken = None if manifest is None else seal.broken(manifest, place.sha256)
    except (UserError, OSError) as error:
        return str(error).removeprefix(f"{place.path}/"), False
    if broken:
        return f"{', '.join(broken)}: changed since the run finished", False
    if broken is None:
        done = manifest is not None and manifest.get("state") == "done"
        return f"no seal: {'finished by an older version' if done else 'not finished'}", True
    sealed = manifest["seal"]["files"] if manifest is not None else {}
    without = [name for name in seal.DISPENSABLE if name in sealed and place.sha256(name) is None]
    return "unchanged since it finished" + (f", without {', '.join(without)}" if without else ""), True
