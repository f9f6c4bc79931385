"""The archive of a GPU hour: records of finished runs and measured speeds. Another machine can continue from it."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

from collect_results import files_of, write_archive

from ncrun.cli import run
from ncrun.errors import UserError
from ncrun.records.places import UNREADABLE
from ncrun.records.read import find_records

LARGEST = 16 << 20
BESIDE = ("state.json", "peaks.json", "speed.jsonl", "speed.md", "tests.txt")
RUNS = "runs"


def pack(folder: Path, in_order: Sequence[Path], largest: int = LARGEST) -> tuple[Path, list[Path]]:
    """Writes FOLDER/records.zip of limited size from the finished runs, given by directory, the most valuable first.
    Returns the archive and the runs that did not fit, the least valuable ones."""
    target = folder / "records.zip"
    files = {name: (folder / name).read_bytes() for name in BESIDE if (folder / name).is_file()}
    size, left_out = _packed(files), list[Path]()
    for directory in in_order:
        own = files_of(directory, directory.relative_to(folder).as_posix())
        more = _packed(own)
        if left_out or size + more > largest:  # no less valuable run instead of a more valuable one
            left_out.append(directory)
            continue
        files |= own
        size += more
    write_archive(target, files)
    return target, left_out


def _packed(files: dict[str, bytes]) -> int:
    """An upper estimate of the bytes of these files in an archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return len(buffer.getvalue())


def take_up(archive: Path, folder: Path) -> int:
    """Unpacks an archive, so that its runs are finished here, too; existing files stay. Returns the number of its runs.
    Raises UserError for any other archive."""
    try:
        with zipfile.ZipFile(archive) as packed:
            names = [name for name in packed.namelist() if name in BESIDE or name.startswith(f"{RUNS}/")]
            if not names or any(".." in Path(name).parts for name in names):
                raise UserError(f"--from={archive}: holds no records of a GPU hour")
            for name in names:
                if not (folder / name).exists():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(packed.read(name))
    except UNREADABLE as error:
        raise UserError(f"--from={archive}: is damaged, or not a .zip archive ({error})") from error
    return sum(name.endswith("/manifest.json") for name in names)


def draw(scale: str) -> int:
    """Draws figures and tables of the experiments with finished runs in runs/ into figures/; returns the exit
    status."""
    names = sorted({str(record.manifest["experiment"]) for record in find_records(Path(RUNS))})
    return run(["figures", *names, "--scale", scale, "--from", RUNS, "--out", "figures"]) if names else 0
