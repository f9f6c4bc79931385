"""Checksums of finished runs: made when they end, checked by `ncrun verify`, and by what reads them."""

import hashlib
import json
import random
import shutil
import zipfile
from pathlib import Path

import pytest
from conftest import Command, Refused, contents, run_command, write_run

from ncrun.records import RunDirectory
from ncrun.records.read import load_record
from ncrun.records.seal import FILES

pytestmark = pytest.mark.usefixtures("undrawn")
FREE = ("model=ufm", "counts=[4,2]", "model.width=4", "epochs=30")
RIGHT = "unchanged since it finished"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.ending.draw", lambda records: True)
        assert run_command("train", *FREE, f"run_dir={folder / 'run'}").status == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, workdir: Path) -> Path:
    shutil.copytree(trained, workdir / "run")
    return workdir / "run"


def test_finished_run_is_sealed(run: Path, ncrun: Command) -> None:
    sealed = json.loads((run / "manifest.json").read_text())["seal"]["files"]
    assert set(sealed) == set(FILES)
    result = ncrun("verify", "run")
    assert (result.status, result.out, result.err) == (0, f"run: {RIGHT}\n", "")
    assert load_record(run).broken == ()
    (run / "checkpoint.pt").unlink()
    (run / "curves.png").write_text("a picture of mine")
    result = ncrun("verify", "run")
    assert (result.status, result.out) == (0, f"run: {RIGHT}, without checkpoint.pt\n")


def changed_digit(content: bytes, draw: random.Random) -> bytes:
    """A digit of a number changed into another one, where the file stays well-formed."""
    digits = [n for n in range(1, len(content)) if content[n : n + 1].isdigit() and content[n - 1 : n] in b".123456789"]
    place = draw.choice(digits)
    other = draw.choice([digit for digit in b"123456789" if digit != content[place]])
    return content[:place] + bytes([other]) + content[place + 1 :]


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_one_changed_digit_of_any_file_is_noticed(name: str, run: Path, ncrun: Command) -> None:
    whole, draw = (run / name).read_bytes(), random.Random(name)
    for _ in range(4):
        (run / name).write_bytes(changed_digit(whole, draw))
        result = ncrun("verify", "run")
        assert (result.status, result.err) == (1, "")
        assert result.out == f"run: {name}: changed since the run finished\n"
    (run / name).write_bytes(whole)
    assert ncrun("verify", "run").status == 0


@pytest.mark.parametrize("name", ["problem.json", "geometry.json", "metrics.jsonl"])
def test_missing_file_is_noticed(name: str, run: Path, ncrun: Command) -> None:
    (run / name).unlink()
    assert ncrun("verify", "run").out == f"run: {name}: changed since the run finished\n"


def test_digest_that_was_changed_does_not_vouch(run: Path, ncrun: Command) -> None:
    text = (run / "manifest.json").read_text()
    digest = json.loads(text)["seal"]["files"]["metrics.jsonl"]
    (run / "manifest.json").write_text(text.replace(digest, digest[::-1]))
    assert "run: manifest.json: changed" in ncrun("verify", "run").out


def test_readers_warn_in_one_line(run: Path, ncrun: Command, workdir: Path) -> None:
    shutil.copytree(run, workdir / "other")
    for folder in (run, workdir / "other"):
        metrics = folder / "metrics.jsonl"
        *first, last = metrics.read_text().splitlines()
        row = json.loads(last)
        metrics.write_text("\n".join([*first, json.dumps(row | {"loss": row["loss"] * 1.001})]) + "\n")
    warning = "ncrun: run: metrics.jsonl changed since the run was finished; `ncrun verify` lists all\n"
    both = warning.replace(";", ", and files of 1 other runs, too;")
    assert ncrun("table", "run").err == warning
    assert ncrun("plot", "run", "y=loss").err == warning
    assert ncrun("table", "run", "other").err == both
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text() + "{")
    assert ncrun("verify", "run", "other").status == 1


def test_figures_from_changed_records_warn(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for drawn in ("_draw", "_write_tables"):
        monkeypatch.setattr(f"ncrun.commands.figures.{drawn}", lambda *_: None)
    typed = ["experiment=dang2023/direct-imbalanced", "scale=cpu", "epochs=20", "head.depth=1"]
    assert ncrun("train", *typed, "run_dir=runs/one").status == 0
    theory = workdir / "runs" / "one" / "theory.json"
    theory.write_text(theory.read_text().replace('"objective": 0.', '"objective": 1.'))
    result = ncrun("figures", "dang2023/direct-imbalanced", "--from", "runs", "--scale", "cpu")
    assert "runs/one: theory.json changed since the run was finished; `ncrun verify`" in result.err


def test_older_and_unfinished_runs_have_no_seal(ncrun: Command, workdir: Path) -> None:
    write_run(workdir / "runs" / "a", [{"epoch": 0}, {"epoch": 1}])
    write_run(workdir / "runs" / "b", [{"epoch": 0}], state="interrupted")
    result = ncrun("verify", "runs")
    assert result.status == 0
    older, unfinished = result.out.splitlines()
    assert older == "runs/a: no seal: finished by an older version"
    assert unfinished == "runs/b: no seal: not finished"
    assert load_record(workdir / "runs" / "a").broken is None
    assert ncrun("table", "runs/a").err == ""


def test_run_in_an_archive(run: Path, ncrun: Command, workdir: Path) -> None:
    for name, change in (("whole", False), ("changed", True)):
        with zipfile.ZipFile(workdir / f"{name}.zip", "w") as archive:
            for file in (*FILES[:-1], "manifest.json"):
                content = (run / file).read_bytes()
                archive.writestr(f"one/{file}", content.replace(b"1", b"2") if change and file == FILES[4] else content)
    result = ncrun("verify", "whole.zip", "changed.zip")
    assert result.status == 1
    assert result.out.splitlines() == [
        f"whole.zip/one: {RIGHT}, without checkpoint.pt",
        "changed.zip/one: metrics.jsonl: changed since the run finished",
    ]


@pytest.mark.parametrize("seal", [None, [], {}, {"files": 1, "sha256": 2}, {"files": {"metrics.jsonl": []}}])
def test_seal_of_another_kind(seal: object, run: Path, ncrun: Command) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"seal": seal}))
    result = ncrun("verify", "run")
    assert (result.status, result.out) == (1, "run: manifest.json: changed since the run finished\n")


@pytest.mark.parametrize("depth", [300, 900, 940, 960, 980, 5000])
def test_manifest_of_brackets(depth: int, run: Path, ncrun: Command) -> None:
    """So many that it can just be read, and not be written again."""
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(text.replace("{", '{"more": ' + "[" * depth + "]" * depth + ",", 1))
    assert ncrun("verify", "run").out in (
        "run: manifest.json: changed since the run finished\n",
        "run: manifest.json: is not JSON\n",
    )


def test_damaged_manifest_and_no_run_at_all(run: Path, ncrun: Command, refused: Refused, workdir: Path) -> None:
    (run / "manifest.json").write_text("{")
    result = ncrun("verify", "run")
    assert (result.status, result.out) == (1, "run: manifest.json: is not JSON\n")
    (workdir / "empty").mkdir()
    assert refused("verify", "empty") == "empty: holds no run"
    assert refused("verify", "nowhere") == "nowhere: no such folder or .zip archive"


def test_seal_is_of_what_was_written_and_not_of_what_lies_there(tmp_path: Path) -> None:
    """A digit that the disk changes while the run is trained is not vouched for."""
    record = RunDirectory(tmp_path / "run", "0123456789")
    assert record.hold()
    record.cut_metrics(0)
    record.append({"epoch": 1, "loss": 0.25})
    record.write_json("geometry.json", {"logits": 0.25})
    for name in ("metrics.jsonl", "geometry.json"):
        file = tmp_path / "run" / name
        file.write_bytes(file.read_bytes().replace(b"25", b"35"))
    record.close(state="done")
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    for name in ("metrics.jsonl", "geometry.json"):
        there = hashlib.sha256((tmp_path / "run" / name).read_bytes()).hexdigest()
        assert manifest["seal"]["files"][name] != there


def test_a_run_that_is_continued_is_sealed_at_its_end_only(ncrun: Command, workdir: Path) -> None:
    before = contents(workdir)
    assert ncrun("train", *FREE, "optimizer=sgd", "epochs=3", "run_dir=run").status == 0
    assert before != contents(workdir)
    manifest = json.loads((workdir / "run" / "manifest.json").read_text())
    (workdir / "run" / "manifest.json").write_text(json.dumps(manifest | {"state": "interrupted"}))
    assert ncrun("train", *FREE, "optimizer=sgd", "epochs=3", "run_dir=run").status == 0
    assert ncrun("verify", "run").out == f"run: {RIGHT}\n"
