"""Input that fuzzing found: lists of no plain values, experiment files that are no text."""

from pathlib import Path

import pytest
from conftest import Refused


@pytest.mark.parametrize(
    "typed", ["counts=[{x:1},50]", "counts=[[1],2]", "optimizer.betas=[{x:1},0.9]", "taps=[{x:1}]"]
)
def test_list_of_what_is_no_plain_value(typed: str, refused: Refused) -> None:
    model = "model=ufm" if typed.startswith("counts") else "model=mlp"
    assert refused("theory", model, typed).startswith(typed.split("=")[0])


def test_experiment_file_that_is_no_text(workdir: Path, refused: Refused) -> None:
    (workdir / "own" / "experiment").mkdir(parents=True)
    for content in (b"epochs: 3 \xe9", b"epochs: [3", b"a: &a [*a]"):
        (workdir / "own" / "experiment" / "mine.yaml").write_bytes(content)
        refused("theory", "--config-dir", "own", "experiment=mine")
