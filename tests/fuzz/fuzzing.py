"""What all tests of malformed input share: how many examples, damage to bytes and to trees, and runs to be damaged.

Every example ends in success or in the one line that users are shown; any other exception fails its test, and so does
an example that takes longer than LONGEST_S. What a success has to satisfy stands in each test. The suite runs a few
fixed examples of each kind; `make torture` runs NCRUN_FUZZ times as many, new ones each time, and prints their numbers.
"""

import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest
from conftest import TINY, run_command
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from ncrun.config import experiments
from ncrun.config.planning import job_of
from ncrun.run import Job, Run
from ncrun.training.evaluate import Evaluator

FACTOR = int(os.environ.get("NCRUN_FUZZ", "1"))
LONGEST_S = 20.0
TRIED: Counter[str] = Counter()
RUN = (*TINY, "epochs=4", "batch_size=13")
FREE = ("model=ufm", "counts=[4,2]", "model.width=4", "decay.weight=1e-2", "decay.feature=1e-2", "epochs=30")
Data = st.DataObject


def examples(number: int) -> Callable[[Any], Any]:
    """So many in the suite. Without hypothesis' deadline: this machine may be busy, and `within_time` sees hangs."""
    return settings(
        max_examples=number * FACTOR,
        derandomize=FACTOR == 1,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),  # a failure prints what it failed on; shrinking it takes minutes
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def within_time(kind: str, longest_s: float = LONGEST_S) -> Iterator[None]:
    """Counts an input of this kind, and fails if what is done with it hangs."""

    def late(number: int, frame: FrameType | None) -> NoReturn:
        pytest.fail(f"{kind}: takes longer than {longest_s} s")

    TRIED[kind] += 1
    previous = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, longest_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="module", autouse=True)
def numbers() -> Iterator[None]:
    """Of a file's inputs, printed at its end."""
    yield
    if FACTOR > 1:
        print("\n\n" + "\n".join(f"{kind:36}{number:7}" for kind, number in TRIED.items()))
        print(f"{'inputs in all':36}{sum(TRIED.values()):7}")
    TRIED.clear()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that is the current one for all tests here."""
    folder, before = tmp_path_factory.mktemp("fuzz"), Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def interrupted(place: Path) -> Path:
    """A network's run, stopped at its second measurement, with two checkpoints; the newer one knows one row more."""
    measure, calls = Evaluator.__call__, iter(range(99))

    def stopping(self: Evaluator, network: Any, *rest: Any) -> dict[str, Any]:
        if next(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return measure(self, network, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr(Evaluator, "__call__", stopping)
        assert run_command("train", *RUN, "run_dir=network").status == 128 + signal.SIGTERM
    return place / "network"


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    """A finished run of free features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.training.ending.draw", lambda records: True)
        assert run_command("train", *FREE, "run_dir=free").status == 0
    return place / "free"


@cache
def composed(overrides: tuple[str, ...]) -> Run:
    """A run's configuration, composed once: that takes longer than what is tried on it."""
    return job_of(overrides).runs[0]


@contextlib.contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with another content, for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes flipped, cut off, zeroed, inserted, removed, exchanged, or altogether others."""
    how = draw(st.sampled_from(["flip", "cut", "zero", "insert", "remove", "exchange", "other"]))
    if how == "other":
        return draw(st.binary(max_size=200))
    start = draw(st.integers(0, len(content) - 1))
    end = min(len(content), start + draw(st.integers(1, 40)))
    if how == "flip":
        return content[:start] + bytes([content[start] ^ 1 << draw(st.integers(0, 7))]) + content[start + 1 :]
    middle = {
        "cut": lambda: None,
        "zero": lambda: bytes(end - start),
        "insert": lambda: draw(st.binary(min_size=1, max_size=40)) + content[start:end],
        "remove": lambda: b"",
        "exchange": lambda: draw(st.binary(min_size=end - start, max_size=end - start)),
    }[how]()
    return content[:start] if middle is None else content[:start] + middle + content[end:]


JUNK = st.one_of(
    st.sampled_from([None, True, False, -1, 0, 1, 3, 2**70, 0.5, -1e308, "", "x", "done", "1e400"]),
    st.sampled_from([[], [None], ["x"], [[1]], [1, 2], [1.0] * 20, {}, {"x": 1}]),
)


@st.composite
def altered(draw: st.DrawFn, tree: Any, junk: st.SearchStrategy[Any] = JUNK) -> Any:
    """A tree of dicts and lists with one entry of any depth deleted, renamed, or put another thing in its place."""
    whole = here = deepcopy(tree)
    while True:
        if isinstance(here, dict):
            key = draw(st.sampled_from(sorted(here, key=str)))
        else:
            key = draw(st.integers(0, len(here) - 1))
        below = here[key]
        if isinstance(below, dict | list) and below and draw(st.integers(0, 3)):
            here = below
            continue
        how = draw(st.sampled_from(["delete", "replace", "replace", "replace"]))
        if how == "delete":
            del here[key]
        else:
            here[key] = draw(junk)
        return whole


def changed_file(data: Data, path: Path) -> bytes:
    """Its bytes damaged, or another thing in one place of what it says."""
    content = path.read_bytes()
    if data.draw(st.booleans()):
        return data.draw(damaged(content))
    if path.name == "metrics.jsonl":
        lines = content.splitlines()
        number = data.draw(st.integers(0, len(lines) - 1))
        lines[number] = json.dumps(data.draw(altered(json.loads(lines[number])))).encode()
        return b"".join(line + b"\n" for line in lines)
    tree = OmegaConf.to_container(OmegaConf.load(path)) if path.suffix == ".yaml" else json.loads(content)
    return json.dumps(data.draw(altered(tree))).encode()  # JSON is YAML


def ask_theory(*overrides: str) -> Job | None:
    """`ncrun theory` up to what it would predict; None if it was refused, in one line, with status 2."""
    found: list[Job] = []
    experiments.recipe.cache_clear()  # as a new process would
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ncrun.commands.theory._predict", lambda job, *_: found.append(job) or 0)
        result = run_command("theory", *overrides)
    assert "Traceback" not in result.err
    if result.status != 0:
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith("ncrun: ")
        assert len(result.err.splitlines()) == 1
        assert not found
        return None
    assert result.err == ""
    return found[0] if found else None
