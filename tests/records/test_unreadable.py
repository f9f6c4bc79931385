"""Records and data that the system does not let one read, or that are larger than any run writes: one line each."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Refused, write_run

from ncrun.records import places, read


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that may not be opened, as the system tells others than root, who runs these tests where a
    container does."""
    names: list[str] = []
    opened = Path.open

    def refusing(self: Path, *rest: Any, **more: Any) -> Any:
        if self.name in names:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *rest, **more)

    monkeypatch.setattr(Path, "open", refusing)
    return names


def line_of(ncrun: Command, *typed: str) -> str:
    """What a refusal says; the folder is not looked at before and after, for it cannot be."""
    result = ncrun(*typed)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    return result.err.removeprefix("ncrun: ").strip()


FILES = ["manifest.json", "config.yaml", "theory.json", "metrics.jsonl"]


@pytest.mark.parametrize("name", FILES)
def test_records_that_may_not_be_read(name: str, unreadable: list[str], ncrun: Command, workdir: Path) -> None:
    write_run(workdir / "run", [{"epoch": 1}])
    unreadable.append(name)
    for command in (["table", "run"], ["plot", "run", "y=nc1"]):
        assert line_of(ncrun, *command) == f"run/{name}: cannot be read (Permission denied)"


def test_a_head_that_may_not_be_read(unreadable: list[str], ncrun: Command, workdir: Path) -> None:
    write_run(workdir / "run", [{"epoch": 1}])
    unreadable.append("manifest.json")
    assert line_of(ncrun, "theory", "head.frozen=run") == "run/manifest.json: cannot be read (Permission denied)"


def test_arrays_and_code_that_may_not_be_read(unreadable: list[str], ncrun: Command, workdir: Path) -> None:
    unreadable.append("own.npz")
    (workdir / "own.npz").touch()
    assert line_of(ncrun, "measure", "own.npz") == "own.npz: cannot be read (Permission denied)"
    assert line_of(ncrun, "theory", "dataset=npz", "dataset.path=own.npz").endswith(
        "cannot be read (Permission denied)"
    )


def test_what_the_file_system_refuses_is_no_fault_of_ncrun(
    refused: Refused, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(folder: Path, states: object) -> None:
        raise OSError(5, "Input/output error", "run/manifest.json")

    monkeypatch.setattr("ncrun.records.groups.find_records", refusing)
    (workdir / "run").mkdir()
    assert refused("table", "run") == "run/manifest.json: Input/output error"


def test_records_that_no_run_writes(refused: Refused, workdir: Path) -> None:
    """Of too many bytes, or of few that stand for gigabytes."""
    write_run(workdir / "run", [{"epoch": 1}])
    config = workdir / "run" / "config.yaml"
    whole = config.read_bytes()
    config.write_bytes(whole + b"#" * (1 << 20))
    assert refused("table", "run") == "run/config.yaml: has 1 MB; a file of a run has at most 1 MB"
    config.write_bytes(whole)
    (workdir / "run" / "theory.json").write_bytes(b"[" + b"[]," * read.MOST_PARTS + b"[]]")
    assert refused("table", "run") == "run/theory.json: is not what a run writes: it has too many parts"


def test_an_archive_of_sizes_that_no_run_has(refused: Refused, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "LARGEST", 1 << 20)
    with zipfile.ZipFile(workdir / "runs.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run/manifest.json", b" " * (2 << 20))
    assert "has 2 MB; a file of a run" in refused("table", "runs.zip")
