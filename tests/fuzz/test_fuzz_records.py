"""Damaged files of a run directory, read back, tabulated and drawn."""

import contextlib
import io
import json
import zipfile
from pathlib import Path

import fuzzing
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import TINY, run_command
from fuzzing import FREE, ask_theory, changed_file, composed, damaged, examples, replaced, within_time
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ncrun.commands.figures import figures
from ncrun.commands.runs import runs
from ncrun.commands.table import table
from ncrun.errors import UserError
from ncrun.figures import saving
from ncrun.records import RunDirectory
from ncrun.records.directory import STATES
from ncrun.records.read import find_records, load_record

numbers, place, finished = fuzzing.numbers, fuzzing.place, fuzzing.finished
Data = st.DataObject


FILES = ["manifest.json", "problem.json", "theory.json", "geometry.json", "config.yaml", "metrics.jsonl"]


@examples(80)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_damaged_records(data: Data, name: str, finished: Path) -> None:
    """Read back, tabulated, asked for its state and for its head."""
    with within_time(f"records: {name}"), replaced(finished / name, changed_file(data, finished / name)):
        with contextlib.suppress(UserError):
            record = load_record(finished)
            assert record.manifest["state"] in STATES
            assert all(isinstance(epoch, int | np.integer) for epoch in record.metrics.get("epoch", []))
            _ = record.problem
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert runs([str(finished), "--json"]) == 0  # damaged or not, a row
        assert len(json.loads(out.getvalue())) == 1
        with contextlib.suppress(UserError), contextlib.redirect_stdout(io.StringIO()) as out:
            assert table([str(finished)]) == 0
            rows = out.getvalue().partition("\n\n")[0]  # what follows names the columns that do not fit
            assert len(rows.splitlines()) == 2
        with contextlib.suppress(UserError):
            assert RunDirectory(finished, composed(FREE).identity).state() in STATES
        if name in ("manifest.json", "config.yaml") and data.draw(st.booleans()):
            ask_theory(*TINY[:1], "classes=[0,1]", "model.width=4", "head.frozen=free")


@pytest.fixture(scope="module")
def of_an_experiment(place: Path) -> Path:
    """A finished run that `ncrun figures` draws every picture of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.ending.draw", lambda records: True)
        small = (
            "counts=[4,3,2,2,2,2,2,2,2,2]",
            "model.width=8",
            "epochs=3",
            "finish=null",
            "measure=every",
            "run_dir=drawn/run",
        )
        assert run_command("train", "experiment=dang2023/mlp-imbalanced", "scale=cpu", *small).status == 0
    return place / "drawn" / "run"


@examples(8)
@given(data=st.data(), name=st.sampled_from(FILES))
def test_figures_of_damaged_records(data: Data, name: str, of_an_experiment: Path, place: Path) -> None:
    def drawn_only(figure: Figure, path: Path, *page: object) -> list[Path]:
        figure.draw_without_rendering()
        plt.close(figure)
        return [path]

    changed = changed_file(data, of_an_experiment / name)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(io.StringIO()),
        within_time(f"figures: {name}", longest_s=90),
        replaced(of_an_experiment / name, changed),
        contextlib.suppress(UserError),
    ):
        patch.setattr(saving, "save", drawn_only)
        assert figures(["dang2023/mlp-imbalanced", "--from", "drawn", "--out", "pictures"]) == 0
    plt.close("all")


@pytest.fixture(scope="module")
def archive(finished: Path) -> Path:
    """The same run, packed with deflate."""
    path = finished.parent / "packed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in FILES:
            file.write(finished / name, f"free/{name}")
    return path


@examples(80)
@given(data=st.data())
def test_damaged_archives(data: Data, archive: Path, finished: Path) -> None:
    """What is not refused is the very run that was packed: zip files have a checksum of each member."""
    packed = load_record(finished)
    changed = data.draw(damaged(archive.read_bytes()))
    with within_time("archives"), replaced(archive, changed), contextlib.suppress(UserError):
        for record in find_records(archive):
            assert (record.config, record.theory) == (packed.config, packed.theory)
            assert record.metrics.equals(packed.metrics)
