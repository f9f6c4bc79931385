"""A user's own file: what it adds is trained, measured, drawn and identified by the file's content, and is never
imported because a record names it. The file is the example of the documentation."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Command, Refused, rows
from omegaconf import OmegaConf

import ncrun as package
from ncrun.config.extensions import extended
from ncrun.config.planning import job_of
from ncrun.registry import Registry

EXAMPLES = Path(__file__).parents[2] / "examples"
EXTEND = f"extend=[{EXAMPLES / 'my_lab.py'}]"
SHORT = ("epochs=2", "batch_size=full", "threads=1")


def manifest(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("loss=smoothed model.depth=1 model.width=8", {"loss": "label-smoothed cross-entropy"}),
        ("model=small_cnn model.width=4", {"model": "small CNN"}),
        ("dataset=blobs model.depth=1 model.width=8", {"dataset": "noisy blobs"}),
    ],
)
def test_each_addition_trains(typed: str, words: dict[str, str], ncrun: Command, undrawn: None, workdir: Path) -> None:
    """With what is built in for the rest; the record holds its words, its metric and the file's hash."""
    result = ncrun("train", EXTEND, *typed.split(), *SHORT, "run_dir=run")
    assert result.status == 0, result
    held = manifest(workdir / "run")
    assert words.items() <= held["words"].items()  # type: ignore[attr-defined]
    assert len(held["extend"][0]) == 64  # type: ignore[index]
    ranks = [row["effective_rank"] for row in rows(workdir / "run")]
    assert len(ranks) == 3
    classes = 4 if "blobs" in typed else 10
    assert all(0 < rank <= classes + 1e-9 for rank in ranks)  # exp of an entropy of K shares is at most K


def test_a_loss_without_a_theorem_is_predicted_by_none(ncrun: Command) -> None:
    for model in ("model=mlp", "model=ufm counts=[5,3]", "model=dufm counts=[5,5]", "model=ufm_relu counts=[5,3]"):
        found = json.loads(ncrun("theory", EXTEND, *model.split(), "loss=smoothed", "--json").out)
        assert (found["claim"], found["objective"]) == ("none", None)
        assert found["note"].startswith("no theorem covers: label-smoothed cross-entropy")


def test_a_loss_without_a_written_out_gradient_trains_free_features(ncrun: Command, undrawn: None) -> None:
    """By autograd, to where no descent is left: the gradient's norm says so."""
    typed = "model=ufm counts=[5,3] model.width=4 loss=smoothed decay.weight=1e-2 decay.feature=1e-2 run_dir=run"
    assert ncrun("train", EXTEND, *typed.split()).status == 0
    last = rows(Path("run"))[-1]
    assert last["stationarity"] < 1e-8 * last["loss"]  # what is still to gain nearby


def test_the_experiment_beside_it_is_drawn(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name; from the records alone it is not, unless the user says the file again."""
    monkeypatch.setenv("NCRUN_EXTEND", str(EXAMPLES / "my_lab.py"))
    assert ncrun("train", "-m", "experiment=my-lab", "epochs=2", "threads=1").status == 0
    assert len(list((workdir / "runs").iterdir())) == 2
    drawn = ncrun("figures", "my-lab", "--from", "runs")
    assert drawn.status == 0, drawn
    assert (workdir / "figures" / "my-lab-paper.png").is_file()


def test_records_are_read_without_the_file(ncrun: Command, undrawn: None, workdir: Path) -> None:
    """Tabulated and drawn by what they hold; the file is not imported, even if it is there."""
    typed = "dataset=blobs model=small_cnn loss=smoothed run_dir=runs/mine"
    assert ncrun("train", EXTEND, *typed.split(), *SHORT).status == 0
    package.extending.forget_added()
    result = ncrun("table", "runs", "--columns", "loss,effective_rank")
    assert result.status == 0, result
    assert "effective_rank" in result.out
    assert ncrun("plot", "runs", "y=effective_rank,nc1", "out=mine.png").status == 0
    assert "smoothed" not in package.losses.LOSSES


def test_identity_follows_the_content_of_the_file(workdir: Path) -> None:
    """Not its place: moved, the runs are the same."""
    shutil.copy(EXAMPLES / "my_lab.py", workdir / "lab.py")

    def identity(path: str) -> str:
        typed = extended([f"extend=[{path}]", "model=ufm", "counts=[5,3]"])
        found = job_of(typed).identity
        package.extending.forget_added()
        package.config.extensions.forget()
        return found

    first = identity("lab.py")
    (workdir / "moved").mkdir()
    (workdir / "lab.py").rename(workdir / "moved" / "lab.py")
    assert identity("moved/lab.py") == first
    (workdir / "moved" / "lab.py").write_text((workdir / "moved" / "lab.py").read_text() + "\n# changed\n")
    assert identity("moved/lab.py") != first
    assert job_of(["model=ufm", "counts=[5,3]"]).identity != first


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "extend=[mine.py]: no such Python file"),
        ("def", "extend=mine.py: cannot be read as Python (invalid syntax, line 1)"),
        ("import ncrun\nncrun.register(3)", "register: 3 is none of Loss, ModelSpec, Source, Metric, Theorem, Drawing"),
        (
            "import ncrun, ncrun.losses\nncrun.register(ncrun.losses.LOSSES['mse'])",
            "loss=mse: exists already; give yours another key",
        ),
    ],
)
def test_files_that_are_refused(content: str | None, said: str, refused: Refused, workdir: Path) -> None:
    if content is not None:
        (workdir / "mine.py").write_text(content)
    line = refused("train", "extend=[mine.py]")
    assert line.startswith(said.replace("[mine.py]", "mine.py"))


@pytest.mark.parametrize("typed", ["extend=mine.py", "extend=null", "extend=a.py,b.py"])
def test_value_that_is_no_list(typed: str, refused: Refused) -> None:
    assert refused("train", typed).startswith(f"{typed}: must be a list of Python files")


def test_a_file_that_ends_in_an_error_shows_where(refused: Refused, workdir: Path) -> None:
    (workdir / "mine.py").write_text("1 / 0\n")
    line = refused("train", "extend=[mine.py]")
    assert line == "extend=mine.py: raised ZeroDivisionError: division by zero (mine.py, line 1)"


def test_registries_are_what_the_choices_are_made_of(ncrun: Command) -> None:
    assert "small_cnn" in ncrun("train", EXTEND, "--help").out
    config = OmegaConf.create(ncrun("train", EXTEND, "model=small_cnn", "--cfg", "job").out)
    assert config.model == {"name": "small_cnn", "width": 16}


def test_a_registry_refuses_a_taken_key() -> None:
    class Entry:
        key = "one"

    registry: Registry[Entry] = Registry("thing", (Entry(),))
    with pytest.raises(package.UserError, match="thing=one: exists already"):
        registry.add(Entry())
    with pytest.raises(package.UserError, match="thing=two: not one of one"):
        registry["two"]
