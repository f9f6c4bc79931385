"""What Hydra would do besides setting keys is refused: what it would execute, write elsewhere, or read for minutes."""

import pickle
import re
from pathlib import Path

import pytest
from conftest import Refused, run_command

from ncrun.config import doors
from ncrun.config.compose import read_flags
from ncrun.config.explain import explain
from ncrun.config.grid import expand
from ncrun.errors import UserError

GLOBAL = "# @package _global_\n"


class Executes:
    """What is pickled into a file that runs a command when it is read back."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


@pytest.mark.parametrize("start", [["--experimental-rerun"], ["--experimental-r"], ["-m", "seed=1,2", "--exp"]])
def test_a_pickled_run_is_not_executed(start: list[str], refused: Refused, workdir: Path) -> None:
    (workdir / "run.pickle").write_bytes(pickle.dumps(Executes()))
    assert refused("train", *start, "run.pickle").startswith("--experimental-rerun: ")


def test_flags_behind_the_overrides_are_no_flags(refused: Refused, workdir: Path) -> None:
    (workdir / "run.pickle").write_bytes(pickle.dumps(Executes()))
    refused("theory", "--", "--experimental-rerun", "run.pickle")


@pytest.mark.parametrize(
    "typed",
    [
        "hydra.run.dir=elsewhere",
        "++hydra.sweep.dir=elsewhere",
        "hydra/job_logging=default",
        "hydra.job_logging=default",
        "+hydra.callbacks.mine._target_=os.getcwd",
        "hydra.searchpath=[file:///tmp]",
        "hydra.mode=MULTIRUN",
        "hydra.launcher._target_=os.getcwd",
        "hydra.sweeper.max_batch_size=0",
        "+experiment@hydra.callbacks=dang2023/phase",
        "hydra={}",
        "~hydra.sweeper",
    ],
)
def test_hydras_own_keys(typed: str) -> None:
    key = typed.lstrip("+~").split("=")[0]
    with pytest.raises(UserError, match=rf"^{re.escape(key)}: is not allowed; "):
        doors.check_typed(read_flags(["-m", typed]))


def test_the_commands_ask(refused: Refused) -> None:
    for command in ("train", "theory"):
        assert refused(command, "hydra.run.dir=elsewhere").startswith("hydra.run.dir: is not allowed; ")


@pytest.mark.parametrize("group", ["launcher", "sweeper"])
@pytest.mark.parametrize("name", ["basic", "nosuch", "ncrun,basic"])
def test_launchers_and_sweepers_of_other_names(group: str, name: str) -> None:
    with pytest.raises(UserError, match=rf"^hydra/{group}={name}: not one of "):
        doors.check_typed(read_flags(["-m", "seed=0,1", f"hydra/{group}={name}"]))


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("hydra/launcher=joblib", "is not allowed; use jobs=N"),
        ("hydra/launcher=submitit_local", "is not allowed; use jobs=N"),
        ("hydra/launcher=submitit_slurm", "is not allowed; use hydra/launcher=slurm"),
        ("hydra/sweeper=optuna", "is not allowed; call ncrun.train from Optuna, see docs/cluster.md"),
        ("hydra.launcher.partition=gpu", "is not allowed; it needs hydra/launcher=slurm"),
        ("hydra/launcher=slurm hydra.launcher.gpus_per_nod=1", "did you mean 'gpus_per_node'"),
        ("hydra/launcher=slurm hydra.launcher._target_=os.getcwd", "is not allowed; "),
        ("hydra/launcher=slurm hydra.launcher.timeout_min=soon", "timeout_min"),
        ("hydra/launcher=slurm hydra.launcher.timeout_min=0", "timeout_min=0: must be at least 1"),
        (
            "hydra/launcher=slurm hydra.launcher.timeout_min=1",
            "signal_delay_s=90: must be at most half of timeout_min=1",
        ),
        ("hydra/launcher=slurm hydra.launcher.runs_per_task=0", "runs_per_task=0: must be at least 1"),
        ("hydra/launcher=slurm hydra.launcher.partition=a,b", "hydra.launcher.partition"),
        ("hydra/launcher=slurm jobs=2", "jobs: has no effect with hydra/launcher=slurm unless"),
        ("hydra/launcher=slurm model=ufm counts=[3,2] optimizer=sgd together=true", "together=true: has no effect"),
        ("hydra/launcher=slurm", "hydra/launcher=slurm: srun is not installed here"),
        ("jobs=0", "jobs=0: must be auto, or from 1 to 1024"),
        ("jobs=-2", "jobs=-2: must be auto, or from 1 to 1024"),
    ],
)
def test_what_no_launcher_can_do(typed: str, told: str, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert told in refused("train", "-m", "seed=0,1", *typed.split())


def test_the_slurm_launcher_elsewhere(refused: Refused) -> None:
    assert "has no effect without -m" in refused("train", "hydra/launcher=slurm")
    assert "has no effect here" in refused("theory", "-m", "seed=0,1", "hydra/launcher=slurm")


@pytest.mark.parametrize(
    "content",
    [
        "hydra: {callbacks: {mine: {_target_: pathlib.Path.touch, self: executed}}}",
        "hydra: {run: {dir: elsewhere}}",
        "hydra.run.dir: elsewhere",
        "hydra: {sweeper: {max_batch_size: 0}}",
        "a: &a {hydra: {run: {dir: elsewhere}}}\n<<: *a",
        "defaults: [{override hydra/job_logging: default}]",
        "defaults: [/hydra/callbacks/mine]",
        "defaults: [{/experiment/dang2023/phase@hydra.callbacks: x}]",
    ],
)
def test_hydras_own_keys_in_a_strangers_experiment(content: str) -> None:
    with pytest.raises(UserError, match=r"^mine\.yaml: .*is not allowed; "):
        doors.check_file("mine.yaml", "experiment/mine", (GLOBAL + content).encode())


def test_hydras_own_keys_in_a_scale(refused: Refused, workdir: Path) -> None:
    _write(workdir, GLOBAL + "recipe: {scales: {paper: {hydra.run.dir: elsewhere}}}")
    assert "is not allowed; " in refused("theory", "--config-dir", "own", "experiment=mine")


def test_a_strangers_grid_and_package(refused: Refused, workdir: Path) -> None:
    _write(workdir, f'{GLOBAL}hydra: {{sweeper: {{params: {{hydra.run.dir: "a,b"}}}}}}')
    assert refused("train", "-m", "--config-dir", "own", "experiment=mine").startswith("hydra.run.dir: is not allowed")
    _write(workdir, "# @package hydra.run\ndir: elsewhere")
    assert "@package hydra.run: is not allowed" in refused("theory", "--config-dir", "own", "experiment=mine")
    _write(workdir, "dir: elsewhere", "hydra/job_logging/mine.yaml")
    _write(workdir, f"{GLOBAL}defaults: [/hydra/job_logging/mine]")
    refused("theory", "--config-dir", "own", "experiment=mine")


def test_a_folder_of_other_configurations_is_refused(refused: Refused, workdir: Path) -> None:
    _write(workdir, "seed: 1", "train.yaml")
    assert refused("theory", "--config-path", "own").startswith("--config-path: is not allowed; --config-dir ")
    assert refused("theory", "--config-dir", "nosuch").startswith("--config-dir=nosuch: no such folder")
    assert refused("theory", "--cfg", "job", "--package", "nosuch") == "package 'nosuch' not found in config"


def test_what_stands_for_too_much(refused: Refused, workdir: Path) -> None:
    """Ten references to ten references and so on; a list that is too long; one that holds itself."""
    levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    levels += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    for content, told in (
        ("\n".join(levels), "expands to 1234567"),
        (f"path: [{'1,' * 21_000}]", "expands to 21"),
        (f"path: [{'1,' * 600_000}]", "has more than 1 MB"),
        ("path: &a [*a]", "refers to itself"),
        (f"path: {'[' * 5000}{']' * 5000}", "nested too deeply"),
    ):
        with pytest.raises((UserError, RecursionError)) as error:
            doors.check_file("mine.yaml", "experiment/mine", (GLOBAL + content).encode())
        assert told in str(explain(error.value, composing=True))
    _write(workdir, GLOBAL + "\n".join(levels))
    assert "expands to 1234567" in refused("theory", "--config-dir", "own", "experiment=mine")


def test_a_line_that_takes_minutes_to_read(refused: Refused) -> None:
    assert refused("theory", f"path=[{'1,' * 30_000}]").startswith("path: has 60007 characters; at most ")
    assert refused("theory", *["seed=12345"] * 10_000).startswith("overrides: have 100000 characters together")


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        ("seed=range(10000000)", "seed: 1e+07 values make 1e+07 jobs of this sweep; at most 5000"),
        ("seed=range(10000000) seed=1,2", "seed: 1e+07 values make"),
        ("seed=shuffle(range(10000000))", "seed: 1e+07 values make"),
        ("seed=range(100) decay.weight=range(1,100)", "decay.weight: 99 values make 9900 jobs"),
        ("decay.weight=range(0,1,1e-320)", "decay.weight: inf values make"),
        (f"seed=range(1{'0' * 400})", "seed: inf values make"),
        ("seed=range(0)", "seed=range(0): holds no value"),
        ("seed=range(0,1,0)", "seed=range(0,1,0): holds no value"),
    ],
)
def test_sweeps_that_nobody_could_wait_for_are_not_expanded(grid: str, told: str) -> None:
    """Nor those of no job at all."""
    with pytest.raises(UserError) as error:
        expand(["model=ufm", "counts=[3,2]", *grid.split()])
    assert str(error.value).startswith(told)


def test_names_that_no_file_system_takes(refused: Refused) -> None:
    """One line that can be read, and no fault of ncrun."""
    for typed in (f"model={'x' * 5000}", f"{'x' * 5000}=1", f"experiment={'x' * 300}", f"extend=[{'x' * 300}.py]"):
        assert len(refused("theory", typed)) < 2100
    refused("table", "x" * 300)
    refused("measure", "x" * 300)
    assert refused("theory", "name=\udcff").endswith("is not UTF-8")


def test_completion_of_another_shell() -> None:
    result = run_command("-sc", "query=fish")
    assert (result.status, result.out, len(result.err.splitlines())) == (2, "", 1)


def _write(workdir: Path, content: str, name: str = "experiment/mine.yaml") -> None:
    path = workdir / "own" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
