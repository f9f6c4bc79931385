"""A record that loads is whole: damage to any entry that readers rely on is one line that names file and entry."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import write_run

from ncrun.errors import UserError
from ncrun.problem import Problem
from ncrun.records.read import load_record

MEASURED = {"weight_gram": [[1, 0], [0, 1]], "feature_gram": [[1, 0], [0, 1]], "logits": [[1, 0], [0, 1]]}
PROBLEM = Problem("mse", (20.0, 10.0), (8,), False, (5e-4,), 5e-4)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = write_run(tmp_path / "run", [{"epoch": 0}, {"epoch": 3, "class.nc1": [0.1, None]}])
    (folder / "geometry.json").write_text(json.dumps(MEASURED | {"singular_values": {"head.1": [1.0, 0.5]}}))
    (folder / "problem.json").write_text(json.dumps(PROBLEM.as_json()))
    return folder


def test_whole_record(run: Path) -> None:
    record = load_record(run)
    assert record.problem == PROBLEM
    assert record.measured is not None
    assert record.measured["logits"] == MEASURED["logits"]


@pytest.mark.parametrize(
    ("name", "entry", "value"),
    [
        ("config.yaml", "epochs", None),
        ("config.yaml", "head.depth", 2),  # more layers than decays
        ("config.yaml", "model.depth", "x"),
        ("config.yaml", "optimizer.lr", None),
        ("config.yaml", "decay.mode", "both"),
        ("manifest.json", "class_counts", [20]),
        ("manifest.json", "class_counts", [20, 10, 5]),  # theory.json has two
        ("manifest.json", "class_counts", [10, 10]),  # problem.json has others
        ("manifest.json", "dataset", None),
        ("manifest.json", "effective_decays.feature", None),
        ("manifest.json", "wall_seconds", "x"),
        ("manifest.json", "verdict", {"word": "x", "excess": None, "missing": []}),
        ("theory.json", "claim", "sure"),
        ("theory.json", "claim", "proven"),  # without an objective
        ("theory.json", "classes", [{}]),
        ("theory.json", "weight_gram", [[1.0]]),
        ("theory.json", "logits", [[1.0, 0.0], [0.0, None]]),
        ("theory.json", "best_known", {}),
        ("geometry.json", "feature_gram", [[1.0, 0.0]]),
        ("geometry.json", "logits", [[1.0, 0.0], [0.0, -1e308]]),
        ("geometry.json", "singular_values", {"head.1": [None]}),
        ("problem.json", "widths", [8, 8]),
        ("problem.json", "loss", "ce"),
    ],
    ids=str,
)
def test_damaged_entry_is_named(name: str, entry: str, value: Any, run: Path) -> None:
    tree = json.loads((run / name).read_text())
    *groups, key = entry.split(".")
    below = tree
    for group in groups:
        below = below[group]
    below[key] = value
    (run / name).write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"run/\w+\.\w+: is not what a run writes: ") as refusal:
        load_record(run)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"loss": None}, "line 2: is not what a run writes: loss"),
        ({"class.margin": [1.0]}, "line 2: .*class.margin must have an entry for each of 2 classes"),
        ({"class.margin": [1.0, None]}, "line 2: .*class.margin has a null"),
        ({"class.nc1": [1.0]}, "line 2: .*class.nc1"),
        ({"cosines.w": [3, -1]}, "line 2: .*cosines.w"),
        ({"epoch": 0}, "line 2: .*epoch 0 is not after"),
        ({"extra": 1.0}, "line 3: .*extra is missing"),  # which the next row does not have
    ],
    ids=str,
)
def test_damaged_row_is_named(change: dict[str, Any], words: str, run: Path) -> None:
    first, last = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    rows = [first, first | {"epoch": 1} | change, {"class.nc1": None} | last]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=words):
        load_record(run)


def test_done_without_a_measured_epoch(run: Path) -> None:
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl: .*no epoch is measured"):
        load_record(run)
