"""`ncrun doctor`: what it finds is what is there."""

import json
from importlib import metadata
from pathlib import Path

import pytest
from conftest import Command

from ncrun.commands import doctor
from ncrun.data.sources.mnist import MNIST

Patch = pytest.MonkeyPatch


def findings(ncrun: Command, *options: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = ncrun("doctor", "--json", *options)
    return result.status, {each["part"]: each for each in json.loads(result.out)["findings"]}


def test_data_sets_are_told_apart_by_their_files(ncrun: Command, workdir: Path) -> None:
    """One that is whole, one that lacks a file, and one that is not there."""
    for name in MNIST.idx_md5:
        for folder in ("MNIST", "FashionMNIST"):
            (workdir / "data" / folder / "raw").mkdir(parents=True, exist_ok=True)
            (workdir / "data" / folder / "raw" / name).touch()
    (workdir / "data" / "FashionMNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    status, found = findings(ncrun, "--data", "data")
    assert status == 0
    assert [found[name]["state"] for name in ("mnist", "fashion_mnist", "cifar10")] == ["ok", "absent", "absent"]
    assert found["fashion_mnist"]["words"] == "lacks t10k-labels-idx1-ubyte"


def test_a_package_out_of_range_is_broken_and_one_of_an_extra_is_absent(
    ncrun: Command, workdir: Path, monkeypatch: Patch
) -> None:
    def version(name: str) -> str:
        if name == "submitit":
            raise metadata.PackageNotFoundError(name)
        return {"scipy": "0.1"}.get(name) or metadata.version(name)

    monkeypatch.setattr(doctor, "version", version)
    status, found = findings(ncrun)
    assert status == 1
    assert found["packages"]["state"] == "broken"
    assert found["packages"]["words"].startswith("scipy 0.1 is not ")
    assert found["slurm"] | {"words": ""} == {
        "part": "slurm",
        "state": "absent",
        "words": "",
        "todo": "pip install 'ncrun[slurm]'",
    }


def test_records_that_cannot_be_written_are_broken(ncrun: Command, workdir: Path) -> None:
    """A file of the folder's name stands for whatever keeps a user from writing there; root may write everywhere."""
    (workdir / "runs").touch()
    status, found = findings(ncrun)
    assert status == 1
    assert found["records"]["state"] == "broken"
    text = ncrun("doctor")
    assert "train in another folder" in text.out
    assert text.status == 1
