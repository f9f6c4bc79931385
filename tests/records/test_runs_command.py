"""`ncrun runs`: what is seen of runs from outside, and what is removed of them."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, contents, write_run
from shared_folder import another_host, fall_silent

from ncrun.records import glance
from ncrun.records.listing import duration, size
from ncrun.records.lock import Lock

ROWS = [{"epoch": 0}, {"epoch": 2, "loss": 0.25, "gap": 0.5, "nc1": 0.125, "nc2_w": 0.3, "nc2_h": 0.4, "nc3": 0.1}]


def listed(ncrun: Command, *typed: str) -> dict[str, dict[str, Any]]:
    """What --json says, by run."""
    result = ncrun("runs", *typed, "--json")
    assert (result.status, result.err) == (0, "")
    return {each["run"]: each for each in json.loads(result.out)}


def said_of(directory: Path, **entries: Any) -> Path:
    manifest = json.loads((directory / "manifest.json").read_text())
    (directory / "manifest.json").write_text(json.dumps(manifest | {"identity": "0123456789"} | entries))
    return directory


@pytest.fixture
def five(workdir: Path) -> Path:
    """A run in each state that a record may be in, and below them one in an archive."""
    root = workdir / "runs"
    words = {"summary": "0.4 from it; no class lost"}
    said_of(write_run(root / "a-done", ROWS, head__depth=3), host="node1", slurm={"job": "17_3"}, **words)
    said_of(write_run(root / "b-killed", ROWS, state="running", seed=1))
    said_of(write_run(root / "c-failed", ROWS[:1], state="failed", seed=2), reason="diverged: the loss is nan")
    said_of(write_run(root / "d-stopped", ROWS, state="interrupted", seed=3, decay__weight=[1e-3]))
    said_of(write_run(root / "e-unborn", [], state="running"))
    (root / "e-unborn" / "theory.json").unlink()
    return root


def test_states_of_the_dead_and_the_living(five: Path, ncrun: Command) -> None:
    found = listed(ncrun)
    names = ["a-done", "b-killed", "c-failed", "d-stopped", "e-unborn"]
    assert list(found) == [f"runs/{name}" for name in names]
    assert [each["state"] for each in found.values()] == ["done", "interrupted", "failed", "interrupted", "not begun"]
    assert [each["summary"] for each in found.values()][1:3] == [
        "was killed; the same command continues it",
        "diverged: the loss is nan",
    ]
    done = found["runs/a-done"]
    assert (done["host"], done["slurm"], done["verdict"], done["claim"]) == ("node1", "17_3", "no class lost", "none")
    assert (done["epoch"], done["loss"], done["gap"], done["nc1"], done["distance"]) == (2, 0.25, 0.5, 0.125, 0.4)
    assert done["config"]["head.depth"] == 3
    for name in names[1:]:  # whatever the manifest still says
        lock = Lock(five / name)
        lock.take()
        alive = listed(ncrun)[f"runs/{name}"]
        assert (alive["state"], alive["pid"]) == ("running", os.getpid())
        lock.release()
    assert listed(ncrun) == found


def test_a_heartbeat_on_another_host(five: Path, ncrun: Command) -> None:
    lock = Lock(five / "b-killed")
    with another_host("node9"):
        lock.take()
    before = contents(five)
    alive = listed(ncrun)["runs/b-killed"]
    assert (alive["state"], alive["host"]) == ("running", "node9")
    os.utime(next(five.glob("b-killed/.lock.*/holder")), (time.time() - 30,) * 2)
    assert "node9" in ncrun("runs", "--state", "running").out
    assert contents(five) == before  # only looked at
    with another_host("node9"):
        lock.release()
    write_run(five / "silent", [], state="running")
    with another_host("node8"):
        lock = Lock(five / "silent")
        lock.take()
        lock._ended.set()  # as when its machine has lost its power: neither beats nor kernel
        os.close(lock._file)
    fall_silent(five / "silent")
    assert listed(ncrun)["runs/silent"]["state"] == "interrupted"


def test_progress_and_time_left(workdir: Path, ncrun: Command) -> None:
    """A fifth is done in 10 s, and the row is 4 s old: 36 s are left, but for what the test takes."""
    run = write_run(workdir / "runs" / "a", [{"epoch": 20, "seconds": 10.0}], state="running", epochs=100)
    os.utime(run / "metrics.jsonl", (time.time() - 4,) * 2)
    lock = Lock(run)
    lock.take()
    asked = time.time()
    found = listed(ncrun)["runs/a"]
    assert (found["epoch"], found["epochs"], found["seconds"]) == (20, 100, 10.0)
    assert 36 - (time.time() - asked) - 0.1 <= found["seconds_left"] <= 36.1
    assert " 20/100  " in ncrun("runs").out
    lock.release()
    assert listed(ncrun)["runs/a"]["seconds_left"] is None


def test_a_run_that_ends_while_it_is_looked_at_was_not_killed(
    five: Path, ncrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest is read, then it ends, then its lock is looked for."""
    asked = glance.holder_of

    def ending(folder: Path) -> dict[str, Any] | None:
        if folder.name == "b-killed":
            said_of(folder, state="done", summary="0.1 from it; no class lost")
        return asked(folder)

    monkeypatch.setattr(glance, "holder_of", ending)
    found = listed(ncrun)["runs/b-killed"]
    assert (found["state"], found["verdict"]) == ("done", "no class lost")


def test_only_whole_last_lines_of_any_length_are_read(workdir: Path, ncrun: Command) -> None:
    long = {f"class.{n}": [0.5, 0.25] for n in range(3000)}  # 90 kB
    run = write_run(workdir / "runs" / "a", [{"epoch": 0, **long}, {"epoch": 1, "loss": 0.125, **long}])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "lo')
    assert listed(ncrun)["runs/a"]["loss"] == 0.125
    (run / "metrics.jsonl").write_text('{"epoch": 2, "lo')
    assert listed(ncrun)["runs/a"]["loss"] is None


def test_which_runs_in_which_order(five: Path, ncrun: Command) -> None:
    def names(*typed: str) -> list[str]:
        return [run.removeprefix("runs/")[0] for run in listed(ncrun, *typed)]

    assert names("--state", "failed,not begun", "--state", "done") == ["a", "c", "e"]
    assert names("--where", "head.depth=3") == ["a"]
    assert names("--where", "model=mlp", "--where", "decay.weight=5e-4") == ["a", "b", "c"]
    assert names("--where", "decay.weight=[1e-3]") == ["d"]
    assert names("--where", "seed=7") == []
    assert names("--sort", "seed", "--reverse") == ["d", "c", "b", "a", "e"]  # the last has none
    assert names("--sort", "loss") == ["a", "b", "d", "c", "e"]
    assert names("--sort", "state") == ["b", "d", "c", "e", "a"]
    assert names("runs/d-stopped", "runs", "runs/a-done") == ["d", "a", "b", "c", "e"]
    shutil.make_archive("packed", "zip", five)
    assert list(listed(ncrun, "packed.zip", "--where", "head.depth=3")) == ["packed.zip/a-done"]


def test_text_and_csv(five: Path, ncrun: Command) -> None:
    result = ncrun("runs")
    header, *lines = result.out.splitlines()
    assert header.split() == [
        *("run", "state", "where", "head.depth", "decay.weight", "seed"),
        *("epoch", "loss", "gap", "distance", "nc1", "verdict"),
    ]
    assert lines[0].split()[:6] == ["runs/a-done", "done", "node1", "slurm", "17_3", "3"]
    assert lines[2].endswith("diverged: the loss is nan")
    assert lines[-1] == "5 runs: 2 interrupted, 1 failed, 1 not begun, 1 done"
    rows = list(csv.DictReader(io.StringIO(ncrun("runs", "--csv").out)))
    assert [row["seed"] for row in rows] == ["0", "1", "2", "3", ""]
    assert (rows[0]["head.depth"], float(rows[0]["gap"]), rows[3]["decay.weight"]) == ("3", 0.5, "[0.001]")


def test_what_is_damaged_is_a_row_that_says_so(five: Path, ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = listed(ncrun)
    damage = {
        "manifest": ("manifest.json", "{"),
        "metrics": ("metrics.jsonl", "{}\n"),
        "config": ("config.yaml", "seed: [\n"),
        "alias": ("config.yaml", "seed: &a 1\nhead: *a\n"),
        "theory": ("theory.json", "[]"),
        "state": ("manifest.json", '{"state": "lost", "identity": "0"}'),
    }
    for name, (file, text) in damage.items():
        run = write_run(five / f"x-{name}", ROWS)
        (run / file).write_text(text)
    (five / "x.zip").write_bytes(b"no archive")
    (five / "loop").symlink_to(five)
    (five / "theirs").mkdir()
    (five / "theirs" / "manifest.json").write_text('{"name": "of another program"}')
    (five / "x-locked" / "inside").mkdir(parents=True)
    scandir = os.scandir

    def refusing(path: Any = ".") -> Any:
        if str(path).endswith("x-locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = listed(ncrun)
    assert {run: each for run, each in found.items() if "x" not in run} == whole
    damaged = {run.removeprefix("runs/"): each["summary"] for run, each in found.items() if "x" in run}
    assert {each["state"] for run, each in found.items() if "x" in run} == {"damaged"}
    assert damaged.pop("x.zip").startswith("is damaged, or not a .zip archive")
    assert damaged == {
        "x-alias": "config.yaml: is damaged",
        "x-config": "config.yaml: is damaged",
        "x-locked": "cannot be read (Permission denied)",
        "x-manifest": "manifest.json: is not JSON",
        "x-metrics": "metrics.jsonl, last line: is not what a run writes: it has no epoch",
        "x-state": "manifest.json: is not what a run writes: state is missing, or has another type",
        "x-theory": "theory.json: is not what a run writes",
    }


def test_names_that_would_steer_a_terminal(workdir: Path, ncrun: Command) -> None:
    write_run(workdir / "runs" / "\x1b[31mred\n[bold]b[/bold]", ROWS, name="\u202ereversed")
    write_run(Path(os.fsdecode(os.fsencode(workdir / "runs") + b"/\xff")), ROWS, name="=1+1")
    for typed in ([], ["--csv"]):
        result = ncrun("runs", *typed)
        assert r"\x1b[31mred\n[bold]b[/bold]" in result.out
        assert r"\udcff" in result.out
        assert result.out.replace("\n", "").isprintable()
    assert any(run.startswith("runs/\x1b") for run in listed(ncrun))


def test_empty_folders_and_refusals(five: Path, ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*typed: str) -> str:
        result = ncrun(*typed)
        assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
        return result.err.removeprefix("ncrun: ").strip()

    (five.parent / "empty").mkdir()
    assert ncrun("runs", "empty").out == "no runs\n"
    assert ncrun("runs", "empty", "--json", "--sort", "gap", "--where", "head.depth=3").out == "[]\n"
    assert refused("runs", "nowhere") == "nowhere: no such folder or .zip archive"
    assert refused("runs", "--state", "dead").endswith(
        "not one of running, interrupted, failed, damaged, not begun, done"
    )
    assert refused("runs", "--where", "hed.depth=3").endswith("; did you mean 'head.depth'?")
    assert refused("runs", "--where", "seed") == "--where=seed: must be KEY=VALUE, such as head.depth=3"
    assert refused("runs", "--sort", "gaps").endswith("no such column; did you mean 'gap'?")
    assert refused("runs", "--watch") == "--watch: needs a terminal, and the output is none"
    assert refused("runs", "--json", "--csv") == "--csv: cannot be combined with --json; choose one"
    assert refused("runs", "--rm", "--yes").startswith("--rm: choose runs by --state failed")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert refused("runs", "--rm", "--state", "failed").endswith("--yes removes without asking")
    assert refused("runs", "--diff", "runs/a-done", "runs") == (
        "runs: holds 5 runs; name one of them: runs/a-done, runs/b-killed, runs/c-failed, ..."
    )


def test_two_runs_side_by_side(five: Path, ncrun: Command) -> None:
    said_of(five / "b-killed", threads=2)
    found = json.loads(ncrun("runs", "--diff", "runs/a-done", "runs/b-killed", "--json").out)
    assert found["configuration"].keys() == {"head.depth", "seed", "run_dir"}
    assert found["configuration"]["head.depth"] == [3, 1]
    assert found["surroundings"] == {"threads": [None, 2], "host": ["node1", None]}
    assert found["numbers"]["gap"] == [0.5, 0.5]
    text = ncrun("runs", "--diff", "runs/a-done", "runs/c-failed").out
    assert ["head.depth", "3", "1"] in [line.split() for line in text.splitlines()]
    assert ["gap", "0.5", "-"] in [line.split() for line in text.splitlines()]


def test_times_and_sizes_in_words() -> None:
    assert [duration(seconds) for seconds in (0, 0.2, 59.2, 61, 3600, 90000)] == [
        "0 s",
        "1 s",
        "60 s",
        "2 min",
        "1.0 h",
        "1.0 d",
    ]
    assert [size(number) for number in (0, 999, 440_000, 1.26e6, 2.5e10)] == [
        "0 kB",
        "1 kB",
        "440 kB",
        "1.3 MB",
        "25 GB",
    ]


class Terminal(io.StringIO):
    """Somebody who can be asked."""

    def isatty(self) -> bool:
        return True


def test_removing_asks_first(five: Path, ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(five)
    room = size(sum(file.stat().st_size for file in (five / "c-failed").iterdir()))
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        result = ncrun("runs", "--rm", "--state", "failed")
        assert result.out.endswith(f"remove this run ({room})? [y/N] nothing is removed\n")
    assert contents(five) == before
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    result = ncrun("runs", "--rm", "--state", "failed")
    assert (result.status, result.out.splitlines()[-1]) == (
        0,
        f"remove this run ({room})? [y/N] runs/c-failed: removed",
    )
    assert {name for name in before if not name.startswith("c-failed")} == set(contents(five))


def test_only_dead_runs_and_nothing_else_is_removed(five: Path, ncrun: Command) -> None:
    outside = five.parent / "outside"
    shutil.copytree(five / "c-failed", outside)
    (five / "link").symlink_to(outside)
    (five / "b-killed" / "notes.txt").write_text("mine")
    (five / "b-killed" / "tensorboard").symlink_to(outside)
    (five / "a-done" / "tensorboard" / "inside").mkdir(parents=True)
    (five / "a-done" / "tensorboard" / "inside" / "events").touch()
    write_run(five / "stranger", ROWS)  # whose manifest has no identity
    lock = Lock(five / "d-stopped")
    lock.take()
    before = contents(five)
    result = ncrun("runs", "runs", "runs/link", "--rm", "--yes", "--state", "running,interrupted,done,failed")
    assert result.status == 1
    assert [line for line in result.out.splitlines() if line.endswith(": removed")] == [
        "runs/a-done: removed",
        "runs/c-failed: removed",
    ]
    assert result.err.splitlines() == [
        "ncrun: runs/b-killed: holds files of no run (notes.txt, tensorboard); it is not removed",
        f"ncrun: run_dir=runs/d-stopped: another process (process {os.getpid()} on {os.uname().nodename})"
        " is training this run",
        "ncrun: runs/stranger: its manifest.json is not a run's; only run directories are removed",
        "ncrun: runs/link: is not a folder; only run directories are removed",
    ]
    lock.release()
    left = {name: held for name, held in before.items() if not name.startswith(("a-", "c-", "d-stopped/.lock"))}
    assert contents(five) == left
    assert (outside / "manifest.json").is_file()


def test_neither_torch_nor_pandas_is_needed(five: Path) -> None:
    code = "import sys; from ncrun import cli; status = cli.run(['runs']); "
    code += "sys.exit(status or any(name in sys.modules for name in ('torch', 'pandas', 'hydra', 'matplotlib')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("1 done\n")
