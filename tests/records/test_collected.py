"""scripts/collect_results.py packs runs into the archives of results/."""

import json
import sys
from pathlib import Path

import pytest
from conftest import write_run

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from collect_results import collect

from ncrun.records.read import find_records


def finished(folder: Path, seed: int, loss: float) -> None:
    """A run of a recipe, with its loss."""
    about = {"experiment": "dang2023/mlp-balanced", "scale": "cpu"}
    path = write_run(folder / f"seed{seed}", [{"epoch": 3, "loss": loss}], seed=seed, **about) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "summary": "made by hand"}))


@pytest.mark.parametrize(
    ("adds", "losses"), [(False, {1: 0.3, 2: 0.4}), (True, {0: 0.1, 1: 0.3, 2: 0.4})], ids=["replaced", "added"]
)
def test_older_runs_of_an_experiment(tmp_path: Path, adds: bool, losses: dict[int, float]) -> None:
    for seed, loss in ((0, 0.1), (1, 0.2)):
        finished(tmp_path / "older", seed, loss)
    for seed, loss in ((1, 0.3), (2, 0.4)):
        finished(tmp_path / "newer", seed, loss)
    assert collect(tmp_path / "older", tmp_path / "results") == [("dang2023", "cpu")]
    assert collect(tmp_path / "newer", tmp_path / "results", adds) == [("dang2023", "cpu")]
    found = find_records(tmp_path / "results" / "dang2023-cpu.zip")
    assert {record.config["seed"]: record.metrics["loss"].iloc[-1] for record in found} == losses
    assert all(record.broken == () for record in found)
