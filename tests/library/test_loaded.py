"""`ncrun.load` and `ncrun.runs`: what was recorded, its network and its features; and what is no such thing."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from conftest import TINY, write_run
from matplotlib import pyplot as plt

import ncrun as package
from ncrun.errors import UserError
from ncrun.records.files import write_sealed

NETWORK = [*TINY, "head.depth=2", "head.bias=true", "model.batch_norm=true"]
RELU_HEAD = ["model=dufm", "counts=[4,3]", "model.width=4", "optimizer=sgd", "optimizer.lr=0.1", "epochs=20"]
# The same float64 sums over the same features; only the order of some of them may differ. On another machine, or with
# another number of threads, float32 features differ in their last digit, and what is left is 1e-6.
TOLERANCE = {"rel": 1e-9, "abs": 1e-12}
OF_TRAINING = {"epoch", "step", "lr", "seconds", "stationarity"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two finished runs, network and relu-head, and the place where the data sets are not."""
    folder, threads = tmp_path_factory.mktemp("trained"), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.ending.draw", lambda records: True)
        package.train([*NETWORK, f"run_dir={folder}/network"])
        package.train([*RELU_HEAD, f"run_dir={folder}/relu-head"])
    torch.set_num_threads(1)
    yield folder
    torch.set_num_threads(threads)


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """The network's run, without its seal, to be damaged."""
    shutil.copytree(trained / "network", tmp_path / "network")
    manifest = json.loads((tmp_path / "network" / "manifest.json").read_text())
    del manifest["seal"]
    (tmp_path / "network" / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "network"


def changed(directory: Path, name: str, **entries: Any) -> None:
    path = directory / name
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def remeasured(run: package.LoadedRun, **more: Any) -> dict[str, Any]:
    problem = run.problem
    return package.measure(
        *run.features(),
        run.network().head,
        loss=problem.loss,
        decay_weight=problem.weight_decays,
        decay_feature=problem.feature_decay,
        nonnegative_features=None if problem.feature_sign == "free" else True,
        **more,
    ).metrics


def test_network_and_features_measured_again_are_the_last_row(trained: Path) -> None:
    """Every column, of BatchNorm's running means too."""
    network, head = package.load(trained / "network"), package.load(str(trained / "relu-head"))
    random = torch.get_rng_state()
    for run, found in (
        (network, remeasured(network, test=network.features("test"))),
        (head, remeasured(head) | {"test_accuracy": None}),
    ):
        logged = json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1])
        assert found.keys() == logged.keys() - OF_TRAINING
        for key, value in found.items():
            wanted = logged[key]
            assert value == (None if wanted is None else pytest.approx(wanted, **TOLERANCE)), key
    assert torch.equal(torch.get_rng_state(), random)


def test_what_a_run_says_of_itself(trained: Path) -> None:
    run = package.load(trained / "network")
    assert run.config["head"]["depth"] == run.problem.depth == 2
    assert list(run.metrics["epoch"]) == [0, 1, 2]
    assert (run.state, run.summary) == ("done", run.manifest["summary"])
    assert run.prediction.as_json() == run.theory
    assert repr(run) == f"<ncrun.LoadedRun {run.path}: {run.summary}>"
    shown = run._repr_html_()
    assert run.summary in shown
    assert "nc2_w" in shown
    features, labels = run.features("train")
    assert (features.shape, features.dtype, labels.dtype) == ((60, 8), np.float32, np.int64)
    assert np.bincount(labels).tolist() == run.manifest["class_counts"]


def test_curves_leave_the_programs_style_alone(trained: Path) -> None:
    before, figures = dict(mpl.rcParams), plt.get_fignums()
    drawn = package.load(trained / "network").plot()
    assert sum(bool(ax.get_title()) for ax in drawn.axes) == 6  # the others are colour bars
    assert (dict(mpl.rcParams), plt.get_fignums()) == (before, figures)


def test_reading_predicting_and_drawing_need_no_torch(trained: Path) -> None:
    code = f"import sys, ncrun; run = ncrun.load({str(trained / 'network')!r})"
    code += (
        f"; run.metrics, run.prediction, run.plot(), run._repr_html_(); assert len(ncrun.runs({str(trained)!r})) == 2"
    )
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True, timeout=60)


def test_an_archive_is_read_in_place_without_its_checkpoints(trained: Path, tmp_path: Path) -> None:
    archive = Path(shutil.make_archive(str(tmp_path / "all"), "zip", trained))
    names = list(package.runs(tmp_path).index)
    assert names == [str(archive / "network"), str(archive / "relu-head")]
    run = package.load(names[0])
    assert run.metrics.equals(package.load(trained / "network").metrics)
    with pytest.raises(UserError, match=r"all\.zip: holds 2 runs; name one of them: .*/network, .*/relu-head$"):
        package.load(archive)
    with pytest.raises(UserError, match=r"nosuch: no such run in the archive; it holds "):
        package.load(archive / "nosuch")
    with pytest.raises(UserError, match=r"there is no checkpoint \(checkpoints in an archive are not read\)$"):
        run.network()


def test_a_change_since_a_run_was_finished_is_told(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "network", tmp_path / "network")
    changed(tmp_path / "network", "problem.json", feature_sign="nonnegative")
    with pytest.warns(UserWarning, match=r"network: problem\.json changed since the run was finished"):
        package.load(tmp_path / "network")
    with pytest.warns(UserWarning, match=r"network: problem\.json changed since the run was finished"):
        package.runs(tmp_path)


def test_refused_places(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place, line in (
        (tmp_path / "nowhere", r"nowhere: no such run directory$"),
        (trained / "network" / "config.yaml", r"config\.yaml: no such run directory$"),
        (tmp_path / "empty", r"empty: is not a run directory, and holds no run$"),
        (trained, r": holds 2 runs; name one of them: .*/network, .*/relu-head$"),
    ):
        with pytest.raises(UserError, match=line):
            package.load(place)
    with pytest.raises(UserError, match=r"nowhere: no such folder or \.zip archive$"):
        package.runs(tmp_path / "nowhere")


def test_refused_checkpoints(copied: Path) -> None:
    checkpoint = copied / "checkpoint.pt"
    content = checkpoint.read_bytes()
    config = (copied / "config.yaml").read_text()
    assert "  width: 8\n" in config
    (copied / "config.yaml").write_text(config.replace("  width: 8\n", "  width: 9\n"))
    with pytest.raises(UserError, match=r"checkpoint\.pt does not fit the network of config\.yaml .*size mismatch"):
        package.load(copied).network()
    (copied / "config.yaml").write_text(config.replace("  width: 8\n", "  width: 8\n  wings: 2\n"))
    with pytest.raises(UserError, match=r"config\.yaml: model\.wings: model=mlp has no such key in this version$"):
        package.load(copied).network()
    (copied / "config.yaml").write_text(config)
    for damage, reason in (
        (content[:-1] + b"?", "its checksum does not fit"),
        (content[:100], "its checksum is missing"),
        (None, "there is no checkpoint (the run is done)"),
    ):
        if damage is None:
            checkpoint.unlink()
        else:
            checkpoint.write_bytes(damage)
        with pytest.raises(UserError) as error:
            package.load(copied).features()
        assert str(error.value) in (f"{checkpoint}: cannot be read ({reason})", f"{checkpoint}: {reason}")
    write_sealed(checkpoint, b"no tensors")
    with pytest.raises(UserError, match=r"cannot be read \(not written by this version\)$"):
        package.load(copied).network()


def test_refused_features(copied: Path, trained: Path) -> None:
    run = package.load(copied)
    with pytest.raises(UserError, match=r"^split=val: not one of train, test"):
        run.features("val")
    with pytest.raises(UserError, match=r"^split=test: free features have no data set, so they have no test split$"):
        package.load(trained / "relu-head").features("test")
    with pytest.raises(UserError, match=r"^data_dir=nowhere: no such file or folder$"):
        run.features(data_dir="nowhere")
    changed(copied, "manifest.json", index_hash="0" * 64)
    with pytest.raises(UserError, match=r": the run was trained on other samples of digits$"):
        package.load(copied).features()


def test_an_extensions_network_asks_for_its_file(tmp_path: Path, undrawn: None) -> None:
    """The record names the file, and nothing of it is executed because of that."""
    lab = tmp_path / "lab.py"
    lab.write_text(
        "from dataclasses import dataclass\nfrom typing import ClassVar\nimport ncrun\n\n"
        "@dataclass(frozen=True)\nclass Flat(ncrun.ModelSpec):\n"
        "    name: str = 'flat'\n    words: ClassVar[str] = 'flat'\n"
        "    feature_width = 4\n"
        "    def backbone(self, image_shape):\n"
        "        from torch import nn\n"
        "        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))\n\n"
        "ncrun.register(Flat())\n"
    )
    typed = ["model=flat", f"extend=[{lab}]", "epochs=1", "counts=[2,2,2,2,2,2,2,2,2,2]", "threads=1"]
    run = package.train([*typed, f"run_dir={tmp_path}/run"])
    wanted = run.features()[0]
    from ncrun.config import extensions
    from ncrun.extending import forget_added

    forget_added()
    extensions.forget()
    with pytest.raises(UserError, match=r"^model=flat: is not built in; give the file that registers it by extend="):
        run.network()
    with pytest.raises(UserError, match=r"must be a list of Python files"):
        run.network(extend=str(lab))
    assert np.array_equal(run.features(extend=[lab])[0], wanted)
    forget_added()
    extensions.forget()
    lab.write_text(lab.read_text() + "# changed\n")
    with pytest.warns(UserWarning, match="was trained with other files, or other content, of extend="):
        run.network(extend=[lab])


def test_a_network_from_a_file_asks_for_it(tmp_path: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """model=module: the file lies elsewhere by now, and what lies at the recorded path is not executed."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(
        "from torch import nn\n\nclass Flat(nn.Sequential):\n    def __init__(self, width=4):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width))\n"
    )
    typed = [
        "model=module",
        "model.path=nets.py:Flat",
        "model.args.width=5",
        "epochs=1",
        "counts=[2,2,2,2,2,2,2,2,2,2]",
    ]
    run = package.train([*typed, "threads=1", "run_dir=run"])
    Path("nets.py").rename("moved.py")
    Path("nets.py").write_text("raise SystemExit\n")
    with pytest.raises(UserError, match=r"^model\.path=nets\.py:Flat: a record never imports code; give the file"):
        run.network()
    logged = json.loads(Path("run/metrics.jsonl").read_text().splitlines()[-1])
    found = package.measure(*run.features(path="moved.py"), run.network(path="moved.py").head)
    assert found.metrics["nc1"] == pytest.approx(logged["nc1"], **TOLERANCE)
    with pytest.raises(UserError, match=r"nets\.py: is not the file of the run"):
        run.network(path="nets.py")


def test_an_overview_of_all_runs(tmp_path: Path) -> None:
    rows = [{"epoch": 0, "nc2_w": 0.5, "nc2_h": 0.25, "nc3": 0.125}, {"epoch": 3, "loss": 0.125, "gap": 0.5}]
    whole = write_run(tmp_path / "a" / "whole", rows, head__depth=3)
    write_run(tmp_path / "b", rows[:1], state="interrupted", decay__weight=[1e-3])
    damaged = write_run(tmp_path / "c", rows)
    (damaged / "metrics.jsonl").write_text("{}\n")
    begun = write_run(tmp_path / "d", [])
    (begun / "theory.json").unlink()
    frame = package.runs(tmp_path)
    assert list(frame.index) == [str(tmp_path / name) for name in ("a/whole", "b", "c", "d")]
    assert list(frame["state"]) == ["done", "interrupted", "damaged", "not begun"]
    assert list(frame["head.depth"])[:2] == [3, 1]
    assert (frame["loss"].iloc[0], frame["gap"].iloc[0], frame["epoch"].iloc[0]) == (0.125, 0.5, 3)
    assert frame["distance"].iloc[1] == 0.5
    assert list(frame["config.loss"])[:2] == ["mse", "mse"]
    assert "has no epoch" in frame["summary"].iloc[2]
    assert package.load(frame.index[0]).path == whole
    (tmp_path / "none").mkdir()
    assert len(package.runs(tmp_path / "none")) == 0
