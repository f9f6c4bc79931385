"""Runs in .zip archives: read in place as the folders that they were, and refused in one line where damaged."""

import json
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
from conftest import Command, Refused, write_run

from ncrun.errors import UserError
from ncrun.records import places
from ncrun.records.groups import gather
from ncrun.records.read import find_records

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)


def packed(folder: Path, archive: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(archive, "w", method) as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in range(2):
        write_run(tmp_path / "runs" / f"seed-{seed}", [{"epoch": 0}, {"epoch": 3, "loss": 0.1}], seed=seed)
    return tmp_path / "runs"


@pytest.mark.parametrize("method", METHODS)
def test_archive_reads_as_its_folder(method: int, runs: Path, tmp_path: Path) -> None:
    folders, archived = gather([runs]), gather([packed(runs, tmp_path / "a.zip", method)])
    assert [record.path for record in archived] == [tmp_path / "a.zip" / f"seed-{seed}" for seed in range(2)]
    for folder, record in zip(folders, archived, strict=True):
        assert (record.config, record.manifest, record.theory) == (folder.config, folder.manifest, folder.theory)
        assert record.metrics.equals(folder.metrics)


def test_folder_that_holds_archives_beside_runs_and_other_zips(runs: Path) -> None:
    packed(runs / "seed-1", runs / "z.zip")
    shutil.rmtree(runs / "seed-1")
    with zipfile.ZipFile(runs / "photos.zip", "w") as file:
        file.writestr("a.png", b"")
    assert [record.path for record in find_records(runs)] == [runs / "seed-0", runs / "z.zip"]


def test_table_and_plot_of_an_archive(runs: Path, workdir: Path, ncrun: Command) -> None:
    packed(runs, workdir / "a.zip")
    assert ncrun("table", "a.zip", "--columns", "loss").out.splitlines()[-1].split() == ["2", "0.1", "±", "0"]
    assert ncrun("plot", "a.zip", "y=loss").status == 0


def test_what_is_no_archive(workdir: Path, refused: Refused) -> None:
    (workdir / "a.zip").write_bytes(b"PK" + bytes(100))
    (workdir / "empty.zip").write_bytes(b"PK\5\6" + bytes(18))
    assert refused("table", "a.zip").startswith("a.zip: is damaged, or not a .zip archive")
    assert refused("table", "empty.zip") == "empty.zip: holds no run"


def test_size_is_refused_before_anything_is_inflated(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(runs, tmp_path / "a.zip")
    monkeypatch.setattr(places, "LARGEST", 100)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("was opened"))
    with pytest.raises(UserError, match=r"a\.zip/seed-0/manifest\.json: has .* MB"):
        find_records(archive)


def test_size_that_is_a_lie(tmp_path: Path) -> None:
    """A member of a megabyte that says it has ten bytes: no more than these is believed, and its checksum is wrong."""
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("run/manifest.json", b" " * (1 << 20))
    size = struct.pack("<L", 1 << 20)
    archive.write_bytes(archive.read_bytes().replace(size, struct.pack("<L", 10)))
    with pytest.raises(UserError, match="is damaged in its archive"):
        find_records(archive)


def test_encrypted_member(runs: Path, tmp_path: Path) -> None:
    archive = packed(runs, tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := content.find(mark, at + 1)) >= 0:
            content[at + flags] |= places.ENCRYPTED
    archive.write_bytes(bytes(content))
    with pytest.raises(UserError, match="is encrypted"):
        find_records(archive)


def test_damaged_record_in_an_archive_is_named(runs: Path, tmp_path: Path) -> None:
    theory = runs / "seed-1" / "theory.json"
    theory.write_text(json.dumps(json.loads(theory.read_text()) | {"classes": []}))
    with pytest.raises(UserError, match=r"a\.zip/seed-1/theory\.json: is not what a run writes: classes"):
        gather([packed(runs, tmp_path / "a.zip")])
