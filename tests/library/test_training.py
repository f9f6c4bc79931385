"""`ncrun.train`: the command's records from a program, which finds everything as it was afterwards."""

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
from conftest import TINY, Command, Refused, at_call, rows, state
from hydra.core.global_hydra import GlobalHydra

import ncrun as package
from ncrun.config.folders import config_directory
from ncrun.errors import UserError

pytestmark = pytest.mark.usefixtures("undrawn")
RUN = [*TINY, "batch_size=13"]
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


def surroundings() -> dict[str, Any]:
    """What a program would notice if it were left changed."""
    return {
        "threads": torch.get_num_threads(),
        "random": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002 -- the one that a program may use
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
        "deterministic": torch.backends.cudnn.deterministic,
        "handlers": [signal.getsignal(each) for each in STOPS],
        "arguments": list(sys.argv),
        "hydra": GlobalHydra.instance().hydra,
    }


def test_trains_as_the_command_does_and_leaves_everything_as_it_was(ncrun: Command, workdir: Path) -> None:
    """Twice, the second time inside a program that has Hydra, a type and a state of its own."""
    assert ncrun("train", *RUN, "run_dir=command").status == 0
    first = package.train([*RUN, "run_dir=first"])
    assert rows(workdir / "first") == rows(workdir / "command")
    assert (first.state, first.path) == ("done", Path("first"))
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    try:
        with hydra.initialize_config_dir(str(config_directory()), version_base="1.3"), torch.no_grad():
            before = surroundings()
            package.train([*RUN, "run_dir=second"])
            assert surroundings() == before
            assert before["hydra"] is not None
    finally:
        torch.set_default_dtype(torch.float32)
    assert rows(workdir / "second") == rows(workdir / "command")
    assert GlobalHydra.instance().hydra is None


def test_a_finished_run_is_left_alone(workdir: Path, ncrun: Command, capsys: pytest.CaptureFixture[str]) -> None:
    made = package.train(["model=ufm", "counts=[4,2]", "model.width=4"])
    capsys.readouterr()
    again = package.train(["model=ufm", "counts=[4,2]", "model.width=4"])
    assert capsys.readouterr().out == f"{made.path}: finished already; nothing to do\n"
    assert (again.manifest, again.path) == (made.manifest, made.path)


@pytest.mark.parametrize(
    "words",
    [["epoch=3"], ["lr"], ["model=nosuch"], ["imbalance=10"], ["experiment=nosuch"]],
    ids=str,
)
def test_refuses_what_the_command_refuses(words: list[str], refused: Refused, workdir: Path) -> None:
    line = refused("train", *words)
    with pytest.raises(UserError) as error:
        package.train(words)
    assert str(error.value) == line
    assert list(workdir.iterdir()) == []
    assert GlobalHydra.instance().hydra is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("epochs=5", "'epochs=5': must be a list of overrides, such as ['dataset=digits', 'epochs=5']"),
        ([5], "[5]: must be a list of overrides, such as ['dataset=digits', 'epochs=5']"),
        (["-m", "seed=1,2"], "-m: options have no effect here; give overrides, such as epochs=5"),
        (["seed=1,2"], "seed=1,2: several values make a sweep, but ncrun.train trains one run"),
        (["jobs=2"], "jobs: has no effect: ncrun.train trains one run"),
        (["hydra/launcher=slurm"], "hydra/launcher=slurm: has no effect: ncrun.train trains one run"),
        (["together=true"], "together: has no effect: ncrun.train trains one run"),
        (
            ["model=ufm", "counts=[4,2]", "optimizer=sgd", "restarts=2"],
            "restarts: make several runs, but ncrun.train trains one; loop over seed=0, seed=1, ...",
        ),
    ],
    ids=str,
)
def test_refuses_what_makes_no_single_run(given: Any, said: str, workdir: Path) -> None:
    with pytest.raises(UserError) as error:
        package.train(given)
    assert str(error.value) == said
    assert list(workdir.iterdir()) == []


def test_a_run_that_diverges_raises(workdir: Path, ncrun: Command) -> None:
    typed = ["model=ufm", "counts=[4,2]", "model.width=4", "optimizer=sgd", "epochs=50", "optimizer.lr=1e9"]
    with pytest.raises(package.TrainingFailed, match=r"^run: diverged: .* try optimizer\.lr=1e\+08$"):
        package.train([*typed, "run_dir=run"])
    failed = package.load("run")
    assert (failed.state, failed.summary.partition(":")[0]) == ("failed", "diverged")


def test_an_interrupt_ends_after_a_checkpoint_and_the_same_call_continues(
    workdir: Path, ncrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, torch.optim.Adam, "step", 7, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            package.train([*RUN, "run_dir=run"])
    assert state(workdir / "run") == "interrupted"
    assert (workdir / "run" / "checkpoint.pt").is_file()
    package.train([*RUN, "run_dir=run"])
    package.train([*RUN, "run_dir=straight"])
    assert rows(workdir / "run") == rows(workdir / "straight")


def test_a_signal_reaches_the_programs_own_handler(
    workdir: Path, ncrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm's warning, of which the program has to know, too."""
    noted: list[int] = []
    previous = signal.signal(signal.SIGUSR2, lambda number, frame: noted.append(number))
    try:
        at_call(monkeypatch, torch.optim.Adam, "step", 3, lambda: signal.raise_signal(signal.SIGUSR2))
        with pytest.raises(KeyboardInterrupt):
            package.train([*RUN, "run_dir=run"])
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert noted == [signal.SIGUSR2]
    assert state(workdir / "run") == "interrupted"


def test_trains_outside_of_the_main_thread(workdir: Path, ncrun: Command) -> None:
    """Where Python lets nobody handle signals."""
    made: list[Any] = []
    thread = threading.Thread(target=lambda: made.append(package.train(["model=ufm", "counts=[4,2]", "model.width=4"])))
    thread.start()
    thread.join()
    assert [run.state for run in made] == ["done"]


def test_data_that_change_while_the_program_goes_on_make_another_run(workdir: Path, ncrun: Command) -> None:
    typed = ["dataset=npz", "dataset.path=own.npz", "model.depth=1", "model.width=4", "epochs=1", "threads=1"]
    made = []
    for number in (0, 1):
        images = np.random.default_rng(number).normal(size=(20, 3)).astype(np.float32)
        np.savez("own.npz", train_images=images, train_labels=np.arange(20) % 2)
        made.append(package.train(typed))
        assert made[-1].features("test")[0].shape == (4, 4)
    assert made[0].manifest["data_hash"] != made[1].manifest["data_hash"]
    assert made[0].path != made[1].path
    with pytest.raises(UserError, match=r"the data in npz own\.npz have changed since the run was trained"):
        made[0].features()


def test_a_file_of_additions_that_changes_meanwhile_is_refused(workdir: Path) -> None:
    """Or its old code would be trained under what looks like the new."""
    Path("lab.py").write_text("import ncrun\n")
    for content, line in (("", "epochs=0: must be"), ("# new\n", "extend=lab.py: has changed since it was imported")):
        with Path("lab.py").open("a") as file:
            file.write(content)
        with pytest.raises(UserError, match=f"^{line}"):
            package.train(["extend=[lab.py]", "epochs=0"])
