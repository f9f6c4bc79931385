"""The records in results/, which older versions wrote: whole, and posing the problem that was predicted then."""

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import WHOLE_ROW, write_run

from ncrun.errors import UserError
from ncrun.records.groups import differing_keys, gather
from ncrun.records.read import Record, load_record
from ncrun.theory import predict

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def recorded() -> list[Record]:
    return gather([RESULTS])


def test_every_committed_record_is_whole(recorded: list[Record]) -> None:
    assert len(recorded) >= 509  # more come, and none goes
    # One was stopped with its machine's time, and is kept for what it had reached.
    unfinished = [record.path.parent.name for record in recorded if record.manifest["state"] != "done"]
    assert unfinished == ["resnet18-cifar10.zip"]
    without = [record.path.parent.name for record in recorded if record.measured is None]
    assert without == ["cifar10-imbalance-0.1.zip", *unfinished]  # the oldest one


def test_rebuilt_problems_are_predicted_as_they_were(recorded: list[Record]) -> None:
    """Rounding alone (of solvers, for claims that are certified) may tell the predictions apart."""
    asked = {}
    older = [record for record in recorded if record.posed is None]  # younger ones hold their problem
    assert len(older) == 293
    for record in older:
        asked.setdefault(record.problem, record)
    assert len(asked) > 200
    for problem, record in asked.items():
        prediction = predict(problem)
        assert prediction.claim == record.theory["claim"], record.path
        expected = record.theory["objective"]
        assert prediction.objective == (None if expected is None else pytest.approx(expected, rel=1e-9)), record.path


@pytest.mark.parametrize(
    ("model", "width", "sign"),
    [
        ({"name": "resnet18", "width": 0.125, "feature_norm": False}, 64, "nonnegative"),
        ({"name": "densenet", "width": 1.0, "feature_norm": True}, 384, "free"),
        ({"name": "mlp", "depth": 4, "width": 16, "features": "relu"}, 16, "nonnegative"),
        ({"name": "mlp", "depth": 4, "width": 16}, 16, "free"),
        ({"name": "ufm_relu", "width": 5}, 5, "nonnegative"),
        ({"name": "deep_linear", "depth": 2, "width": 7}, 7, "free"),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_widths_and_sign_of_older_models(model: dict[str, object], width: int, sign: str, tmp_path: Path) -> None:
    """A DenseNet-121 of growth 12 ends in 384 channels: (((24 + 72) / 2 + 144) / 2 + 288) / 2 + 192."""
    problem = load_record(write_run(tmp_path / "run", [WHOLE_ROW], model=model)).problem
    assert (problem.widths, problem.feature_sign) == ((width,), sign)
    assert problem.free_features == (model["name"] != "deep_linear")


def test_older_record_of_an_unknown_model_poses_no_problem(tmp_path: Path) -> None:
    record = load_record(write_run(tmp_path / "run", [WHOLE_ROW], model={"name": "mine"}))
    with pytest.raises(UserError, match=r"no problem\.json, and model=mine"):
        _ = record.problem


def test_runs_from_before_a_key_are_the_setting_of_those_that_leave_it_out(recorded: list[Record]) -> None:
    """A seed of the standard network, and it as it was recorded before the loss had options."""
    after = next(record for record in recorded if "label_smoothing" in record.config)
    kept = {key: value for key, value in after.config.items() if key != "label_smoothing"}
    assert differing_keys([after, replace(after, config=kept)]) == []
    assert differing_keys([after, replace(after, config=after.config | {"label_smoothing": 0.1})]) == [
        "label_smoothing"
    ]
