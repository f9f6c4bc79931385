"""The run directory: whole files or none, one holder at a time, nobody else's files touched."""

import fcntl
import gc
import json
import math
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import TINY, Command, Refused, RunOf, rows, state

from ncrun.errors import UserError
from ncrun.records import RunDirectory, read_manifest, read_metrics, read_theory
from ncrun.records.files import write_aside, write_json
from ncrun.records.summary import describe

pytestmark = pytest.mark.usefixtures("undrawn")


def test_metrics_read_back_by_pandas_and_by_the_records(tmp_path: Path) -> None:
    record = RunDirectory(tmp_path, "0123456789")
    for epoch in range(3):
        record.append({"epoch": epoch, "nc1": 10.0**-epoch, "class.margin": [0.5, None]})
    frame = pd.read_json(tmp_path / "metrics.jsonl", lines=True)
    assert frame["epoch"].tolist() == [0, 1, 2]
    assert frame["nc1"].tolist() == pytest.approx([1, 0.1, 0.01])
    ours = read_metrics(tmp_path)
    assert list(ours.columns) == list(frame.columns)
    assert ours["nc1"].tolist() == frame["nc1"].tolist()


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n{"epo')
    assert read_metrics(tmp_path)["epoch"].tolist() == [0, 1]


def test_empty_directory_reads_as_nothing(tmp_path: Path) -> None:
    assert read_metrics(tmp_path).empty
    assert read_manifest(tmp_path) is None
    assert read_theory(tmp_path) is None


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_json_does_not_know_are_not_written(number: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunDirectory(tmp_path, "0123456789").append({"epoch": 1, "nc1": number})
    assert read_metrics(tmp_path).empty
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "theory.json", {"objective": number})
    assert not (tmp_path / "theory.json").exists()


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    write_json(path, {"state": "running"})

    def breaks(file) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_aside(path, breaks)
    assert json.loads(path.read_text()) == {"state": "running"}
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_metrics_are_cut_to_what_the_checkpoint_knows(tmp_path: Path) -> None:
    record = RunDirectory(tmp_path, "0123456789")
    assert record.mark()["size"] == 0
    record.append({"epoch": 0})
    mark = record.mark()
    assert record.fits(mark)
    record.append({"epoch": 1})
    assert record.fits(mark)
    record.cut_metrics(mark["size"])
    assert record.mark() == mark
    assert read_metrics(tmp_path)["epoch"].tolist() == [0]


def test_one_process_holds_a_run(tmp_path: Path, run_of: RunOf) -> None:
    run, path = run_of(), tmp_path / "run"
    first, second, third = (RunDirectory(path, "0123456789") for _ in range(3))
    first.hold()
    first.begin(run.config, run.problem, {}, {"threads": 1})
    with pytest.raises(UserError, match="another process"):
        second.hold()
    assert read_manifest(path)["threads"] == 1
    first.close(state="interrupted")
    assert third.state() == "interrupted"
    third.hold()  # the lock is free again
    third.close(state="interrupted")


def test_refused_lock_leaves_no_file_open(tmp_path: Path, run_of: RunOf) -> None:
    first, second = RunDirectory(tmp_path, "0123456789"), RunDirectory(tmp_path, "0123456789")
    first.hold()
    opened = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UserError, match=f"another process \\(process {os.getpid()} on "):
        second.hold()
    assert not second.held
    assert len(os.listdir("/proc/self/fd")) == opened
    first.release()


def test_lock_is_the_kernels_so_that_a_dead_holder_holds_nothing(tmp_path: Path, run_of: RunOf) -> None:
    (tmp_path / ".lock").touch()  # left behind by a killed process
    record = RunDirectory(tmp_path, "0123456789")
    assert record.state() is None
    record.hold()
    record.begin(run_of().config, run_of().problem, {}, {})
    with (tmp_path / ".lock.1" / "holder").open("r+") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    record.close(state="done")
    assert list(tmp_path.glob(".lock*")) == []


def test_run_dir_of_another_run(ncrun: Command, refused: Refused) -> None:
    assert ncrun("train", *TINY, "run_dir=mine").status == 0
    line = refused("train", *TINY, "run_dir=mine", "seed=1")
    assert line.startswith("run_dir=mine: holds another run")


def test_run_dir_of_a_longer_run_is_another(ncrun: Command, refused: Refused) -> None:
    assert ncrun("train", *TINY, "run_dir=mine").status == 0
    assert refused("train", *TINY, "epochs=3", "run_dir=mine").startswith("run_dir=mine: ")


def test_run_dir_with_other_files(workdir: Path, refused: Refused) -> None:
    (workdir / "mine").mkdir()
    (workdir / "mine" / "thesis.tex").write_text("years of work")
    assert refused("train", *TINY, "run_dir=mine").startswith("run_dir=mine: holds files")


@pytest.mark.parametrize("run_dir", ["file", "file/below"])
def test_run_dir_that_is_a_file(run_dir: str, workdir: Path, refused: Refused) -> None:
    (workdir / "file").write_text("")
    assert refused("train", *TINY, f"run_dir={run_dir}").startswith(f"run_dir={run_dir}: ")


@pytest.mark.parametrize("content", ["{}", "", "not json", "[]"], ids=["no-entries", "empty", "no-json", "a-list"])
def test_run_dir_with_somebody_elses_manifest(content: str, workdir: Path, refused: Refused) -> None:
    (workdir / "mine").mkdir()
    (workdir / "mine" / "manifest.json").write_text(content)
    assert refused("train", *TINY, "run_dir=mine").startswith("run_dir=mine: ")


def test_run_dir_that_is_an_empty_folder(workdir: Path, ncrun: Command) -> None:
    (workdir / "mine").mkdir()
    assert ncrun("train", *TINY, "run_dir=mine").status == 0
    assert state(workdir / "mine") == "done"


def test_run_killed_between_its_last_checkpoint_and_its_last_manifest(workdir: Path, ncrun: Command) -> None:
    assert ncrun("train", *TINY, "run_dir=mine").status == 0
    complete, manifest = rows(workdir / "mine"), workdir / "mine" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"state": "done"', '"state": "running"'))
    try:
        outcome = str(ncrun("train", *TINY, "run_dir=mine").status)
    except Exception as error:
        outcome = repr(error)
    gc.collect()  # whatever was left open, so that no later test is blamed
    assert outcome == "0"
    assert state(workdir / "mine") == "done"
    assert rows(workdir / "mine") == complete


# ---------------------------------------------------------------- the last line


ROW = {
    "nc2_w": 1e-4,
    "nc2_h": 3e-4,
    "nc3": 2e-4,
    "balanced.nc2_w": 0.3,
    "balanced.nc2_h": 0.36,
    "balanced.nc3": 0.2,
    "etf_w": 0.5,
    "etf_h": 0.25,
    "loss": 0.1,
    "gap": 2e-4,
    "ledger.within_class": 3e-5,
    "ledger.duality": 1e-5,
    "ledger.bias": 0.0,
    "ledger.geometry": 1e-6,
    "class.margin": [1.0, 0.9, 0.8],
}

# Every class that is not lost gets its own score.
FITTED = {**ROW, "class.train_accuracy": [1.0, 1.0, 1.0]}


def theory(counts: list[int], collapsed: list[bool], **changes: object) -> dict[str, object]:
    margins = {True: 0.0, False: 0.95, None: None}
    classes = [{"count": n, "collapsed": c, "margin": margins[c]} for n, c in zip(counts, collapsed, strict=True)]
    claimed = {"claim": "proven", "objective": 0.0998, "best_known": None}
    return {"classes": classes, "note": "", "attainable": True, "scale_free": False, **claimed, **changes}


def test_summary_of_an_imbalanced_run() -> None:
    line = describe(ROW, theory([30, 20, 10], [False] * 3))
    assert line == (
        "0.0003 from the predicted geometry (0.36 from the balanced one); loss 0.02 % above the proven optimum,"
        " most of it within-class spread; no class lost"
    )


def test_summary_of_a_balanced_run_names_no_baseline() -> None:
    assert "balanced" not in describe(ROW, theory([20] * 3, [False] * 3))


@pytest.mark.parametrize(
    ("margins", "collapsed", "words"),
    [
        ([1.0, 0.9, 0.01], [False, False, True], "class 2 lost as predicted (minority collapse)"),
        ([1.0, 0.01, -0.2], [False, False, True], "classes 1, 2 lost (minority collapse), predicted: class 2"),
        ([1.0, 0.9, 0.8], [False, False, True], "no class lost, predicted: class 2"),
        ([1.0, 0.9, -0.1], [False, False, False], "class 2 lost (minority collapse), predicted: none"),
        ([1.0, 0.9, -0.1], [None, None, None], "class 2 lost (minority collapse)"),
        ([0.0, 0.0, 0.0], [True, True, True], "classes 0, 1, 2 lost as predicted (minority collapse)"),
    ],
)
def test_summary_of_lost_classes(margins: list[float], collapsed: list[bool], words: str) -> None:
    line = describe({**FITTED, "class.margin": margins}, theory([30, 20, 10], collapsed))
    assert line.split("; ")[-1] == words
    settled = {**ROW, "stationarity": 1e-9, "class.margin": margins}
    assert describe(settled, theory([30, 20, 10], collapsed)).split("; ")[-1] == words


@pytest.mark.parametrize(
    "early",
    [{"class.train_accuracy": [1.0, 0.9, 0.0]}, {"stationarity": 0.1}, {}],
    ids=["class 1 not fitted", "not settled", "unknown"],
)
def test_no_class_counts_as_lost_before_that_can_be_judged(early: dict[str, object]) -> None:
    """After two epochs a class without a margin has only not been learned yet."""

    def said(margins: list[float], lost: list[bool]) -> str:
        line = describe({**ROW, **early, "class.margin": margins}, theory([30, 20, 10], lost))
        return line.split("; ")[-1]

    assert said([1.0, 0.9, -0.1], [False] * 3) == "class 2 without a margin so far, predicted lost: none"
    assert said([1.0, 0.9, -0.1], [False, False, True]) == "class 2 without a margin so far"
    assert said([1.0, 0.9, 0.8], [False, False, True]) == "no class lost so far, predicted: class 2"
    assert said([1.0, 0.9, 0.8], [False] * 3) == "no class lost"


def test_a_network_without_any_class_has_arrived_where_its_loss_is_that_of_zero() -> None:
    """Before training all margins are near zero, too."""
    nothing = {**ROW, "class.margin": [0.0, 0.0, 0.0], "class.train_accuracy": [1.0, 0.0, 0.0]}
    zero = theory([30, 20, 10], [True] * 3)
    assert "lost as predicted" in describe(nothing, zero)
    assert "without a margin so far" in describe({**nothing, "loss": 0.2}, zero)


def test_many_lost_classes_are_counted() -> None:
    many = theory([10] * 20, [False] * 10 + [True] * 10)
    row = {**ROW, "stationarity": 1e-9, "class.margin": [1.0] * 10 + [0.0] * 10}
    assert describe(row, many).endswith("; 10 of 20 classes lost as predicted (minority collapse)")


def test_summary_without_a_prediction() -> None:
    row = {**ROW, "nc3": None, "gap": None}
    line = describe(row, theory([20] * 3, [None] * 3, note="nothing is proven here"))
    assert line.startswith("nothing is proven here; 0.5 from a simplex ETF; loss 0.1; ")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (
            {"nc1": 161.7, "nc1_rank": 9, "nc1_effective": 4.2e-5, "nc1_effective_rank": 5},
            "; effective NC1 4.2e-05 in 5 directions (NC1 1.6e+02 in 9)",
        ),
        ({"nc1": 1e-3, "nc1_rank": 9, "nc1_effective": 1e-3, "nc1_effective_rank": 9}, ""),
        (
            {"nc1": 2.5e-4, "nc1_rank": 9, "nc1_effective": None, "nc1_effective_rank": 9},
            "; NC1 of 0.00025 is that of a dead network, whose class means move no logit",
        ),
        ({"nc1": None, "nc1_rank": 0, "nc1_effective": None, "nc1_effective_rank": 0}, ""),
        ({"nc1": 161.7, "nc1_rank": 9}, ""),  # an older record
    ],
)
def test_summary_names_nc1_where_it_misleads(columns: dict[str, Any], words: str) -> None:
    plain = {key: value for key, value in ROW.items() if not key.startswith("nc1")}
    line = describe({**plain, **columns}, theory([20] * 3, [False] * 3))
    assert line == describe(plain, theory([20] * 3, [False] * 3)) + words
