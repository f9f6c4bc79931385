"""Checks a run's files: each entry that readers need must exist with its type and shape.

Tables and figures read the entries of a checked record without further checks. Other entries are allowed. Counts, class
lists and matrices must have the number of classes K in manifest.json.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ncrun.errors import UserError
from ncrun.records.verdict import WORDS
from ncrun.theory.prediction import CLAIMS

STATES = ("running", "done", "failed", "interrupted")
# No run writes a larger integer, and arithmetic with it could overflow.
LARGEST_WHOLE = 2**63
LARGEST_ENTRY = 1e100
# Claims that have a claimed value.
VALUED = ("proven", "certified", "open", "refuted")

Kind = Callable[[Any], bool]
Entries = Mapping[str, Kind]


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def is_group(value: Any) -> bool:
    return isinstance(value, dict)


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_WHOLE


def is_count(value: Any) -> bool:
    return is_whole(value) and value >= 1


def is_number(value: Any) -> bool:
    """Finite."""
    return math.isfinite(value) if isinstance(value, float) else is_whole(value)


def is_positive(value: Any) -> bool:
    return is_number(value) and value > 0


def is_decay(value: Any) -> bool:
    return is_number(value) and value >= 0


def is_number_or_null(value: Any) -> bool:
    return value is None or is_number(value)


def are_numbers_or_null(values: list[Any]) -> bool:
    return _are_whole(values) or all(map(is_number_or_null, values))


def are_frequencies(values: Any) -> bool:
    """One or more."""
    return isinstance(values, list) and _are_whole(values) and min(values) >= 0


def _are_whole(values: list[Any]) -> bool:
    """One or more, without a call for each: the counts of histograms are most of a record."""
    return set(map(type, values)) == {int} and max(map(abs, values)) < LARGEST_WHOLE


def is_null(value: Any) -> bool:
    return value is None


def any_of(*kinds: Kind) -> Kind:
    return lambda value: any(kind(value) for kind in kinds)


def word_of(*words: str) -> Kind:
    return lambda value: isinstance(value, str) and value in words


def list_of(kind: Kind, length: int | None = None) -> Kind:
    """Default: any length except zero."""
    return lambda value: (
        isinstance(value, list)
        and (len(value) == length if length is not None else len(value) > 0)
        and all(map(kind, value))
    )


def square(K: int) -> Kind:
    """A (K, K) matrix of numbers whose squares can be added."""
    return list_of(list_of(lambda value: is_number(value) and abs(value) < LARGEST_ENTRY, K), K)


MAYBE_TEXT = any_of(is_text, is_null)
MANIFEST: Entries = {
    "state": word_of(*STATES),
    "experiment": MAYBE_TEXT,
    "scale": MAYBE_TEXT,
    "dataset": MAYBE_TEXT,
    # For a run on targets, an empty list.
    "class_counts": lambda value: value == [] or (list_of(is_count)(value) and len(value) > 1),
    "num_samples": is_count,
    "effective_decays": is_group,
}
# Only in later stages of a run, or in newer versions.
MANIFEST_LATER: Entries = {"wall_seconds": is_number_or_null, "summary": is_text, "verdict": is_group}
VERDICT: Entries = {
    "word": word_of(*WORDS),
    "excess": is_number_or_null,
    "missing": any_of(list_of(is_whole), list_of(is_whole, 0)),
}
CONFIG: Entries = {
    "dataset": any_of(is_group, is_null),
    "model": is_group,
    "optimizer": is_group,
    "head": is_group,
    "decay": is_group,
    "seed": is_whole,
    "loss": is_text,
    "epochs": is_count,
    "batch_size": any_of(is_count, word_of("full")),
}
CONFIG_LATER: Entries = {
    "counts": any_of(list_of(is_count), is_null),
    "classes": any_of(list_of(is_whole), is_null),
    "random_labels": is_number,
    "path": any_of(list_of(is_number), is_null),
    "freeze_norm": is_number_or_null,
    "finish": MAYBE_TEXT,
    "finish_iterations": any_of(is_count, is_null),
}
DATASET: Entries = {"name": is_text}
DATASET_LATER: Entries = {"size": any_of(is_count, is_null)}
HEAD: Entries = {"depth": is_count, "bias": is_flag}
HEAD_LATER: Entries = {
    "width": any_of(is_count, is_null),
    "relu": any_of(is_flag, is_null),
    "frozen": MAYBE_TEXT,
}
DECAY: Entries = {"mode": word_of("features", "parameters")}
# By name; for a user's own model or optimiser only existing entries are checked.
LAYERS: Entries = {"depth": is_count, "width": is_count}
STAGES: Entries = {"width": is_positive}
FREE: Entries = {"width": is_count}
MODELS: Mapping[str, Entries] = {
    **dict.fromkeys(("mlp", "deep_linear"), LAYERS),
    **dict.fromkeys(("resnet18", "resnet20", "vgg11", "vgg16", "densenet"), STAGES),
    **dict.fromkeys(("ufm", "ufm_relu", "dufm"), FREE),
}
MODEL_LATER: Entries = {
    "depth": is_count,
    "width": is_positive,
    "batch_norm": is_flag,
    "features": is_text,
    "feature_norm": is_flag,
}
OPTIMIZERS: Mapping[str, Entries] = {
    "adam": {"lr": is_positive},
    "sgd": {"lr": is_positive, "momentum": is_decay},
}
OPTIMIZER_LATER: Entries = {"lr": is_number, "momentum": is_number}
# Entries of each measured epoch; all others are a number or null, or by class a list of them.
ROW: Entries = {
    "epoch": is_whole,
    "loss": is_number,
    "data_term": is_number,
    "train_accuracy": is_number,
    **dict.fromkeys(("gap", "nc1", "nc2_w", "nc2_h", "nc3"), is_number_or_null),
}
ROW_ON_TARGETS: Entries = {
    **{key: kind for key, kind in ROW.items() if key not in ("train_accuracy", "nc1")},
    **dict.fromkeys(("nrc1", "nrc2", "nrc3", "r2"), is_number_or_null),
    "mse": is_number,
}
ROW_LATER: Entries = {"factor": is_number}
DIRECTION: Entries = {
    "deviation": is_positive,
    "kept": is_decay,
    "weight_norm_sq": is_decay,
    "feature_norm_sq": is_decay,
    "lost": is_flag,
}
# Names of columns with a number for each class, for each direction of targets, or for each bin.
OF_CLASSES, OF_DIRECTIONS, OF_BINS = LISTS = ("class.", "direction.", "cosines.")
OF_A_BIN = any_of(are_frequencies, is_null)
PER_CLASS = ("class.margin", "class.weight_norm_sq", "class.feature_norm_sq")


def require(
    tree: dict[str, Any], wanted: Entries, path: Path | str, prefix: str = "", later: Entries | None = None
) -> None:
    """Raises UserError for a missing entry or a wrong type. later: entries that may be missing."""
    damaged = [key for key, kind in wanted.items() if key not in tree or not kind(tree[key])]
    damaged += [key for key, kind in (later or {}).items() if key in tree and not kind(tree[key])]
    for key in damaged:
        raise UserError(f"{path}: is not what a run writes: {prefix}{key} is missing, or has another type")


def check_config(config: dict[str, Any], path: Path) -> None:
    """config.yaml. Raises UserError."""
    require(config, CONFIG, path, later=CONFIG_LATER)
    require(config["head"], HEAD, path, "head.", HEAD_LATER)
    require(config["decay"], DECAY, path, "decay.")
    for group, known, later in (("model", MODELS, MODEL_LATER), ("optimizer", OPTIMIZERS, OPTIMIZER_LATER)):
        require(config[group], {"name": is_text}, path, f"{group}.")
        require(config[group], known.get(config[group]["name"], {}), path, f"{group}.", later)
    if config["dataset"] is None:
        require(config, {"counts": list_of(is_count)}, path)
    else:
        require(config["dataset"], DATASET, path, "dataset.", DATASET_LATER)


def check_manifest(manifest: dict[str, Any], config: dict[str, Any], path: Path) -> None:
    """manifest.json, with a checked configuration. Raises UserError."""
    require(manifest, MANIFEST, path, later=MANIFEST_LATER)
    free = config["dataset"] is None
    require(manifest, {"dataset": is_null if free else is_text}, path)
    decays = {
        "weight": list_of(is_decay, config["head"]["depth"]),
        "feature": is_null if config["decay"]["mode"] == "parameters" else is_decay,
    }
    require(manifest["effective_decays"], decays, path, "effective_decays.")
    judged = free and manifest["state"] == "done" and config.get("path") is None
    if judged or "verdict" in manifest:
        require(manifest, {"verdict": is_group}, path)
        require(manifest["verdict"], VERDICT, path, "verdict.")


def check_theory(theory: dict[str, Any], K: int, path: Path) -> None:
    """theory.json. K: 0 for a run on targets. Raises UserError."""
    if K == 0:
        require(theory, {"directions": any_of(list_of(is_group), list_of(is_group, 0), is_null)}, path)
        for i, entry in enumerate(theory["directions"] or ()):
            require(entry, DIRECTION, path, f"directions.{i}.")
    matrix = any_of(square(K), is_null)
    require(theory, {"claim": word_of(*CLAIMS)}, path)
    entries: Entries = {
        "objective": is_positive if theory["claim"] in VALUED else is_number_or_null,
        "data_term": is_number_or_null,
        "note": is_text,
        "attainable": is_flag,
        "scale_free": is_flag,
        "metastable": any_of(list_of(is_whole), list_of(is_whole, 0)),
        "classes": list_of(is_group, K),
        "weight_gram": matrix,
        "feature_gram": matrix,
        "logits": matrix,
        "best_known": any_of(is_group, is_null),
    }
    require(theory, entries, path)
    of_a_class: Entries = {
        "count": is_whole,
        "weight_norm_sq": is_number_or_null,
        "feature_norm_sq": is_number_or_null,
        "margin": is_number_or_null,
        "collapsed": any_of(is_flag, is_null),
    }
    for k, entry in enumerate(theory["classes"]):
        require(entry, of_a_class, path, f"classes.{k}.")
    if theory["best_known"] is not None:
        require(theory["best_known"], {"objective": is_positive}, path, "best_known.")


def check_measured(measured: dict[str, Any], K: int, path: Path) -> None:
    """geometry.json. K: 0 for a run on targets. Raises UserError."""
    if K == 0:
        rows = measured.get("weight_gram")
        require(measured, {"weight_gram": square(len(rows) if isinstance(rows, list) else 1)}, path)
        return
    entries = dict.fromkeys(("weight_gram", "feature_gram", "logits"), square(K))
    require(measured, entries, path, later={"singular_values": is_group})
    for layer in measured.get("singular_values", {}):
        require(measured["singular_values"], {layer: list_of(is_decay)}, path, "singular_values.")


def check_rows(rows: list[dict[str, Any]], K: int, done: bool, path: Path) -> None:
    """metrics.jsonl, whose rows hold numbers, nulls and lists of them: epochs ascend, and each row has all columns of
    the one before it. Raises UserError with the line."""
    before: dict[str, Any] = {}
    wanted, per_class = (ROW, PER_CLASS) if K else (ROW_ON_TARGETS, ())
    for number, row in enumerate(rows, start=1):
        where = f"{path}, line {number}"
        require(row, wanted, where, later=ROW_LATER)
        if row.keys() != before.keys():
            of_classes = [key for key in row if key.startswith(OF_CLASSES)]
            of_bins = {key: OF_A_BIN for key in row if key.startswith(OF_BINS)}
            for key in (before.keys() | set(per_class)) - row.keys():
                raise UserError(f"{where}: is not what a run writes: {key} is missing")
        for key in of_classes:
            if (row[key] is not None or key in per_class) and not (isinstance(row[key], list) and len(row[key]) == K):
                raise UserError(f"{where}: is not what a run writes: {key} must have an entry for each of {K} classes")
        require(row, of_bins, where)
        for key in per_class:
            if None in row[key]:
                raise UserError(f"{where}: is not what a run writes: {key} has a null")
        if row["epoch"] <= before.get("epoch", -1):
            raise UserError(f"{where}: is not what a run writes: epoch {row['epoch']} is not after the one before it")
        before = row
    if done and not before.get("epoch"):
        raise UserError(f"{path}: is not what a run writes: the run is done, but no epoch is measured")
