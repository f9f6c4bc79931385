"""Sweeps that are trained in one batched program (together=true)."""

import itertools
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, Refused, RunOf, contents, rows, state
from faults import at_call

from ncrun.models.free_gradient import FreeGradient
from ncrun.records import RunDirectory

pytestmark = pytest.mark.usefixtures("undrawn")
BASE = ["model.width=6", "epochs=40", "measure=10"]
SGD = ["optimizer=sgd", "optimizer.momentum=0.9"]
# What is common, and the grid: each key of it with its values.
GRIDS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "seeds and decays": (
        "model=ufm counts=[5,3,1] head.depth=2 head.bias=true optimizer.lr=0.3",
        {
            "seed": ["0", "1"],
            "decay.weight": ["0.02", "[0.01,0.03]"],
        },
    ),
    "rates and counts": (
        "model=ufm loss=ce seed=3",
        {
            "optimizer.lr": ["0.3", "0.1"],
            "counts": ["[5,3,1]", "[3,3,3]"],
        },
    ),
    "features of a ReLU": (
        "model=ufm_relu counts=[5,3,1]",
        {"decay.feature": ["0.01", "0.02"], "optimizer.lr": ["0.3", "0.2"]},
    ),
    "adam": (
        "model=dufm counts=[4,5] optimizer=adam schedule.drops=[0.5]",
        {"optimizer.lr": ["0.02", "0.01"], "seed": ["0", "1"]},
    ),
}


def jobs_of(name: str) -> tuple[list[str], list[list[str]], list[str]]:
    """What is common, the overrides of each job, and the grid as it is typed."""
    common, grid = GRIDS[name]
    typed = [*BASE, *([] if "adam" in common else SGD), *common.split()]
    jobs = [
        [f"{key}={value}" for key, value in zip(grid, values, strict=True)]
        for values in itertools.product(*grid.values())
    ]
    return typed, jobs, [f"{key}={','.join(values)}" for key, values in grid.items()]


def close(found: Any, expected: Any) -> bool:
    return bool(
        found == (pytest.approx(expected, rel=1e-9, abs=1e-12) if isinstance(expected, float | list) else expected)
    )


def assert_same_runs(ours: Path, theirs: Path) -> None:
    """Row by row to 1e-9 of each number or of 1e-3: products of matrices side by side add up in another order."""
    found, expected = rows(ours), rows(theirs)
    assert len(found) == len(expected) > 3
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert [key for key in other if not close(one[key], other[key])] == []


def directory_of(run_of: RunOf, *overrides: str) -> Path:
    return run_of(*overrides).directory


@pytest.mark.parametrize("name", GRIDS)
def test_runs_together_are_the_single_runs(name: str, ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    typed, jobs, grid = jobs_of(name)
    result = ncrun("train", "-m", *typed, *grid, "together=true")
    assert (result.status, result.err) == (0, "")
    for job in jobs:
        assert ncrun("train", *typed, *job, "run_dir=alone-" + "".join(filter(str.isalnum, "".join(job)))).status == 0
        ours = workdir / directory_of(run_of, *typed, *job)
        theirs = workdir / ("alone-" + "".join(filter(str.isalnum, "".join(job))))
        assert_same_runs(ours, theirs)
        assert set(contents(ours)) == set(contents(theirs))
        assert (ours / "theory.json").read_bytes() == (theirs / "theory.json").read_bytes()
        here, there = (json.loads((folder / "manifest.json").read_text()) for folder in (ours, theirs))
        assert here["together"] == len(jobs)
        same = ("state", "identity", "effective_decays", "class_counts", "parameters", "threads")
        assert [here[key] for key in same] == [there[key] for key in same]
        assert here["verdict"]["word"] == there["verdict"]["word"]
        assert result.out.count(str(directory_of(run_of, *typed, *job))) == 1
    before = contents(workdir)
    again = ncrun("train", "-m", *typed, *grid, "together=true")
    assert again.status == 0
    assert again.out.startswith(f"{len(jobs)} of {len(jobs)} runs are finished already\n")
    assert contents(workdir) == before


def test_restarts_of_several_jobs_share_a_program(ncrun: Command, workdir: Path) -> None:
    """Two decays of two restarts each: one program of four runs, and a folder with a summary for each decay."""
    typed = [*BASE, *SGD, "model=ufm", "counts=[5,3,1]", "restarts=2"]
    folders = [f"alone-{decay}" for decay in ("0.02", "0.05")]
    for decay in ("0.02", "0.05"):
        assert ncrun("train", *typed, f"decay.weight={decay}", f"run_dir=alone-{decay}").status == 0
    grid = ["decay.weight=0.02,0.05", "run_dir='together-${decay.weight}'"]
    result = ncrun("train", "-m", *typed, *grid, "together=true")
    assert (result.status, result.err) == (0, "")
    for alone in folders:
        ours, theirs = workdir / alone.replace("alone", "together"), workdir / alone
        for seed in ("seed-0", "seed-1"):
            assert_same_runs(ours / seed, theirs / seed)
            assert json.loads((ours / seed / "manifest.json").read_text())["together"] == 4
        here, there = (json.loads((folder / "summary.json").read_text()) for folder in (ours, theirs))
        assert (here["state"], here["identity"], here["summary"]) == ("done", there["identity"], there["summary"])
    again = ncrun("train", "-m", *typed, *grid, "together=true")
    assert again.status == 0
    assert again.out.startswith("2 of 2 runs are finished already\n")


def test_runs_of_other_shapes_make_another_batch(ncrun: Command, workdir: Path) -> None:
    typed = [*BASE, *SGD, "model=ufm", "counts=[5,3,1],[4,4],[1,5,3]", "head.depth=1,2", "seed=0,1", "together=true"]
    assert ncrun("train", "-m", *typed).status == 0
    sizes = sorted(json.loads(file.read_text())["together"] for file in workdir.rglob("manifest.json"))
    assert sizes == [2] * 4 + [4] * 8  # [4,4] by itself, at both depths


def test_losses_that_depend_on_the_counts_make_another_batch(ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """Three classes of nine samples each time: weights and adjustment are not those of the neighbour."""
    typed = [*BASE, *SGD, "model=ufm", "loss=ce", "label_smoothing=0.1", "class_weights=balanced", "logit_adjustment=1"]
    grid = ["counts=[6,2,1],[1,6,2]", "seed=0,1"]
    assert ncrun("train", "-m", *typed, *grid, "together=true").status == 0
    assert [json.loads(file.read_text())["together"] for file in workdir.rglob("manifest.json")] == [2] * 4
    for counts in ("[6,2,1]", "[1,6,2]"):
        assert ncrun("train", *typed, f"counts={counts}", "run_dir=alone", "seed=1").status == 0
        assert_same_runs(directory_of(run_of, *typed, f"counts={counts}", "seed=1"), workdir / "alone")
        shutil.rmtree(workdir / "alone")


def interrupt(patch: pytest.MonkeyPatch, call: int) -> None:
    """SIGINT while the gradient is taken for so manieth time, for steps and for measuring."""
    calls, gradient = itertools.count(1), FreeGradient.__call__

    def signalling(self: FreeGradient) -> None:
        if next(calls) == call:
            signal.raise_signal(signal.SIGINT)
        gradient(self)

    patch.setattr(FreeGradient, "__call__", signalling)


@pytest.mark.parametrize("name", ["rates and counts", "adam"])
def test_interrupted_together_continued_together_or_alone(
    name: str, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch, run_of: RunOf
) -> None:
    """Together to the same bits. One of them by itself, and then the others together: to the same numbers."""
    typed, jobs, grid = jobs_of(name)
    folders = [directory_of(run_of, *typed, *job) for job in jobs]
    sweep = ["train", "-m", *typed, *grid, "together=true"]
    assert ncrun(*sweep).status == 0
    (workdir / "runs").rename(workdir / "straight")
    straight = [workdir / "straight" / folder.name for folder in folders]
    for alone in ([], [2]):
        with monkeypatch.context() as patch:
            interrupt(patch, 30)
            stopped = ncrun(*sweep)
        assert stopped.status == 128 + signal.SIGINT
        assert stopped.err == "4 runs together: interrupted; the same command continues them\n"
        assert {state(folder) for folder in folders} == {"interrupted"}
        assert 1 <= min(len(rows(folder)) for folder in folders) < len(rows(straight[0]))
        for index in alone:
            assert ncrun("train", *typed, *jobs[index]).status == 0
            assert_same_runs(folders[index], straight[index])
        assert ncrun(*sweep).status == 0
        for folder, whole in zip(folders, straight, strict=True):
            assert state(folder) == "done"
            if alone:
                assert_same_runs(folder, whole)
            else:
                assert rows(folder) == rows(whole)
                ours, theirs = (torch.load(f / "checkpoint.pt", weights_only=True) for f in (folder, whole))
                assert all(torch.equal(ours["network"][key], value) for key, value in theirs["network"].items())
        (workdir / "runs").rename(workdir / f"continued{len(alone)}")


def test_single_run_is_taken_up_together(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch, run_of: RunOf
) -> None:
    """Interrupted alone, it goes on beside a new one, in a program of its own as it stands at another step."""
    typed = [*BASE, *SGD, "model=ufm", "counts=[5,3,1]"]
    assert ncrun("train", *typed, "run_dir=straight").status == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 15)
        assert ncrun("train", *typed).status == 128 + signal.SIGINT
    assert ncrun("train", "-m", *typed, "seed=0,1", "together=true").status == 0
    assert rows(directory_of(run_of, *typed)) == rows(workdir / "straight")
    assert state(directory_of(run_of, *typed, "seed=1")) == "done"


def test_diverging_run_leaves_the_others_alone(ncrun: Command, workdir: Path, run_of: RunOf) -> None:
    """It is named, with the step and what to try; the others are as if it were not there."""
    typed = [*BASE, *SGD, "model=ufm", "counts=[5,3,1]"]
    healthy = [directory_of(run_of, *typed, f"optimizer.lr={rate}") for rate in ("0.1", "0.3")]
    failing = directory_of(run_of, *typed, "optimizer.lr=1e6")
    result = ncrun("train", "-m", *typed, "optimizer.lr=0.1,1e6,0.3", "together=true")
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert result.err.startswith(f"ncrun: {failing}: diverged: ")
    assert "try optimizer.lr=100000" in result.err
    assert json.loads((failing / "manifest.json").read_text())["reason"] in result.err
    assert [state(folder) for folder in (*healthy, failing)] == ["done", "done", "failed"]
    before = contents(workdir)
    again = ncrun("train", "-m", *typed, "optimizer.lr=0.1,1e6,0.3", "together=true")
    assert (again.status, again.err) == (1, result.err)
    assert contents(workdir) == before
    for folder, rate in zip(healthy, ("0.1", "0.3"), strict=True):
        assert ncrun("train", *typed, f"optimizer.lr={rate}", f"run_dir=alone-{rate}").status == 0
        assert_same_runs(folder, workdir / f"alone-{rate}")


def test_all_diverge(ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", "-m", *BASE, *SGD, "model=ufm", "counts=[5,3]", "optimizer.lr=1e6,1e7", "together=true")
    assert (result.status, result.out) == (1, "")
    assert [line.split(": ")[2] for line in result.err.splitlines()] == ["diverged", "diverged"]
    assert {state(file.parent) for file in workdir.rglob("manifest.json")} == {"failed"}


# What a manifest says of when, and with which code, a run was trained, and the checksums of files that say when.
OF_THE_SITTING = ("started", "finished", "wall_seconds", "measuring_share", "seal", "code")


def told(folder: Path) -> dict[str, Any]:
    """What its manifest says of a run, whenever it was trained."""
    manifest = json.loads((folder / "manifest.json").read_text())
    return {key: value for key, value in manifest.items() if key not in OF_THE_SITTING}


def whole(folder: Path) -> dict[str, Any]:
    """All that the files of a run say but for times, and for the seal, which is of the times, too."""
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    progress = {key: value for key, value in checkpoint["progress"].items() if "seconds" not in key}
    kept = {key: value for key, value in checkpoint.items() if key not in ("progress", "metrics")}
    names = ("config.yaml", "problem.json", "theory.json", "geometry.json", "snapshots.npz")
    return {
        "names": sorted(contents(folder)),
        "manifest": told(folder),
        "checkpoint": repr((kept, progress)),
        "rows": rows(folder),
        **{name: (folder / name).read_bytes() for name in names},
    }


def test_killed_while_its_runs_are_closed(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one is done and another is not, everything of each is what it would have been, how many trained together
    with it, too; one that has diverged is left as it was."""
    typed = [*BASE, "model=ufm", "counts=[5,3,1]", "optimizer=sgd", "optimizer.lr=0.3,1e6", "seed=0,1"]
    sweep = ["train", "-m", *typed, "together=true"]
    assert ncrun(*sweep).status == 1
    (workdir / "runs").rename(workdir / "straight")
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        at_call(patch, RunDirectory, "close", 4, killed)  # the first two are of the runs that diverge
        assert ncrun(*sweep).status == 128 + signal.SIGINT
    assert ncrun(*sweep).status == 1
    done = 0
    for ours, theirs in zip(sorted(Path("runs").iterdir()), sorted(Path("straight").iterdir()), strict=True):
        if state(theirs) == "done":
            assert whole(ours) == whole(theirs)
            done += 1
        else:
            assert told(ours) == told(theirs)
            assert rows(ours) == rows(theirs)
    assert done == 2


def killed(*_: object) -> None:
    raise KeyboardInterrupt


FREE = "model=ufm counts=[5,3]"
BAD = [
    ("-m model=mlp seed=0,1 together=true", "together=true:", "jobs=N"),
    (f"-m {FREE} seed=0,1 together=true", "together=true:", "not optimizer=lbfgs"),
    (f"-m {FREE} optimizer=sgd seed=0,1 together=true jobs=2", "jobs=2:", "one process"),
    (f"-m {FREE} optimizer=sgd together=true,false", "together:", "one value"),
    (f"-m {FREE} seed=0,1 jobs=0", "jobs=0:", "auto"),
    (f"-m {FREE} seed=0,1 jobs=many", "jobs=many:", "auto"),
    (f"{FREE} optimizer=sgd together=true", "together:", "without -m"),
    ("jobs=2", "jobs:", "without -m"),
    ("precision=half", "precision=half:", "full, tf32, bfloat16"),
    ("precision=tf32 device=cpu", "precision=tf32:", "CUDA"),
    ("compile=true device=cpu", "compile=true:", "CUDA"),
    ("cuda_graphs=true device=cpu", "cuda_graphs=true:", "CUDA"),
    ("precision=bfloat16 dtype=float64", "precision=bfloat16:", "float64"),
    (f"{FREE} precision=bfloat16", "precision: has no effect", "model=ufm"),
    (f"{FREE} compile=true", "compile: has no effect", "model=ufm"),
    (f"{FREE} cuda_graphs=true", "cuda_graphs=true:", "optimizer=lbfgs"),
    ("cuda_graphs=true compile=true", "cuda_graphs=true:", "compile=true"),
]


@pytest.mark.parametrize(("typed", "start", "part"), BAD, ids=[case[0] for case in BAD])
def test_bad_value_is_refused(typed: str, start: str, part: str, refused: Refused) -> None:
    line = refused("train", *typed.split())
    assert line.startswith(start), line
    assert part in line, line


@pytest.mark.parametrize("key", ["jobs=auto", "together=true", "compile=true", "cuda_graphs=true", "precision=full"])
def test_how_a_run_is_trained_is_not_what_it_is(key: str, run_of: RunOf) -> None:
    typed = [*FREE.split(), "optimizer=sgd"] if key == "together=true" else []
    assert run_of(*typed, key).identity == run_of(*typed).identity
    assert run_of("precision=bfloat16").identity != run_of().identity
