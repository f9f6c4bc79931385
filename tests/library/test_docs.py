"""docs/python.md and docs/regression.md: their blocks of code, one after the other, as a reader would paste them."""

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.S)


def test_every_block_runs(workdir: Path, undrawn: None, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {}
    for block in blocks("python.md"):
        exec(block, found)
    assert found["predicted"].claim == "proven"
    assert (workdir / "predicted.png").is_file()
    assert found["found"].theory["claim"] == "certified"
    assert found["run"].summary.startswith("global optimum")
    for key in ("nc1", "nc2_w", "gap"):  # the optimum to 1e-8, measured twice from the same float64 numbers
        assert found["again"].metrics[key] == pytest.approx(found["run"].metrics[key].iloc[-1], rel=1e-9, abs=1e-12)
    assert capsys.readouterr().out.startswith("4 classes, 400 samples, linear head of depth 3")


def test_targets() -> None:
    found: dict[str, Any] = {}
    for block in blocks("regression.md"):
        exec(block, found)
    assert found["predicted"].claim == "proven"
    assert found["predicted"].table()["lost"].tolist() == [False, False, True]
