"""`dry_run=true`: what is said before anything is trained, and that nothing is written."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Command, contents

import ncrun as package
from ncrun.config.planning import job_of
from ncrun.errors import UserError
from ncrun.records.glance import Glance
from ncrun.records.listing import duration
from ncrun.records.lock import Lock
from ncrun.records.speed import Speeds, Work
from ncrun.training.cost import Costs

FREE = ("model=ufm", "counts=[4,3]", "model.width=4", "decay.weight=1e-2", "decay.feature=1e-2")


def test_products_are_counted_and_memory_is_what_a_batch_keeps() -> None:
    """A product of a layer is made three times, but that for the gradient of the images, which nobody needs."""
    run = job_of(["model.depth=2", "model.width=32", "head.depth=2", "epochs=3", "counts=[9,9,9,9,9,9,9,9,9,9]"]).runs[
        0
    ]
    layers = [inputs * outputs for inputs, outputs in pairwise([64, 32, 32, 32, 32, 10])]
    cost = Costs().of(run)
    assert cost.flop == 2 * (3 * sum(layers) - layers[0]) * 3 * 90
    assert cost.parameters == sum(layers) + 3 * 32  # the backbone has biases
    without_activations = 4 * (4 * cost.parameters + 90 * 64)  # Adam: a gradient and two moments
    kept = 90 * 4 * (64 + 4 * 32 + 10)  # images, and what each layer puts out, before a ReLU or behind it
    assert without_activations + 0.5 * kept < cost.memory < without_activations + 3 * kept


def test_an_iteration_of_free_features() -> None:
    """W2 W1, and H by it forward and twice backward, and the product's gradient handed to both layers."""
    run = job_of([*FREE, "head.depth=2"]).runs[0]
    K, d, N = 2, 4, 7
    cost = Costs().of(run)
    assert cost.is_of_iteration
    assert cost.flop == 2 * (3 * K * d * d + 3 * K * d * N)
    assert cost.parameters == N * d + d * d + K * d


def test_targets_in_place_of_classes() -> None:
    """The same products as with as many classes as they have numbers, whether of a network or of free features."""
    run = job_of(["dataset=linnerud", "model.depth=1", "model.width=8", "batch_size=full", "epochs=1"]).runs[0]
    assert run.problem.targets is not None
    inputs, q, N = run.data.image_shape[0], run.problem.num_outputs, run.data.num_samples
    assert Costs().of(run).flop == 2 * N * (2 * inputs * 8 + 3 * 8 * 8 + 3 * 8 * q)
    free = job_of(["dataset=linnerud", "model=ufm", "model.width=8"]).runs[0]
    assert Costs().of(free).flop == 2 * free.data.num_samples * 3 * 8 * q


def timed(path: str, epochs: int, seconds: float, **facts: Any) -> Glance:
    manifest = {
        "host": "here",
        "device": "cpu",
        "threads": 1,
        "parameters": 100,
        "num_samples": 10,
        "image_shape": [1, 8, 8],
    }
    settings = {"dataset.name": "digits", "model.name": "mlp", "optimizer.name": "adam", "epochs": epochs}
    settings |= {"batch_size": facts.pop("batch_size", 5), "precision": "full"}
    return Glance(Path(path), "done", "", None, manifest | facts, settings, {"epoch": epochs, "seconds": seconds})


def test_the_nearest_run_of_this_machine_says_how_long() -> None:
    runs = [
        timed("seen", 10, 20.0),
        timed("larger", 10, 60.0, parameters=400),
        timed("elsewhere", 10, 1.0, host="there"),
        timed("gpu", 10, 1.0, device="H100"),
        timed("shared", 10, 1.0, together=8),
        timed("other-threads", 10, 1.0, threads=2, parameters=300),
        timed("older", 10, 1.0, parameters=None),
    ]
    speeds = Speeds(runs, "here")

    def estimate(**facts: Any) -> tuple[float, str, bool] | None:
        asked = timed("asked", 100, 0.0, **facts)
        found = speeds.estimate(Work.of(asked.settings, asked.manifest))
        return None if found is None else (found.seconds, str(found.run), found.is_alike)

    assert estimate() == (200.0, "seen", True)  # 2 s an epoch
    assert estimate(num_samples=15, batch_size="full") == (300.0, "seen", False)
    assert estimate(parameters=300) == (450.0, "larger", False)  # 6 s an epoch, three quarters of the work
    assert estimate(parameters=5000) is None  # more than ten times as much as any
    assert estimate(image_shape=[3, 32, 32]) is None
    assert estimate(device="H100", threads=4) == (10.0, "gpu", False)


@pytest.mark.usefixtures("undrawn")
def test_states_predictions_and_costs_and_nothing_written(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", *FREE, "seed=1").status == 0
    made = next((workdir / "runs").iterdir())
    held = Lock(workdir / "held")
    held.take()
    before = contents(workdir)
    one = ncrun("train", *FREE, "seed=1", "dry_run=true")
    assert (one.status, one.err) == (0, "")
    assert one.out.splitlines()[0] == f"runs/{made.name}: finished already; nothing to do"
    objective = json.loads((made / "theory.json").read_text())["objective"]
    assert one.out.splitlines()[1] == f"  predicted: proven, objective {objective:.6g} at the optimum; no class is lost"
    grid = ncrun("train", "-m", *FREE, "seed=1,2", "head.depth=1,2", "dry_run=true", "jobs=2")
    assert (grid.status, grid.err) == (0, "")
    lines = grid.out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines if line.startswith("runs/")] == [
        *("finished already; nothing to do", "new", "new", "new")
    ]
    assert sum(line.endswith(" seed=2 head.depth=1 jobs=2") for line in lines) == 1
    took = duration(json.loads((made / "manifest.json").read_text())["wall_seconds"])
    assert re.search(
        rf" FLOP an iteration, .* kB of memory; about {took}, as runs/{made.name}$", grid.out, re.MULTILINE
    )
    assert lines[-1].startswith("dry run: 4 jobs, 3 to train; about ")
    several = ncrun("train", *FREE, "optimizer=sgd", "restarts=3", "epochs=5", "dry_run=true")
    assert several.out.splitlines()[0].endswith(": 3 runs: 3 new")
    assert "time not known: no similar run was timed on this machine" in several.out
    again = ncrun("rerun", str(made), "seed=9", "dry_run=true")
    assert again.out.splitlines()[0].endswith(": new")
    planned = ncrun("train", "-m", "experiment=dang2023/mlp-imbalanced", "scale=cpu", "head.depth=1", "dry_run=true")
    assert "experiment=dang2023/mlp-imbalanced scale=cpu head.depth=1" in planned.out
    assert contents(workdir) == before
    held.release()


def test_what_training_would_refuse_is_refused(ncrun: Command, workdir: Path) -> None:
    (workdir / "mine").mkdir()
    (workdir / "mine" / "notes.txt").touch()
    for typed, line in (
        (["run_dir=mine"], "ncrun: run_dir=mine: holds files that are not a run's; give an empty or a new folder\n"),
        (
            ["-m", "seed=0,1", "dry_run=true,false"],
            "ncrun: dry_run: applies to the whole sweep, and takes one value\n",
        ),
        (["epochs=0"], "ncrun: epochs=0: must be from 1 to 10^9\n"),
    ):
        result = ncrun("train", *typed) if "-m" in typed else ncrun("train", *TINY, "dry_run=true", *typed)
        assert (result.status, result.out, result.err) == (2, "", line)
    with pytest.raises(UserError, match=r"^dry_run: has no effect: ncrun\.train returns a trained run"):
        package.train([*FREE, "dry_run=true"])


def test_it_is_no_other_run() -> None:
    assert job_of([*FREE, "dry_run=true"]).identity == job_of(FREE).identity
