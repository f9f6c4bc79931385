"""results/README.md is what the recorded runs say: its seal tells when not, and writing it anew changes nothing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import write_results
from results_numbers import number, percent, span

README = write_results.README


def test_seal_notices_a_changed_number_and_changed_records(monkeypatch: pytest.MonkeyPatch) -> None:
    text = README.read_text(encoding="utf-8")
    assert write_results.is_up_to_date(text)
    assert not write_results.is_up_to_date(text.replace("330 to 390", "9 to 26", 1))
    assert not write_results.is_up_to_date(text + "more\n")
    monkeypatch.setattr(write_results, "SOURCES", (*write_results.SOURCES, "README.md"))
    assert not write_results.is_up_to_date(text)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (0.28, "0.28"),
        (9.96, "10"),
        (0.0996, "0.10"),
        (8123, "8100"),
        (1.2345e4, "1.2e4"),
        (3.14e-6, "3.1e-6"),
    ],
)
def test_numbers_have_two_digits(value: float, words: str) -> None:
    assert number(value) == words
    assert number(-value) == (f"-{words}" if value else "0")
    assert percent(value / 100) == f"{words} %"
    assert span([value, None, value]) == words


def test_a_range_is_that_of_all_runs() -> None:
    assert span([3.0, 9.0, 26.4]) == "3.0 to 26"
    assert span([0.206, 0.199], percent) == "20 to 21 %"


@pytest.mark.slow
def test_page_is_what_the_records_say() -> None:
    assert README.read_text(encoding="utf-8") == write_results.written()
