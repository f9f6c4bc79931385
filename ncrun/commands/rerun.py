"""`ncrun rerun`: trains a recorded configuration again, as it is or with some keys changed."""

from collections.abc import Sequence
from pathlib import Path

from ncrun.commands.train import train_job
from ncrun.config.again import job_again
from ncrun.config.schema import choices, known_keys
from ncrun.errors import UserError
from ncrun.records.places import Folder, one_place
from ncrun.records.read import read_config, read_manifest
from ncrun.records.whole import check_config

HELP = """\
ncrun rerun RUN [KEY=VALUE ...]       train a recorded configuration again, or with some keys changed

RUN is a run directory, or one in an archive, ARCHIVE.zip/FOLDER. Keys that are not given keep their recorded value.
Without KEY=VALUE it is the same run: a finished one is left alone, an interrupted one continues in its directory. With
KEY=VALUE it is another run, in the directory of its own configuration (or run_dir=).

A record never imports code: if the run used files of your own, name them again by extend= or model.path=.

for example
  ncrun rerun runs/digits-mlp-M3-0123456789
  ncrun rerun runs/digits-mlp-M3-0123456789 seed=1
  ncrun rerun results/dang2023-cpu.zip/dang2023-cpu/FOLDER head.depth=6
"""


def rerun(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status, that of `ncrun train`. Raises UserError."""
    if any(word in ("-h", "--help") for word in arguments):
        print(HELP, end="")
        return 0
    flags = [word for word in arguments if word.startswith("-")]
    if flags:
        raise UserError(f"{flags[0]}: no such option; ncrun rerun takes a run and KEY=VALUE")
    if not arguments or ("=" in arguments[0] and not Path(arguments[0]).exists()):
        raise UserError("rerun: name a run directory, such as runs/digits-mlp-M3-0123456789")
    first, *changes = arguments
    with one_place(Path(first)) as place:
        config, manifest = read_config(place), read_manifest(place)
        path, in_place = place.path, isinstance(place, Folder)
    assert manifest is not None
    check_config(config, path / "config.yaml")
    return train_job(job_again(path, config, manifest, changes, in_place))


def completions(word: str, before: str) -> list[str]:
    """Completions for the shell: keys, and the choices of a group. If none matches, the shell completes run
    directories."""
    group, equals, start = word.partition("=")
    if equals:
        return [f"{group}={name}" for name in choices().get(group, ()) if name.startswith(start)]
    return [f"{key}=" for key in dict.fromkeys([*choices(), *known_keys()]) if word and key.startswith(word)]
