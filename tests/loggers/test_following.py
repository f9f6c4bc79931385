"""What loggers are told of a run, and that nothing of theirs touches it. The real libraries have a file of their
own."""

import json
import math
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Command, Refused, RunOf, at_call, rows, state

from ncrun.extending import register
from ncrun.loggers import LOGGERS, Logged, Logger, Outcome, Session
from ncrun.records.read import load_record
from ncrun.training.evaluate import Evaluator

RUN = (*TINY, "epochs=4", "batch_size=13")
DOCS = Path(__file__).parents[2] / "docs" / "loggers.md"
pytestmark = pytest.mark.usefixtures("undrawn")


class Told(Session):
    """Remembers what it is told, across the processes of a run."""

    def __init__(self, run: Logged, memory: list[Any]) -> None:
        self.path, self.memory = str(run.path), memory
        memory.append(run)

    def last_epoch(self) -> float:
        own = (each for each in self.memory if isinstance(each, dict) and each["path"] == self.path)
        return max((each["epoch"] for each in own), default=-math.inf)

    def row(self, row: Any) -> None:
        self.memory.append({**row, "path": self.path})

    def end(self, outcome: Outcome) -> None:
        self.memory.append(outcome)


def remembering(key: str = "told") -> list[Any]:
    memory: list[Any] = []
    register(Logger(key, "a test's", lambda run: Told(run, memory)))
    return memory


def epochs(memory: list[Any]) -> list[int]:
    return [each["epoch"] for each in memory if isinstance(each, dict)]


def test_every_row_is_told_with_its_prediction(ncrun: Command, workdir: Path) -> None:
    """As metrics.jsonl has it; the levels are those of theory.json, and the table has a line for each class."""
    memory = remembering()
    assert ncrun("train", *RUN, "model.width=12", "logger=[told]", "run_dir=run").status == 0
    record = load_record(workdir / "run")
    logged, *told, outcome = memory
    without = ("seconds", "path")
    assert [{k: v for k, v in row.items() if k not in without} for row in told] == rows(workdir / "run")
    assert logged.settings["head.depth"] == 1
    assert logged.scalars(told[-1])["predicted/loss"] == record.theory["objective"]
    assert logged.scalars(told[-1])["nc1"] == told[-1]["nc1"]
    header, lines = logged.class_table(outcome.row)
    measured, predicted = header.index("class.margin"), header.index("predicted/class.margin")
    assert [line[measured] for line in lines] == told[-1]["class.margin"]
    assert [line[predicted] for line in lines] == [entry["margin"] for entry in record.theory["classes"]]
    assert (outcome.state, outcome.words) == ("done", record.manifest["summary"])
    assert outcome.facts["claim"] == "proven"


def test_a_continued_run_is_told_every_epoch_once(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what the killed process had recorded and not told; and the numbers are those of a run without loggers."""
    memory = remembering()
    with monkeypatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        at_call(patch, Evaluator, "__call__", 3, lambda: signal.raise_signal(signal.SIGTERM))
        assert ncrun("train", *RUN, "logger=[told]", "run_dir=run").status == 128 + signal.SIGTERM
    assert memory[-1].state == state(workdir / "run") == "interrupted"
    assert epochs(memory) == [0, 1, 2]
    del memory[3]  # epoch 2 was never told, as if the process had been killed before
    assert ncrun("train", *RUN, "logger=[told]", "run_dir=run").status == 0
    assert epochs(memory) == [0, 1, 2, 3, 4]
    assert ncrun("train", *RUN, "run_dir=straight").status == 0
    assert rows(workdir / "run") == rows(workdir / "straight")


@pytest.mark.parametrize("where", ["open", "last_epoch", "row", "end"])
def test_a_logger_that_fails_is_named_once_and_left_out(
    where: str, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends well, and the other loggers hear all of it."""

    def fail(*_: object) -> None:
        raise RuntimeError("no server\nat all")

    def open_(run: Logged) -> Session:
        if where == "open":
            fail()
        return type("Failing", (Session,), {where: fail})()

    register(Logger("failing", "a test's", open_))
    memory = remembering()
    result = ncrun("train", *RUN, "logger=[failing,told]", "run_dir=run")
    assert result.status == 0
    assert result.err == "ncrun: run: logger failing failed (RuntimeError: no server); the run goes on without it\n"
    assert epochs(memory) == [0, 1, 2, 3, 4]
    assert memory[-1].state == state(workdir / "run") == "done"


def test_a_run_that_diverges_ends_as_failed(ncrun: Command) -> None:
    memory = remembering()
    assert ncrun("train", *TINY, "optimizer=sgd", "optimizer.lr=1e8", "logger=[told]", "run_dir=run").status == 1
    assert memory[-1].state == "failed"
    assert memory[-1].words.startswith("diverged: ")


def test_runs_together_and_restarts_have_a_session_each(ncrun: Command, workdir: Path) -> None:
    """Free features, also where L-BFGS begins anew."""
    memory = remembering()
    free = ("model=ufm", "counts=[4,2]", "model.width=3", "logger=[told]")
    assert ncrun("train", *free, "optimizer=sgd", "epochs=3", "restarts=2", "run_dir=two").status == 0
    paths = [each.path.name for each in memory if isinstance(each, Logged)]
    assert paths == ["seed-0", "seed-1"]
    assert sorted(epochs(memory)) == [0, 0, 1, 1, 2, 2, 3, 3]
    memory.clear()
    assert ncrun("train", *free, "run_dir=settled").status == 0
    assert epochs(memory) == load_record(workdir / "settled").metrics["epoch"].tolist()
    assert memory[-1].facts["verdict.word"] == "global optimum"


def test_loggers_are_no_part_of_a_run(ncrun: Command, run_of: RunOf) -> None:
    """Neither of its identity, nor a reason to train it again."""
    memory = remembering()
    assert run_of("logger=[told]").identity == run_of().identity
    assert ncrun("train", *TINY).status == 0
    assert "finished already" in ncrun("train", *TINY, "logger=[told]").out
    assert memory == []


def test_bad_loggers_are_refused_before_any_work(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    known = ", ".join(LOGGERS.keys())
    assert refused("train", "logger=[tensorbord]") == (
        f"logger=tensorbord: not one of {known}; did you mean 'tensorboard'?"
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("tensorboard", "wandb", "mlflow"):
        assert refused("train", f"logger=[{name}]") == f"logger={name}: {name} is not installed: pip install {name}"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert refused("train", "logger=[wandb,wandb]") == "logger=[wandb,wandb]: names a logger twice"


def test_the_logger_of_the_documentation_follows_a_run(ncrun: Command, workdir: Path) -> None:
    """Of a file of the user's own."""
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(code) == 1
    (workdir / "my_logger.py").write_text(code[0])
    assert ncrun("train", *RUN, "extend=[my_logger.py]", "logger=[lines]", "run_dir=run").status == 0
    *lines, last = (workdir / "run" / "lines.txt").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1, 2, 3, 4]
    assert last.startswith("done ")


def test_no_logger_is_imported_before_it_is_asked_for() -> None:
    """The registry names them by functions of its own."""
    functions: list[Callable[..., Any]] = [each.open for each in LOGGERS]
    assert {function.__module__ for function in functions} == {"ncrun.loggers"}
