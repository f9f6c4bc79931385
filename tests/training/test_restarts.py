"""restarts=R: the runs of R seeds in one program; and free-feature runs interrupted and continued."""

import errno
import hashlib
import itertools
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command, Refused, contents, rows, state
from faults import at_call, fill_disk
from parameters import manifest

from ncrun.models.free_gradient import FreeGradient
from ncrun.models.free_model import FreeFeatures
from ncrun.records.read import find_records
from ncrun.run import Run
from ncrun.training import program
from ncrun.training.checkpoint import Checkpoints

pytestmark = pytest.mark.usefixtures("undrawn")
SGD = "optimizer=sgd optimizer.lr=0.3"
SMALL = "counts=[5,3,1] model.width=6 decay.weight=2e-2 decay.feature=1e-2 measure=every"
GROUP = f"model=ufm_relu {SMALL} {SGD} epochs=40 measure=10 seed=5".split()


def assert_rows_agree(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """To 1e-9 of each number or of 1e-3: not to the bit, because batched matrix products add up in another order."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            numeric = isinstance(value, float | list)
            assert ours[key] == (pytest.approx(value, rel=1e-9, abs=1e-12) if numeric else value), key


def test_restarts_are_the_runs_of_their_seeds(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = ncrun("train", *GROUP, "restarts=3", "run_dir=group")
    assert (result.status, result.err) == (0, "")
    losses = []
    for seed in (5, 6, 7):
        assert ncrun("train", *GROUP, f"seed={seed}", "run_dir=alone-${seed}").status == 0
        alone, member = workdir / f"alone-{seed}", workdir / "group" / f"seed-{seed}"
        assert set(contents(member)) == set(contents(alone))
        assert_rows_agree(rows(member), rows(alone))
        ours, theirs = manifest(member), manifest(alone)
        assert (ours["identity"], ours["state"]) == (theirs["identity"], "done")
        assert ours["verdict"]["word"] == theirs["verdict"]["word"]
        assert (member / "theory.json").read_bytes() == (alone / "theory.json").read_bytes()
        losses.append(rows(member)[-1]["loss"])
    assert len(set(losses)) == 3
    summary = json.loads((workdir / "group" / "summary.json").read_text())
    assert summary["state"] == "done"
    assert [(entry["run"], entry["state"]) for entry in summary["runs"]] == [(f"seed-{s}", "done") for s in (5, 6, 7)]
    assert [entry["loss"] for entry in summary["runs"]] == losses
    assert [record.path.name for record in find_records(workdir / "group")] == ["seed-5", "seed-6", "seed-7"]
    assert result.out.splitlines()[-1] == f"group: {summary['summary']}"

    before = contents(workdir)
    again = ncrun("train", *GROUP, "restarts=3", "run_dir=group")
    assert (again.status, again.out) == (0, "group: finished already; nothing to do\n")
    member = ncrun("train", *GROUP, "seed=6", "run_dir=group/seed-6")
    assert "nothing to do" in member.out
    assert contents(workdir) == before

    # What a process writes that slept until another one had finished, or that finds the last file missing: the same.
    monkeypatch.setattr("time.strftime", lambda *_: "later")
    (workdir / "group" / "summary.json").unlink()
    assert ncrun("train", *GROUP, "restarts=3", "run_dir=group").status == 0
    assert contents(workdir) == before


def test_group_directory_is_not_a_run_of_its_own(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", *GROUP, "restarts=2", "epochs=2", "run_dir=group").status == 0
    assert ncrun("train", *GROUP, "epochs=2", "run_dir=group").status == 2
    assert ncrun("train", *GROUP, "restarts=3", "epochs=2", "run_dir=group").status == 2


def explode(patch: pytest.MonkeyPatch) -> None:
    """Let the run of seed 6 begin so far out that its loss is no number a few steps later."""
    network_of = program.network_of

    def exploding(run: Run) -> FreeFeatures:
        model = network_of(run)
        assert isinstance(model, FreeFeatures)
        if run.descent.seed == 6:
            model.points.data *= 1e70
        return model

    patch.setattr(program, "network_of", exploding)


def test_diverging_start_leaves_the_others_alone(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others' numbers are the same to the bit: the runs share a program, not one number."""
    typed = [*GROUP, "loss=mse", "restarts=3"]
    assert ncrun("train", *typed, "run_dir=healthy").status == 0
    explode(monkeypatch)
    result = ncrun("train", *typed, "run_dir=group")
    assert result.status == 1
    for seed in (5, 7):
        assert rows(workdir / "group" / f"seed-{seed}") == rows(workdir / "healthy" / f"seed-{seed}")
        assert state(workdir / "group" / f"seed-{seed}") == "done"
    assert state(workdir / "group" / "seed-6") == "failed"
    reason = manifest(workdir / "group" / "seed-6")["reason"]
    assert reason.startswith("diverged: ")
    assert result.err == f"ncrun: group/seed-6: {reason}\n"
    assert "after step 10 (epoch 10)" in reason  # where it was noticed first
    summary = json.loads((workdir / "group" / "summary.json").read_text())
    assert [entry["state"] for entry in summary["runs"]] == ["done", "failed", "done"]
    assert summary["summary"].endswith("1 diverged")
    assert [record.path.name for record in find_records(workdir / "group")] == ["seed-5", "seed-7"]
    assert "nothing to do" in ncrun("train", *typed, "run_dir=group").out


def test_group_whose_starts_all_diverge(ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", *GROUP, "restarts=2", "loss=mse", "optimizer.lr=1e6", "run_dir=group")
    assert (result.status, result.out) == (1, "")
    lines = result.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["group/seed-5", "group/seed-6"]
    assert all("try optimizer.lr=" in line for line in lines)
    assert json.loads((workdir / "group" / "summary.json").read_text())["state"] == "failed"
    assert [state(workdir / "group" / name) for name in ("seed-5", "seed-6")] == ["failed", "failed"]


CONTINUED = {
    "ufm-momentum": f"ufm head.depth=2 head.bias=true {SMALL} {SGD} optimizer.momentum=0.9 epochs=20",
    "ufm_relu-adam": f"ufm_relu {SMALL} optimizer=adam optimizer.lr=0.05 epochs=20",
    "dufm-restarts": f"dufm {SMALL} {SGD} optimizer.momentum=0.9 epochs=20 restarts=3",
    "ufm_relu-lbfgs": f"ufm_relu {SMALL}",
    "ufm-path": f"ufm {SMALL} path=[1,2,3,2]",
}


def interrupt(patch: pytest.MonkeyPatch) -> None:
    """SIGINT while the objective is evaluated for the 30th time, for steps and for measuring."""
    calls, gradient = itertools.count(1), FreeGradient.__call__

    def signalling(self: FreeGradient) -> None:
        if next(calls) == 30:
            signal.raise_signal(signal.SIGINT)
        gradient(self)

    patch.setattr(FreeGradient, "__call__", signalling)


@pytest.mark.parametrize("name", CONTINUED)
def test_interrupted_run_continues_to_the_same_bits(
    name: str, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradient descent goes on from where it was; L-BFGS, a matter of seconds, starts again."""
    typed = CONTINUED[name].split()
    typed[0] = f"model={typed[0]}"
    assert ncrun("train", *typed, "run_dir=straight").status == 0
    with monkeypatch.context() as patch:
        interrupt(patch)
        stopped = ncrun("train", *typed, "run_dir=run")
    assert stopped.status == 128 + signal.SIGINT
    several = "restarts=3" in typed
    assert stopped.err.endswith("interrupted; the same command continues " + ("them\n" if several else "it\n"))
    assert not (workdir / "run" / "summary.json").exists()
    members = ["seed-0", "seed-1", "seed-2"] if several else ["."]
    for member in members:
        so_far, complete = rows(workdir / "run" / member), rows(workdir / "straight" / member)
        assert len(so_far) < len(complete)
        assert so_far == complete[: len(so_far)]
        assert state(workdir / "run" / member) == "interrupted"
    assert ncrun("train", *typed, "run_dir=run").status == 0
    for member in members:
        assert state(workdir / "run" / member) == "done"
        assert rows(workdir / "run" / member) == rows(workdir / "straight" / member)


def test_diverged_run_is_remembered_and_keeps_its_place(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Continued, the others keep their bits, for which their places in the program count; the one that has diverged is
    not tried again."""
    explode(monkeypatch)
    typed = [*GROUP, "loss=mse", "restarts=3"]
    assert ncrun("train", *typed, "run_dir=straight").status == 1
    with monkeypatch.context() as patch:
        interrupt(patch)
        ncrun("train", *typed, "run_dir=run")
    assert [state(workdir / "run" / f"seed-{seed}") for seed in (5, 6, 7)] == ["interrupted", "failed", "interrupted"]
    failed = contents(workdir / "run" / "seed-6")
    assert ncrun("train", *typed, "run_dir=run").status == 1
    assert contents(workdir / "run" / "seed-6") == failed
    for seed in (5, 6, 7):
        ours, theirs = (workdir / name / f"seed-{seed}" for name in ("run", "straight"))
        assert state(ours) == state(theirs)
        assert rows(ours) == rows(theirs)
    assert_same_weights(workdir / "run" / "seed-7", workdir / "straight" / "seed-7")


def assert_same_weights(ours: Path, theirs: Path) -> None:
    """To the bit, of networks and optimisers."""
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (ours, theirs))
    for part in ("network", "optimiser", "generator", "random"):
        assert repr(one[part]) == repr(other[part])
    assert all(torch.equal(one["network"][key], value) for key, value in other["network"].items())


def test_killed_between_two_checkpoints_of_one_program(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run's checkpoint is one step ahead of the others': all go on from the one before, to the same bits."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    typed = [*GROUP, "optimizer.momentum=0.9", "restarts=3"]
    assert ncrun("train", *typed, "run_dir=straight").status == 0
    for number in (1, 2, 5, 20):  # the last one between a step and the measurement that follows it
        with monkeypatch.context() as patch:
            patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
            at_call(patch, Checkpoints, "save", number * 3 - 1, killed)
            assert ncrun("train", *typed, "run_dir=run").status == 128 + signal.SIGINT
        assert ncrun("train", *typed, "run_dir=run").status == 0
        for seed in (5, 6, 7):
            ours, theirs = (workdir / name / f"seed-{seed}" for name in ("run", "straight"))
            assert rows(ours) == rows(theirs)
            assert_same_weights(ours, theirs)
        shutil.rmtree(workdir / "run")


def test_damage_that_parts_the_runs_of_a_program_is_told(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that is a step ahead of the others cannot go back to where they are."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    typed = [*GROUP, "restarts=2", "run_dir=run"]
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        at_call(patch, Checkpoints, "save", 20, killed)
        assert ncrun("train", *typed).status == 128 + signal.SIGINT
    file = workdir / "run" / "seed-5" / "checkpoint.previous.pt"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    result = ncrun("train", *typed)
    assert result.status == 0
    assert result.err.startswith(
        "ncrun: run/seed-5: checkpoint.previous.pt is damaged (its checksum does not fit); cont"
    )
    assert [manifest(workdir / "run" / f"seed-{seed}")["state"] for seed in (5, 6)] == ["done", "done"]


@pytest.mark.parametrize("full", [1, 2, 4, 7])
def test_what_a_start_on_a_full_disk_leaves_is_healed(
    full: int, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the n-th file on, the last one summary.json."""
    typed = [*GROUP, "epochs=2", "restarts=2", "run_dir=group"]
    with monkeypatch.context() as patch:
        fill_disk(patch, "", full, errno.ENOSPC)
        result = ncrun("train", *typed)
    assert result.status == 1
    assert "No space left" in result.err
    assert ncrun("train", *typed).status == 0
    assert json.loads((workdir / "group" / "summary.json").read_text())["state"] == "done"
    assert {path.name for path in (workdir / "group").iterdir()} == {"seed-5", "seed-6", "summary.json"}


def test_disk_full_at_the_summary(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = [*GROUP, "epochs=2", "restarts=2", "run_dir=group"]
    with monkeypatch.context() as patch:
        fill_disk(patch, "summary", 1, errno.ENOSPC)
        result = ncrun("train", *typed)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("ncrun: group: cannot continue: No space left on device (")
    assert ncrun("train", *typed).status == 0
    assert json.loads((workdir / "group" / "summary.json").read_text())["state"] == "done"


def test_folder_of_other_files_holds_no_restarts(ncrun: Command, refused: Refused, workdir: Path) -> None:
    (workdir / "group").mkdir()
    (workdir / "group" / "notes.txt").write_text("mine")
    assert "holds files that are not restarts" in refused("train", *GROUP, "restarts=2", "run_dir=group")


def test_head_digest_is_of_the_weights_and_their_shapes(ncrun: Command, workdir: Path) -> None:
    """Written by hand from the checkpoint, as a run that takes the head over would."""
    typed = [*GROUP, "model=ufm", "head.depth=2", "head.bias=true", "epochs=2", "run_dir=run"]
    assert ncrun("train", *typed).status == 0
    network = torch.load(workdir / "run" / "checkpoint.pt", weights_only=True)["network"]
    digest = hashlib.sha256()
    for name in ("head.weights.0", "head.weights.1", "head.bias"):
        values = network[name][0].double().numpy()
        digest.update(str(values.shape).encode() + values.astype("<f8").tobytes())
    assert manifest(workdir / "run")["head_digest"] == digest.hexdigest()
