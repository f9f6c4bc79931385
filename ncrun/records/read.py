"""Reads run directories: plain JSON, and the metrics as a data frame."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from ncrun.errors import UserError
from ncrun.problem import Problem
from ncrun.records import older, seal, whole
from ncrun.records.places import Folder, Kept, Place, runs_below

if TYPE_CHECKING:
    import pandas as pd


# The most lists, groups and quotes of a JSON file: the largest prediction has some thousand; each needs a hundred bytes
# of memory.
MOST_PARTS = 2_000_000


@dataclass(frozen=True)
class Record:
    """The content of a run directory, checked (see records/whole.py).

    path: the folder; for a run in an archive, ARCHIVE.zip/FOLDER. theory: the prediction. metrics: one row per measured
    epoch. measured: the K x K matrices of the last epoch (weight_gram, feature_gram, logits) and singular_values by
    layer; None for an unfinished run or too many classes. posed: None in older records.
    broken: the files that changed after the run finished (checkpoint.pt is not checked); None without a seal.
    """

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    theory: dict[str, Any]
    metrics: "pd.DataFrame"
    measured: dict[str, Any] | None = None
    posed: Problem | None = None
    broken: tuple[str, ...] | None = None

    @property
    def on_targets(self) -> bool:
        """Whether it was trained on targets: then it has no classes and no metrics by class."""
        return not self.manifest["class_counts"]

    @property
    def is_free(self) -> bool:
        """Whether its features are parameters themselves."""
        return self.config["dataset"] is None or self.config["model"]["name"] in older.FREE

    @property
    def problem(self) -> Problem:
        """The problem that the run posed to theory. Raises UserError if an older record does not hold it."""
        return older.problem_of(self.config, self.manifest, self.path) if self.posed is None else self.posed


def load_record(directory: Path | Place, known: dict[bytes, Any] | None = None) -> Record:
    """Reads a run directory. known: as in read_config. Raises UserError if it is none, or if an entry that readers need
    was not written by a run."""
    place = Kept(_place(directory))
    path = place.path
    manifest, theory = _read_json(place, "manifest.json"), _read_json(place, "theory.json")
    if manifest is None or theory is None:
        raise UserError(f"{path}: is not a run directory")
    config = read_config(place, known)
    whole.check_config(config, path / "config.yaml")
    whole.check_manifest(manifest, config, path / "manifest.json")
    K = len(manifest["class_counts"])
    theory = older.THEORY | theory
    whole.check_theory(theory, K, path / "theory.json")
    rows = _read_rows(place)
    whole.check_rows(rows, K, manifest["state"] == "done", path / "metrics.jsonl")
    measured, posed = _read_json(place, "geometry.json"), _read_json(place, "problem.json")
    if measured is not None:
        whole.check_measured(measured, K, path / "geometry.json")
    problem = None if posed is None else _problem(posed, config, manifest, path / "problem.json")
    broken = seal.broken_beside(manifest, place.sha256)
    return Record(path, config, manifest, theory, _frame(rows), measured, problem, broken)


def _place(directory: Path | Place) -> Place:
    return Folder(directory) if isinstance(directory, Path) else directory


def find_records(
    root: Path, states: Sequence[str] = ("done",), wanted: Callable[[dict[str, Any]], bool] = lambda manifest: True
) -> list[Record]:
    """Every run below a folder or in a .zip archive with one of these states (default: finished), in the order of their
    paths. Archives below the folder are read, too. wanted: whether to read the run that has this manifest. Runs that
    were killed before their first files were written are skipped."""
    found: list[Record] = []
    known: dict[bytes, Any] = {}
    for place in runs_below(root):
        manifest = _read_json(place, "manifest.json")
        if manifest is None or manifest.get("state") not in states or not wanted(manifest):
            continue
        if manifest["state"] == "done" or place.read("theory.json") is not None:
            found.append(load_record(place, known))
    return found


def read_manifest(directory: Path | Place, name: str = "manifest.json") -> dict[str, Any] | None:
    """manifest.json, or None if there is none. Raises UserError if it is damaged."""
    return _read_json(_place(directory), name)


def read_theory(directory: Path) -> dict[str, Any] | None:
    """theory.json, or None if there is none. Raises UserError if it is damaged."""
    return _read_json(Folder(directory), "theory.json")


def read_metrics(directory: Path) -> "pd.DataFrame":
    """metrics.jsonl, one row per measured epoch. An incomplete last line, of a running run, is skipped.

    Raises UserError with the number of any other invalid line.
    """
    return _frame(_read_rows(Folder(directory)))


def _frame(rows: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows)


def _read_rows(place: Place) -> list[dict[str, Any]]:
    *lines, _ = (place.read("metrics.jsonl") or b"").split(b"\n")
    where = place.path / "metrics.jsonl"
    return [parse_row(line, f"{where}, line {number}") for number, line in enumerate(lines, start=1)]


def parse_row(line: bytes, where: str) -> dict[str, Any]:
    """A line of metrics.jsonl: an integer epoch, and numbers or nulls, or lists of them by class or direction. Raises
    UserError for any other."""
    row = _parse(line, where)
    for key, value in row.items():
        is_list = isinstance(value, list) and key.startswith(whole.LISTS)
        if not (whole.are_numbers_or_null(value) if is_list else whole.is_number_or_null(value)):
            raise UserError(f"{where}: {key} is not what a run writes")
    if not isinstance(row.get("epoch"), int):
        raise UserError(f"{where}: is not what a run writes: it has no epoch")
    return row


class _PlainYaml(yaml.SafeLoader):  # type: ignore[misc]
    """YAML without references, as runs write it: with references a small file could expand to a huge one, or contain
    itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("a reference")
        return super().compose_node(parent, index)


def read_config(place: Place, known: dict[bytes, Any] | None = None) -> dict[str, Any]:
    """config.yaml. known: a cache of parsed parts by their text, because YAML is slow and the runs of a sweep have most
    parts in common. Shared parts are the same objects and must not be changed. Raises UserError."""
    path, content = place.path / "config.yaml", place.read("config.yaml")
    if content is None:
        raise UserError(f"{path}: is missing")
    known = {} if known is None else known
    try:
        config = _by_keys(content, known)
        if config is None:  # no run writes it like this, but it may be valid YAML
            config = yaml.load(content, Loader=_PlainYaml)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path}: is damaged") from error
    if not (isinstance(config, dict) and _is_setting(config)):
        raise UserError(f"{path}: is not what a run writes")
    return config


def _by_keys(content: bytes, known: dict[bytes, Any]) -> dict[str, Any] | None:
    """Parses YAML whose top-level keys each begin a line; None for any other."""
    config: dict[str, Any] = {}
    for text in re.split(rb"\n(?=\w)", content.strip()):
        if text not in known:
            try:
                known[text] = yaml.load(text, Loader=_PlainYaml)
            except yaml.YAMLError:
                return None
        part = known[text]
        if not (isinstance(part, dict) and len(part) == 1):
            return None
        config |= part
    return config


def _is_setting(value: Any) -> bool:
    """A plain value, a list of such, or a group of keys."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_setting(below) for key, below in value.items())
    if isinstance(value, list):
        return all(not isinstance(below, dict) and _is_setting(below) for below in value)
    return isinstance(value, str | bool) or value is None or whole.is_number(value)


def _problem(tree: dict[str, Any], config: dict[str, Any], manifest: dict[str, Any], path: Path) -> Problem:
    """problem.json, which must agree with the other files."""
    try:
        problem = Problem.from_json(tree)
    except ValueError as error:
        raise UserError(f"{path}: is not what a run writes: {error}") from error
    decays = manifest["effective_decays"]
    beside = {
        "loss": config["loss"],
        "counts": tuple(map(float, manifest["class_counts"])),
        "weight_decays": tuple(decays["weight"]),
        "feature_decay": decays["feature"],
        "decay_mode": config["decay"]["mode"],
    }
    for key, value in beside.items():
        if getattr(problem, key) != value:
            raise UserError(f"{path}: is not what a run writes: {key} differs from the other files")
    return problem


def _read_json(place: Place, name: str) -> dict[str, Any] | None:
    content = place.read(name)
    return None if content is None else _parse(content, str(place.path / name))


def _parse(content: bytes, where: str) -> dict[str, Any]:
    if sum(map(content.count, (b"[", b"{", b'"'))) > MOST_PARTS:
        raise UserError(f"{where}: is not what a run writes: it has too many parts")
    try:
        parsed = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # invalid UTF-8 raises a ValueError, too
        raise UserError(f"{where}: is not JSON") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{where}: is not what a run writes")
    return parsed


def _refuse_constant(name: str) -> NoReturn:
    """JSON has no NaN and no Infinity, and no run writes them."""
    raise ValueError(name)
