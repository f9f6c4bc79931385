"""The name of every planned run of every experiment and scale, its identity in it, as it was when it was first trained:
records on disk are found by it."""

import json
from pathlib import Path

import pytest

from ncrun.config.experiments import recipe
from ncrun.config.folders import experiments
from ncrun.config.grid import expand
from ncrun.config.planning import job_of

PLANNED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("planned_runs.json").read_text())
# Identified by the content of the head that they take over, which is not the same to the bit on every machine.
BY_CONTENT = ("sukenik2023/frozen-head",)
# Composing takes a tenth of a second a run: of large grids every so many-th here, and the rest where it is marked slow.
LARGEST = 12


def differing(name: str, scale: str, few: bool) -> list[str]:
    """Jobs that are planned under another name than they were."""
    expected = PLANNED[f"{name} {scale}"]
    jobs = expand([f"experiment={name}", f"scale={scale}"])
    assert [" ".join(job[2:]) for job in jobs] == list(expected)
    chosen = jobs[:: max(1, len(jobs) // LARGEST)] if few else jobs
    return [" ".join(job) for job in chosen if job_of(job).directory.name != expected[" ".join(job[2:])]]


AT_SCALES = [(name, scale) for name in experiments() for scale in recipe(name).scales or ("paper",)]
CHECKED = [(name, scale) for name, scale in AT_SCALES if name not in BY_CONTENT]


def test_every_experiment_and_scale_is_written_down() -> None:
    assert {f"{name} {scale}" for name, scale in AT_SCALES} == set(PLANNED)


@pytest.mark.parametrize(("name", "scale"), CHECKED)
def test_planned_runs_keep_their_names(name: str, scale: str) -> None:
    assert differing(name, scale, few=True) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scale"), CHECKED)
def test_all_planned_runs_keep_their_names(name: str, scale: str) -> None:
    assert differing(name, scale, few=False) == []
