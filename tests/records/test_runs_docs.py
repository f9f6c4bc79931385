"""docs/runs.md: what it shows is typed, and answered as it says."""

import re
from itertools import zip_longest
from pathlib import Path

import pytest
from conftest import Command

BLOCKS = re.findall(r"```\n(.*?)```", (Path(__file__).parents[2] / "docs" / "runs.md").read_text(), re.DOTALL)


def is_same(shown: str, found: str) -> bool:
    """Numbers that are zero but for rounding, and how many iterations it takes to get there, are other ones on another
    machine; the others are the optimum's, to three digits."""
    if shown == found:
        return True
    try:
        one, other = float(shown), float(found)
    except ValueError:
        return False
    if shown.isdecimal() and found.isdecimal():
        return one < 3 * other < 9 * one
    return max(abs(one), abs(other)) < 1e-6 or other == pytest.approx(one, rel=0.02)


def test_examples_print_what_they_show(ncrun: Command, workdir: Path, undrawn: None) -> None:
    command = next(block for block in BLOCKS if block.startswith("ncrun train -m"))
    assert ncrun(*command.split()[1:]).status == 0
    shown = [block for block in BLOCKS if block.startswith("$ ")]
    assert len(shown) == 3
    for block in shown:
        line, _, answer = block.removeprefix("$ ").partition("\n")
        result = ncrun(*line.split()[1:])
        assert (result.status, result.err) == (0, "")
        wanted, found = (re.sub(r"about \S+ \w+", "about TIME", each).split() for each in (answer, result.out))
        assert all(is_same(*pair) for pair in zip_longest(wanted, found, fillvalue="")), result.out
