"""Which wheels a machine without a network lacks."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import collect_wheels


def test_what_is_missing_brings_what_it_needs() -> None:
    has = {"numpy": "2.5.2", "pyyaml": None, "packaging": None}
    names = [each.split("==")[0] for each in collect_wheels.missing([Requirement("hydra-core>=1.3.8,<1.4")], has)]
    assert names == ["antlr4-python3-runtime", "hydra-core", "omegaconf"]


def test_pip_list_and_pip_freeze_are_read() -> None:
    printed = (
        "Package    Version\n---------- -------\nPyYAML 6.0.3\nscikit_learn  1.9.1 /somewhere\ntorch==2.11.0+cu130\n"
    )
    assert collect_wheels.listed(printed) == {"pyyaml": "6.0.3", "scikit-learn": "1.9.1", "torch": "2.11.0+cu130"}


def test_version_out_of_range_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list").write_text("numpy 1.26.4\ntorch 2.11.0+cu130\n")
    monkeypatch.setattr(collect_wheels, "collect", lambda lacking, out: 0)
    assert collect_wheels.main(["--has", str(tmp_path / "list")]) == 1
    assert capsys.readouterr().err == "wheels: it has numpy 1.26.4, and ncrun needs numpy>=2.0\n"
