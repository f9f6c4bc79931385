"""Fixtures that every test file shares: configurations composed, and the command run, inside the test's own process."""

import contextlib
import io
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from ncrun import cli
from ncrun.config import experiments, extensions, folders
from ncrun.config.planning import job_of
from ncrun.extending import forget_added
from ncrun.records.read import Record
from ncrun.run import Run

if TYPE_CHECKING:
    from figure_runs import Runs

    from ncrun.models.free_model import FreeFeatures
    from ncrun.models.network import Network

# How long a test waits for what another process or thread does. It ends a hang; a crowded machine may take a minute.
PATIENCE_S = 600

# The smallest run that goes through every part of the program.
TINY = ("model.depth=1", "model.width=8", "counts=[6,6,6,6,6,6,6,6,6,6]", "epochs=2", "threads=1")


def pytest_configure(config: pytest.Config) -> None:
    """The suite is about a CPU's numbers, to the bit: only the tests that are marked gpu see a GPU."""
    if config.getoption("markexpr") != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@dataclass(frozen=True)
class Result:
    """What a command line answered."""

    status: int
    out: str
    err: str


Command = Callable[..., Result]
Refused = Callable[..., str]
RunOf = Callable[..., Run]


@pytest.fixture
def run_of() -> RunOf:
    """run_of("imbalance=0.1"): the run of these overrides."""

    def compose(*overrides: str) -> Run:
        (run,) = job_of(overrides).runs
        return run

    return compose


@pytest.fixture(autouse=True)
def nothing_of_the_users() -> Iterator[None]:
    """What a test lets the user add is gone after it."""
    yield
    forget_added()
    extensions.forget()
    folders.OWN.clear()
    experiments.recipe.cache_clear()


def built(run: Run) -> "Network | FreeFeatures":
    """The model of a run, at its first parameters."""
    from ncrun.training.program import network_of  # torch, which not every test needs

    return network_of(run)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the current one for this test."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run_command(*arguments: str) -> Result:
    """Runs the command line in this process, because starting torch anew takes seconds."""
    argv, environment = sys.argv, dict(os.environ)
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = cli.run(list(arguments))
    finally:
        GlobalHydra.instance().clear()
        sys.argv = argv
        logging.root.handlers[:], logging.root.level = handlers, level  # --info adds its own
        for logger in logging.root.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.disabled = False  # Hydra silences those that exist
        os.environ.clear()
        os.environ.update(environment)
    return Result(status, out.getvalue(), err.getvalue())


@pytest.fixture
def ncrun(workdir: Path) -> Iterator[Command]:
    """ncrun("train", "epochs=1"): the command line, run in this process, in an empty folder."""
    threads = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
    yield run_command
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@pytest.fixture
def refused(ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """refused("train", "epochs=0") asserts a refusal (status 2, one line, no file touched) and returns the line.

    A run that is not refused fails at once, instead of training for an hour.
    """

    def check(*arguments: str) -> str:
        before = contents(workdir)
        with monkeypatch.context() as patch:
            for trains in ("fit", "settle"):
                patch.setattr(f"ncrun.training.program.{trains}", lambda *_: pytest.fail("a run was started"))
            result = ncrun(*arguments)
        assert result.status == 2, result
        assert result.out == ""
        assert result.err.startswith("ncrun: "), result.err
        assert result.err.count("\n") == 1, result.err
        assert result.err.endswith("\n"), result.err
        assert "Traceback" not in result.err
        assert contents(workdir) == before
        return result.err.removeprefix("ncrun: ").strip()

    return check


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out curves.png, which takes half a second after every run."""
    monkeypatch.setattr("ncrun.training.ending.draw", lambda records: True)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with its bytes (None for a folder)."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def rows(directory: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the wall time, the one entry that may differ between equal runs."""
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def state(directory: Path) -> str:
    """The state that a run's manifest states."""
    return str(json.loads((directory / "manifest.json").read_text())["state"])


def at_call(patch: pytest.MonkeyPatch, owner: type, name: str, number: int, act: Callable[[], object]) -> None:
    """Do something when a method is called for the n-th time from now on."""
    calls, original = itertools.count(1), getattr(owner, name)

    def counted(self: Any, *rest: Any, **more: Any) -> Any:
        if next(calls) == number:
            act()
        return original(self, *rest, **more)

    patch.setattr(owner, name, counted)


# What every row of metrics.jsonl has.
WHOLE_ROW: dict[str, Any] = {
    "epoch": 1,
    "loss": 0.5,
    "data_term": 0.25,
    "train_accuracy": 0.0,
    **dict.fromkeys(("gap", "nc1", "nc2_w", "nc2_h", "nc3")),
    "class.margin": [0.5, 0.25],
    "class.weight_norm_sq": [1.0, 1.0],
    "class.feature_norm_sq": [1.0, 1.0],
}


def write_run(folder: Path, metrics: list[dict[str, Any]], state: str = "done", **config: Any) -> Path:
    """A run directory of two classes made by hand, with these entries of its rows and of its configuration (a__b stands
    for a.b)."""
    counts = [20, 10]
    whole: dict[str, Any] = {
        "dataset": {"name": "digits"},
        "model": {"name": "mlp", "depth": 1, "width": 8},
        "head": {"depth": 1, "bias": False},
        "decay": {"mode": "features", "weight": 5e-4, "feature": 5e-4},
        "optimizer": {"name": "adam", "lr": 1e-3},
        "seed": 0,
        "loss": "mse",
        "epochs": 3,
        "batch_size": "full",
        "run_dir": str(folder),
    }
    for key, value in config.items():
        *groups, name = key.split("__")
        target = whole
        for group in groups:
            target = target[group]
        target[name] = value
    folder.mkdir(parents=True)
    manifest = {
        "state": state,
        "experiment": whole.get("experiment"),
        "scale": whole.get("scale"),
        "wall_seconds": 2.0,
        "dataset": None if whole["dataset"] is None else whole["dataset"]["name"],
        "class_counts": counts,
        "num_samples": sum(counts),
        "effective_decays": {"weight": [5e-4] * whole["head"]["depth"], "feature": 5e-4},
    }
    unknown = dict.fromkeys(("weight_norm_sq", "feature_norm_sq", "margin", "collapsed"))
    theory = {
        "claim": "none",
        "note": "made by hand",
        "attainable": True,
        "scale_free": False,
        "metastable": [],
        "classes": [{"count": count, **unknown} for count in counts],
        **dict.fromkeys(("objective", "data_term", "weight_gram", "feature_gram", "logits", "best_known")),
    }
    for name, content in (("config.yaml", whole), ("manifest.json", manifest), ("theory.json", theory)):
        (folder / name).write_text(json.dumps(content))  # JSON is YAML
    (folder / "metrics.jsonl").write_text("".join(json.dumps(WHOLE_ROW | row) + "\n" for row in metrics))
    return folder


@pytest.fixture
def runs(tmp_path_factory: pytest.TempPathFactory, ncrun: Command, undrawn: None) -> "Runs":
    """Of the figures' tests; their folder is known to Python once one of them is collected."""
    from figure_runs import Runs

    return Runs.shared(tmp_path_factory, ncrun)


@pytest.fixture
def seeds(runs: "Runs") -> list[Record]:
    """Depth 1, three seeds."""
    return runs("M1-0", "M1-1", "M1-2")


@pytest.fixture
def all_imbalanced(runs: "Runs") -> list[Record]:
    """Depths 1 and 3, three seeds each."""
    return runs(*(f"M{depth}-{seed}" for depth in (1, 3) for seed in (0, 1, 2)))


@pytest.fixture
def closed() -> Iterator[None]:
    """Figures do not stay open after the test."""
    from matplotlib import pyplot as plt

    yield
    plt.close("all")
