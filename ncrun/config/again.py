"""A recorded run's configuration, to be trained again, unchanged or with some keys changed.

A record never makes ncrun import code: the user names all files of code.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ncrun.config import extensions
from ncrun.config.compose import compose, refuse_sweeps
from ncrun.config.doors import check_overrides
from ncrun.config.resolve import resolve
from ncrun.config.typed import Typed
from ncrun.errors import UserError
from ncrun.models.own.path import LIBRARIES
from ncrun.records.groups import GROUPS
from ncrun.run import Job

# Recorded keys about the command itself, and their values in a rerun.
OF_ONE_RUN = {"jobs": 1, "together": False, "dry_run": False, "run_dir": None}
# These are recorded as null where they have no effect, but null cannot be given.
NEVER_NULL = ("imbalance_profile", "class_order", "subset")


def job_again(
    path: Path, config: Mapping[str, Any], manifest: Mapping[str, Any], changes: Sequence[str], in_place: bool
) -> Job:
    """The run of a recorded configuration: unchanged, the recorded run in its directory; changed, a new run in its own.

    path, config, manifest: of the record. changes: overrides that replace recorded values; each must have an effect.
    in_place: whether the run can continue in its directory (not in an archive). Raises UserError.
    """
    check_overrides(changes)
    refuse_sweeps(changes, "ncrun rerun")
    typed = extensions.extended(changes)
    said = Typed(typed)
    for key in ("experiment", "scale"):
        said.refuse(key, "a rerun keeps the recorded experiment; use ncrun train for another one")
    for key in ("jobs", "together"):
        said.refuse(key, "ncrun rerun trains one run")
    _refuse_unsaid_code(path, config, said)
    composed = compose([*_recorded(path / "config.yaml", config, said), *typed])
    job = resolve(composed, typed)
    if in_place and "run_dir" not in said and job.identity == manifest.get("identity"):
        composed.run_dir = str(path)
        job = resolve(composed, typed)
    return job


def _refuse_unsaid_code(path: Path, config: Mapping[str, Any], said: Typed) -> None:
    """Raises UserError if the run needs code that the user did not name."""
    if config.get("extend") and "extend" not in said:
        files = ",".join(map(str, config["extend"]))
        raise UserError(f"{path}: was trained with extend=[{files}]; a record never imports code: give extend= again")
    network = config["model"].get("path")
    if network is None or "model" in said or "model.path" in said:
        return
    if not str(network).startswith(tuple(f"{library}:" for library in LIBRARIES)):
        raise UserError(
            f"{path}: was trained with model.path={network}; a record never imports code: give model.path= again"
        )


def _recorded(file: Path, config: Mapping[str, Any], said: Typed) -> Iterator[str]:
    """A configuration as overrides: first the choices of groups, then their keys. A group in `changes` drops its
    recorded keys."""
    chosen = [group for group in GROUPS if group not in said and config[group] is not None]
    for group in chosen:
        yield override(group, config[group]["name"])
    for key in ("experiment", "scale"):
        if config.get("experiment") is not None and config.get(key) is not None:
            yield override(key, config[key])
    for key, value in config.items():
        if key in GROUPS:
            if key in chosen:
                yield from _below(file, key, {name: each for name, each in value.items() if name != "name"})
        elif key not in ("experiment", "scale", "extend") and not (key in NEVER_NULL and value is None):
            yield from _below(file, key, OF_ONE_RUN.get(key, value))


def _below(file: Path, key: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _below(file, f"{key}.{name}", each)
        return
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and "${" in each:
            raise UserError(f"{file}: is not what a run writes: {key} refers to another key")
    yield override(key, value)


def override(key: str, value: Any) -> str:
    """An override, in Hydra's grammar, that sets a key to exactly this value."""
    return f"{key}={_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_literal, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return repr(value)
    # Inside quotes a backslash is literal, except before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"
