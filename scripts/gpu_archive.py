"""What a GPU hour leaves behind, in one archive that travels: records of finished runs, and what was measured beside
them. Another machine continues from it."""

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
    """Write FOLDER/records.zip of at most so many bytes from the finished runs, given by directory, the most worthy
    first. Returns the archive and the runs that stayed out, those of least worth."""
    target = folder / "records.zip"
    files = {name: (folder / name).read_bytes() for name in BESIDE if (folder / name).is_file()}
    size, left_out = _packed(files), list[Path]()
    for directory in in_order:
        own = files_of(directory, directory.relative_to(folder).as_posix())
        more = _packed(own)
        if left_out or size + more > largest:  # none of less worth in place of one of more
            left_out.append(directory)
            continue
        files |= own
        size += more
    write_archive(target, files)
    return target, left_out


def _packed(files: dict[str, bytes]) -> int:
    """The bytes that these files take in an archive, and a little more."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return len(buffer.getvalue())


def take_up(archive: Path, folder: Path) -> int:
    """Lay out what an archive holds, so that it is done here, too; what is there already stays. Returns how many runs
    it holds. Raises UserError for what is no such archive."""
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
        raise UserError(f"--from={archive}: is damaged, or no .zip archive ({error})") from error
    return sum(name.endswith("/manifest.json") for name in names)


def draw(scale: str) -> int:
    """Figures and tables of the experiments with finished runs in runs/, into figures/; returns the exit status."""
    names = sorted({str(record.manifest["experiment"]) for record in find_records(Path(RUNS))})
    return run(["figures", *names, "--scale", scale, "--from", RUNS, "--out", "figures"]) if names else 0
