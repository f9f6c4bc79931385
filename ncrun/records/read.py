"""Reading run directories back: plain JSON, and the metrics as a data frame."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ncrun.errors import UserError
from ncrun.theory import Problem

if TYPE_CHECKING:
    import pandas as pd


STATES = ("running", "done", "failed", "interrupted")
# What every reader relies on, and its kind; other entries may be there or not.
MANIFEST: dict[str, Any] = {"state": str}
THEORY: dict[str, Any] = {"claim": str}
CONFIG: dict[str, Any] = {"dataset": dict | None, "model": dict, "head": dict, "decay": dict, "seed": int, "loss": str}
# No run writes a larger one, and arithmetic with it could overflow.
LARGEST_WHOLE = 2**63


@dataclass(frozen=True)
class Record:
    """A run directory, read. metrics: one row per measured epoch."""

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    theory: dict[str, Any]
    metrics: "pd.DataFrame"

    @property
    def problem(self) -> Problem:
        """The problem that a free-feature run posed to theory. Raises UserError if its files do not say it."""
        try:
            return self._setting()
        except (LookupError, TypeError, ValueError, AssertionError) as error:
            raise UserError(f"{self.path}: config.yaml or manifest.json is damaged ({error!r})") from error

    def _setting(self) -> Problem:
        model, head, decays = self.config["model"], self.config["head"], self.manifest["effective_decays"]
        hidden = head["width"] or model["width"]
        return Problem(
            loss=self.config["loss"],
            counts=tuple(map(float, self.manifest["class_counts"])),
            widths=(model["width"], *(hidden,) * (head["depth"] - 1)),
            bias=head["bias"],
            weight_decays=tuple(decays["weight"]),
            feature_decay=decays["feature"],
            feature_sign="nonnegative" if model["name"] == "ufm_relu" else "free",
            head="relu" if model["name"] == "dufm" else "linear",
        )

    @property
    def geometry(self) -> dict[str, Any] | None:
        """The measured K x K matrices of the last epoch: weight_gram, feature_gram, logits; None if they are absent."""
        return _read_json(self.path / "geometry.json")


def load_record(directory: Path) -> Record:
    """Read a run directory. Raises UserError if it is none, or damaged."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    manifest, theory = read_manifest(directory), read_theory(directory)
    if manifest is None or theory is None:
        raise UserError(f"{directory}: is not a run directory")
    path = directory / "config.yaml"
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, ValueError, RecursionError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: is missing or damaged") from error
    if not (isinstance(config, dict) and _is_setting(config) and isinstance(config.get("model"), dict)):
        raise UserError(f"{path}: is not what a run writes")
    require(config, CONFIG, path)
    require(config["model"], {"name": str}, path, "model.")
    require(manifest, MANIFEST, directory / "manifest.json")
    require(theory, THEORY, directory / "theory.json")
    if manifest["state"] not in STATES:
        raise UserError(f"{directory / 'manifest.json'}: state is {manifest['state']}, not one of {', '.join(STATES)}")
    if not _is_number(manifest.get("wall_seconds")):
        raise UserError(f"{directory / 'manifest.json'}: wall_seconds is not what a run writes")
    return Record(directory, config, manifest, theory, read_metrics(directory))


def find_records(root: Path, states: Sequence[str] = ("done",)) -> list[Record]:
    """Every run below a folder whose state is one of these, by default the finished ones, in the order of their
    paths. Runs that were killed before all their first files were written are left out."""
    found = []
    for path in sorted(root.rglob("manifest.json")):
        manifest = read_manifest(path.parent)
        if manifest is None or manifest.get("state") not in states:
            continue
        if manifest["state"] == "done" or (path.parent / "theory.json").is_file():
            found.append(load_record(path.parent))
    return found


def read_manifest(directory: Path, name: str = "manifest.json") -> dict[str, Any] | None:
    """manifest.json, or None if there is none. Raises UserError if it is damaged."""
    return _read_json(directory / name)


def read_theory(directory: Path) -> dict[str, Any] | None:
    """theory.json, or None if there is none. Raises UserError if it is damaged."""
    return _read_json(directory / "theory.json")


def read_metrics(directory: Path) -> "pd.DataFrame":
    """metrics.jsonl, one row per measured epoch. A torn last line, of a run that is being written, is left out.

    Raises UserError that names the line if another one is not what a run writes.
    """
    import pandas as pd

    path = directory / "metrics.jsonl"
    content = path.read_bytes() if path.is_file() else b""
    *lines, _ = content.split(b"\n")
    return pd.DataFrame([_parse_row(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)])


def _parse_row(line: bytes, where: str) -> dict[str, Any]:
    """A whole number of epochs, and numbers or nulls; lists of them for what there is of each class."""
    row = _parse(line, where)
    for key, value in row.items():
        values = value if isinstance(value, list) and key.startswith("class.") else [value]
        if not all(map(_is_number, values)):
            raise UserError(f"{where}: {key} is not what a run writes")
    if not isinstance(row.get("epoch"), int):
        raise UserError(f"{where}: is not what a run writes: it has no epoch")
    return row


def _is_number(value: Any) -> bool:
    """A number, or null where there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < LARGEST_WHOLE
    return value is None or (isinstance(value, float) and math.isfinite(value))


def _is_setting(value: Any) -> bool:
    """A plain value, a list of such, or a group of keys."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_setting(below) for key, below in value.items())
    if isinstance(value, list):
        return all(not isinstance(below, dict) and _is_setting(below) for below in value)
    return isinstance(value, str | bool) or _is_number(value)


def require(tree: dict[str, Any], wanted: dict[str, Any], path: Path, prefix: str = "") -> None:
    """Raises UserError for an entry of a run's file that is missing, or not of its kind."""
    for key, kind in wanted.items():
        if key not in tree or not isinstance(tree[key], kind):
            raise UserError(f"{path}: is not what a run writes: {prefix}{key} is missing, or of another kind")


def _read_json(path: Path) -> dict[str, Any] | None:
    return _parse(path.read_bytes(), str(path)) if path.is_file() else None


def _parse(content: bytes, where: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8 are a ValueError, too
        raise UserError(f"{where}: is not JSON") from error
    if not isinstance(parsed, dict):
        raise UserError(f"{where}: is not what a run writes")
    return parsed


def _refuse_constant(name: str) -> NoReturn:
    """JSON knows no NaN and no Infinity, and no run writes them."""
    raise ValueError(name)
