"""A user's own data in whole commands: keys, identities, what the records say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Command, Refused, RunOf, contents, rows
from own_files import NAMES, arrays, folder, with_test, write_images, write_npz
from PIL import Image

from ncrun.data.sources.own import opened

TINY = ("model.depth=1", "model.width=8", "epochs=1", "threads=1")


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("dataset=npz", ["dataset=npz:", "dataset.path=FILE.npz"]),
        ("dataset=image_folder", ["dataset=image_folder:", "dataset.path=DIR"]),
        ("dataset=npz dataset.path=", ["dataset=npz:", "dataset.path=FILE.npz"]),
        ("dataset=npz dataset.path=none.npz", ["dataset.path=", "none.npz: no such file"]),
        ("dataset=npz dataset.path=.", ["dataset.path=", "is a folder"]),
        ("dataset=image_folder dataset.path=none", ["dataset.path=", "none: no such folder"]),
        ("dataset=image_folder dataset.path=none dataset.size=null", ["dataset.size=null:", "give one"]),
        ("dataset=image_folder dataset.path=none dataset.channels=2", ["dataset.channels=2:", "1 (grey) or 3 (RGB)"]),
        ("dataset=image_folder dataset.path=none dataset.channels=null", ["dataset.channels=None:", "1 (grey)"]),
        ("dataset.path=x", ["dataset.path:", "the chosen dataset has no such key"]),
        ("dataset=npy", ["dataset=npy:", "image_folder", "did you mean 'npz'?"]),
        ("model=ufm counts=[2,2] dataset=npz dataset.path=x", ["dataset.path=", "x: no such file"]),
        ("model=ufm counts=[2,2] dataset=digits", ["dataset: has no effect", "no data set"]),
    ],
)
def test_bad_keys(typed: str, parts: list[str], refused: Refused) -> None:
    line = refused("theory", *typed.split())
    assert line.startswith(parts[0])
    for part in parts:
        assert part in line


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["npz", "image_folder"])
def test_train_on_own_data(kind: str, tmp_path: Path, ncrun: Command) -> None:
    """A measured epoch, what the manifest says of the data, and no second training of the same."""
    if kind == "npz":
        typed, title, names = write_npz(tmp_path, with_test(), "toys.npz"), "npz toys.npz", None
    else:
        write_images(tmp_path / "toys", (10, 7, 6))
        typed, title, names = folder(tmp_path / "toys"), "image_folder toys", list(NAMES)
    result = ncrun("train", *typed, *TINY)
    assert result.status == 0, result.err
    (directory,) = Path("runs").iterdir()
    assert directory.name.startswith(f"{kind}-mlp-M1-")
    manifest = json.loads((directory / "manifest.json").read_text())
    assert (manifest["dataset"], manifest["class_names"], manifest["state"]) == (title, names, "done")
    assert manifest["class_counts"] == ([10, 7, 5] if kind == "npz" else [8, 6, 5])
    assert len(manifest["data_hash"]) == 64
    last = rows(directory)[-1]
    assert last["epoch"] == 1
    assert 0 <= last["test_accuracy"] <= 1
    assert 0 <= last["nc3"] < 2
    assert len(last["class.test_accuracy"]) == 3
    assert "finished already" in ncrun("train", *typed, *TINY).out


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["npz", "image_folder"])
def test_changed_data_is_another_run(kind: str, tmp_path: Path, ncrun: Command, refused: Refused) -> None:
    content = with_test()
    if kind == "npz":
        typed = write_npz(tmp_path, content)
    else:
        write_images(tmp_path / "own")
        typed = folder(tmp_path / "own")
    assert ncrun("train", *typed, *TINY, "run_dir=here").status == 0
    same = ncrun("verify", "--data", "here")
    assert (same.status, same.out.endswith(": unchanged since it was trained\n")) == (0, True)
    if kind == "npz":
        content["train_images"][0, 0, 0, 0] ^= 1
        write_npz(tmp_path, content)
    else:
        file = tmp_path / "own" / "bear" / "1.png"
        Image.fromarray(np.asarray(Image.open(file)) ^ 1).save(file)
    opened.cache_clear()  # as a new process would
    assert "holds another run" in refused("train", *typed, *TINY, "run_dir=here")
    changed = ncrun("verify", "--data", "here")
    assert (changed.status, changed.out.endswith(": changed since it was trained\n")) == (1, True)
    Path(typed[1].removeprefix("dataset.path=")).rename(tmp_path / "elsewhere")
    gone = ncrun("verify", "--data", "here")
    assert (gone.status, "no such f" in gone.out.lower(), gone.out.count("\n"), gone.err) == (1, True, 1, "")
    assert ncrun("verify", "here").status == 0


@pytest.mark.parametrize("kind", ["npz", "image_folder"])
def test_identity_is_the_content_and_not_its_place(kind: str, tmp_path: Path, run_of: RunOf) -> None:
    if kind == "npz":
        first = run_of(*write_npz(tmp_path, with_test()))
        moved = run_of(*write_npz(tmp_path, with_test(), "other.npz"))
        changed = run_of(*write_npz(tmp_path, with_test(test_labels=np.array([0, 1, 2, 1, 1, 0])), "changed.npz"))
    else:
        for name in ("first", "moved", "changed"):
            write_images(tmp_path / name / "train")
            write_images(tmp_path / name / "test")
        os.utime(tmp_path / "moved" / "train" / "bear" / "1.png", (0, 0))
        bear, crab = (tmp_path / "changed" / "test" / name / "0.png" for name in ("bear", "crab"))
        (tmp_path / "swap").write_bytes(bear.read_bytes())
        bear.write_bytes(crab.read_bytes())
        crab.write_bytes((tmp_path / "swap").read_bytes())
        first, moved, changed = (run_of(*folder(tmp_path / name)) for name in ("first", "moved", "changed"))
    assert first.identity == moved.identity != changed.identity
    assert first.identity != run_of(*write_npz(tmp_path, arrays((5, 4, 3)), "without.npz")).identity


def test_theory_of_own_data_needs_no_torch(tmp_path: Path) -> None:
    """From labels and names alone: images that are damaged do not matter yet. The counts are those of the files."""
    write_images(tmp_path / "own")
    (tmp_path / "own" / "bear" / "1.png").write_bytes(b"")
    code = (
        "import sys\nfor name in ('torch', 'torchvision'): sys.modules[name] = None\n"
        "from ncrun.cli import run\nsys.exit(run(sys.argv[1:]))"
    )
    for typed, counts in ((write_npz(tmp_path, with_test()), [10, 7, 5]), (folder(tmp_path / "own"), [6, 5, 4])):
        command = [sys.executable, "-c", code, "theory", *typed, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert [k["count"] for k in json.loads(done.stdout)["classes"]] == counts


def test_own_data_in_an_experiment(run_of: RunOf, workdir: Path, tmp_path: Path) -> None:
    """A typed data set wins over the one that an experiment's scale names."""
    typed = write_npz(tmp_path, arrays((6, 6), sizes=(60, 50, 60)))
    run = run_of(*typed, "experiment=dang2023/mlp-balanced", "scale=paper")
    assert (run.data.source.name, list(run.data.counts)) == ("npz", [48, 40, 48])
    assert contents(workdir / "runs") == {}
