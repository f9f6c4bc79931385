"""Packs experiments' finished runs from runs/ into results/, one archive for each paper and scale, and redraws figures.

An archive holds the runs' records without checkpoints and pictures, EXPERIMENT/RUN/FILE. Older runs of these
experiments are replaced; with --add they stay, for further seeds. Measured numbers are rounded to DIGITS significant
digits, which more than halves the records. The same runs give the same bytes. Each run is sealed with the checksums of
its files in the archive. Figures and tables of the papers at these scales are drawn again, and the figure of all runs;
those that a README shows are kept. Then scripts/write_results.py writes the page about them.

.venv/bin/python scripts/collect_results.py [--add] [RUNS [RESULTS]]
.venv/bin/python scripts/collect_results.py --seal ARCHIVE...    only seal finished runs that have no seal
"""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ncrun.cli import run
from ncrun.commands.figures import drawn_experiments
from ncrun.config.experiments import recipe
from ncrun.records import seal, snapshots
from ncrun.records.files import as_json, write_aside
from ncrun.records.read import Record, find_records

KEPT = ("config.yaml", "manifest.json", "problem.json", "theory.json")
MEASURED = ("geometry.json", "metrics.jsonl")
DIGITS = 7
# The earliest time in a zip file, because the time of packing does not matter.
DATE = (1980, 1, 1, 0, 0, 0)
READABLE_BY_ALL = 0o100644 << 16
# A figure on the page of results has its whole caption below, and is not printed.
PICTURE = ("--caption", "--format", "png")
# Files that a README shows or links to, relative to it.
SHOWN = re.compile(r"\]\(([\w./-]+\.(?:png|md))\)")


def main(runs: Path, results: Path, adds: bool = False) -> int:
    """Returns the exit status of the drawing."""
    status = draw(results, collect(runs, results, adds))

    import results_claim  # imports matplotlib, which other users of this file do not need

    results_claim.draw(results)
    return status


def collect(runs: Path, results: Path, adds: bool = False) -> list[tuple[str, str]]:
    """Writes the archives, and returns their papers and scales. adds: keep the older runs of these experiments."""
    collected: dict[tuple[str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in find_records(runs):
        if record.manifest["experiment"] is not None:
            paper, _, name = record.manifest["experiment"].partition("/")
            collected[paper, record.manifest["scale"]][name].append(record)
            print(f"{record.path}: {record.manifest['summary']}")
    for (paper, scale), experiments in collected.items():
        archive = results / f"{paper}-{scale}.zip"
        there = unpacked(archive) if archive.is_file() else {}
        kept = {name: content for name, content in there.items() if adds or name.split("/")[0] not in experiments}
        for experiment, records in experiments.items():
            for record in records:
                name = f"{experiment}/{record.path.relative_to(runs)}"
                kept = {each: content for each, content in kept.items() if not each.startswith(f"{name}/")}
                kept |= files_of(record.path, name, "collapse-seen" in recipe(f"{paper}/{experiment}").figures)
        write_archive(archive, kept)
    return sorted(collected)


def files_of(folder: Path, name: str, is_seen: bool = False) -> dict[str, bytes]:
    """A run's records by their names in an archive. is_seen: with its snapshots, which are large, because they are drawn."""
    wanted = (*KEPT, snapshots.NAME) if is_seen else KEPT
    found = {file: (folder / file).read_bytes() for file in wanted if (folder / file).is_file()}
    found |= {file: rounded(folder / file) for file in MEASURED if (folder / file).is_file()}
    return {f"{name}/{file}": content for file, content in sealed(found).items()}


def sealed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """A finished run's files with a manifest that seals them."""
    manifest = json.loads(files["manifest.json"])
    digests = {name: hashlib.sha256(files[name]).hexdigest() for name in seal.FILES if name in files}
    return {**files, "manifest.json": as_json({**manifest, "seal": seal.made_of(manifest, digests)}).encode()}


def seal_archive(path: Path) -> None:
    """Seals the finished runs of an archive that have no seal yet; all other files stay unchanged."""
    files = unpacked(path)
    for name in [name for name in files if PurePosixPath(name).name == "manifest.json"]:
        manifest, folder = json.loads(files[name]), PurePosixPath(name).parent
        if manifest["state"] == "done" and "seal" not in manifest:
            here = {PurePosixPath(each).name: files[each] for each in files if PurePosixPath(each).parent == folder}
            files[name] = sealed(here)["manifest.json"]
    write_archive(path, files)


def rounded(path: Path) -> bytes:
    """A file of JSON lines, or one of a single document, with shorter numbers."""
    text = path.read_text()
    documents = text.splitlines() if path.suffix == ".jsonl" else [text]
    shortened = (
        json.loads(each, parse_float=lambda number: float(f"{float(number):.{DIGITS}g}")) for each in documents
    )
    return "".join(json.dumps(each) + "\n" for each in shortened).encode()


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_archive(path: Path, files: Mapping[str, bytes]) -> None:
    """The same files give the same bytes. LZMA, which Python can read but `unzip` cannot, saves a quarter."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, DATE)
            info.external_attr = READABLE_BY_ALL
            archive.writestr(info, files[name], zipfile.ZIP_LZMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda file: file.write(buffer.getbuffer()))


def draw(results: Path, touched: Sequence[tuple[str, str]]) -> int:
    """All figures and the table of these papers at these scales: a table has all experiments, also those that were
    there before."""
    there = {(record.manifest["experiment"] or "", record.manifest["scale"]) for record in find_records(results)}
    status, drawn = 0, drawn_experiments()
    with tempfile.TemporaryDirectory() as folder:
        for paper, scale in touched:
            # The head of frozen-head has no figure.
            names = sorted(each for each, its in there if each in drawn and (each.split("/")[0], its) == (paper, scale))
            status |= run(["figures", *names, "--scale", scale, "--from", str(results), "--out", folder, *PICTURE])
        for file in shown(results):
            if (Path(folder) / file).is_file():
                (results / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(folder) / file, results / file)
    return status


def shown(results: Path) -> set[Path]:
    """The files that the README beside the results, the one above and the pages of docs/ show, relative to the results."""
    root = results.absolute().parent
    found = set()
    for page in (root / results.name / "README.md", root / "README.md", *root.glob("docs/**/*.md")):
        named = (Path(os.path.normpath(page.parent / name)) for name in SHOWN.findall(page.read_text(encoding="utf-8")))
        found |= {path.relative_to(root / results.name) for path in named if path.is_relative_to(root / results.name)}
    return found


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seal"]:
        for archive in map(Path, sys.argv[2:]):
            seal_archive(archive)
        sys.exit(0)
    arguments = [Path(argument) for argument in sys.argv[1:] if argument != "--add"]
    runs, results = arguments + [Path("runs"), Path("results")][len(arguments) :]
    sys.exit(main(runs, results, adds="--add" in sys.argv[1:]))
