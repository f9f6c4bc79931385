"""A recorded run's configuration, to be trained again, as it is or with some keys changed.

Nothing is imported because the record names it: files of code are those that the user names.
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

# What a record says of the command that it came from, and what stands for it in a rerun.
OF_ONE_RUN = {"jobs": 1, "together": False, "dry_run": False, "run_dir": None}
# Recorded as null where they have no effect, and they take no null.
NEVER_NULL = ("imbalance_profile", "class_order", "subset")


def job_again(
    path: Path, config: Mapping[str, Any], manifest: Mapping[str, Any], changes: Sequence[str], in_place: bool
) -> Job:
    """The run of a recorded configuration. Unchanged it is the recorded run itself, in its directory; changed, a new
    one in its own.

    path, config, manifest: of the record, whose every key keeps its value. changes: overrides that win over it; none of
    them may be without effect. in_place: whether the directory can be trained in, which one in an archive cannot.
    Raises UserError.
    """
    check_overrides(changes)
    refuse_sweeps(changes, "ncrun rerun")
    typed = extensions.extended(changes)
    said = Typed(typed)
    for key in ("experiment", "scale"):
        said.refuse(key, "a rerun is of the experiment that was recorded; ncrun train takes another")
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
    """Raises UserError for code that the run needs and the user did not name."""
    if config.get("extend") and "extend" not in said:
        files = ",".join(map(str, config["extend"]))
        raise UserError(f"{path}: was trained with extend=[{files}]; a record imports nothing: say extend= for it")
    network = config["model"].get("path")
    if network is None or "model" in said or "model.path" in said:
        return
    if not str(network).startswith(tuple(f"{library}:" for library in LIBRARIES)):
        raise UserError(
            f"{path}: was trained with model.path={network}; a record executes nothing: say model.path= for it"
        )


def _recorded(file: Path, config: Mapping[str, Any], said: Typed) -> Iterator[str]:
    """A configuration as one would type it: first the choices, then what is in them. A group that is typed leaves none
    of its recorded keys."""
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
            raise UserError(f"{file}: is not what a run writes: {key} refers to something else")
    yield override(key, value)


def override(key: str, value: Any) -> str:
    """An override by Hydra's grammar that sets a key to just this value."""
    return f"{key}={_literal(value)}"


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_literal, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return repr(value)
    # In quotes a backslash means itself, but before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"
