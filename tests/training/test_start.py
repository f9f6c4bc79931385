"""What lies between a command and its first step."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ncrun.training.optimisers import plain_step

CODE = """
import sys
from ncrun.cli import run
from ncrun.training import ending
draw, there = ending.draw, []
def drawing(records):
    there.append({"torch._dynamo", "matplotlib"} & set(sys.modules))
    return draw(records)
ending.draw = drawing
sys.exit(run(["train", "epochs=1", "run_dir=run"]) or there != [set()] or "torch._dynamo" in sys.modules)
"""


def test_a_run_imports_neither_compiler_nor_matplotlib_before_it_is_drawn(tmp_path: Path) -> None:
    """Each takes a second or more."""
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=120, cwd=tmp_path)
    assert (tmp_path / "run" / "curves.png").is_file()


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.Adam(parameters, betas=(0.9, 0.95), fused=True),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True),
    ],
)
def test_a_plain_step_is_the_step(make) -> None:
    """The same kernel on the same numbers: to the bit."""
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    plain, wrapped = make([ours]), make([theirs])
    take = plain_step(plain)
    for _ in range(3):
        for parameter in (ours, theirs):
            parameter.grad = torch.cos(3 * parameter.detach())
        take()
        wrapped.step()
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours.detach(), torch.linspace(-1, 1, 7))
