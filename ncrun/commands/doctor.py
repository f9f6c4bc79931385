"""`ncrun doctor`: which parts of ncrun work on this machine, and how to fix the others."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from ncrun import __version__
from ncrun.commands.arguments import Parser, following
from ncrun.data import SOURCES
from ncrun.data.folder import data_folder
from ncrun.data.sources.downloaded import Downloaded
from ncrun.training.cores import available_cores, default_threads, typed_threads

# States of a finding: it works; one optional part does not work; no run works.
GOOD, ABSENT, BROKEN = "ok", "absent", "broken"
MARKS = {GOOD: "ok", ABSENT: "--", BROKEN: "!!"}
# Extras for those who work on ncrun itself, and those that only name others.
UNTOLD = ("dev", "docs", "all", "loggers")


@dataclass(frozen=True)
class Finding:
    """part: what was checked. state: ok, absent or broken. words: what was found. todo: how to fix it; "" if it
    works."""

    part: str
    state: str
    words: str
    todo: str = ""


def doctor(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status (1: something is broken that every run needs). Raises UserError."""
    parser = Parser(
        prog="ncrun doctor",
        description="Check which parts of ncrun work on this machine, and say how to fix the others.",
    )
    parser.add_argument(
        "--data", metavar="FOLDER", help="folder of the data sets, as data_dir=; default: $NCRUN_DATA, else the cache"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(list(arguments))
    folder = data_folder(options.data)
    chapters: dict[str, list[Finding]] = {
        "what every run needs": [*_packages(), _torch(), _runs_folder()],
        "speed": [_device(), _threads()],
        f"data sets in {folder}": list(_data_sets(folder)),
        "optional parts": [*_extras(), _slurm()],
    }
    findings = [each for found in chapters.values() for each in found]
    about = {"version": __version__, "python": sys.version.split()[0]}
    if options.json:
        print(json.dumps(about | {"findings": [asdict(each) for each in findings]}, indent=1))
    else:
        print(f"ncrun {about['version']}, Python {about['python']}, in {Path(__file__).parents[1]}")
        for title, found in chapters.items():
            print(f"\n{title}")
            for each in found:
                _print(each)
    return 1 if any(each.state == BROKEN for each in findings) else 0


def _print(found: Finding) -> None:
    print(f"  {MARKS[found.state]}  {found.part:14} {found.words}")
    if found.todo:
        print(f"  {'':18} {found.todo}")


def completions(word: str, before: str) -> list[str]:
    """Completions for the shell."""
    return following(word, before, {"--data": (), "--json": ()})


def _packages() -> Iterator[Finding]:
    """Whether the packages that ncrun's metadata requires are there."""
    try:
        needed = _required("")
    except PackageNotFoundError:
        yield Finding(
            "packages",
            ABSENT,
            "ncrun is on the path but not installed, so its requirements are not known",
            "pip install .",
        )
        return
    wrong = [words for each in needed if (words := _wrong(each))]
    if wrong:
        yield Finding("packages", BROKEN, "; ".join(wrong), "pip install --upgrade ncrun, or make in a checkout")
    else:
        yield Finding("packages", GOOD, f"all {len(needed)} are installed in versions that fit")


def _required(extra: str) -> list[Requirement]:
    """The requirements of ncrun with this extra, from its metadata; "": with none. Raises PackageNotFoundError."""
    needed = map(Requirement, requires("ncrun") or ())
    return [each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})]


def _wrong(needed: Requirement) -> str:
    """What is wrong with an installed package; "" if nothing is."""
    try:
        found = version(needed.name)
    except PackageNotFoundError:
        return f"{needed.name} is not installed"
    return (
        "" if needed.specifier.contains(found, prereleases=True) else f"{needed.name} {found} is not {needed.specifier}"
    )


def _torch() -> Finding:
    """Tries a matrix product, and torchvision's operators, which fail if the two come from different builds."""
    try:
        import torch
        import torchvision

        torch.eye(2) @ torch.eye(2)
        words = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    except Exception as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        return Finding("torch", BROKEN, said, "install torch and torchvision in one command from one index")
    return Finding("torch", GOOD, words)


def _runs_folder() -> Finding:
    """Whether runs/ can be written."""
    nearest = next(each for each in (Path("runs").absolute(), *Path("runs").absolute().parents) if each.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        return Finding(
            "records", BROKEN, f"{nearest} is not writable", "train in another folder, or set run_dir=FOLDER"
        )
    return Finding(
        "records", GOOD, f"go to {Path('runs').absolute()}; {shutil.disk_usage(nearest).free / 2**30:.0f} GiB are free"
    )


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        return Finding("device", GOOD, f"CUDA {torch.version.cuda}: {', '.join(names)}")
    if torch.version.cuda is None:
        return Finding("device", GOOD, "the CPU; this PyTorch is built without CUDA")
    if shutil.which("nvidia-smi"):
        todo = "compare the driver's CUDA version in nvidia-smi with PyTorch's"
        return Finding(
            "device",
            ABSENT,
            f"the CPU: PyTorch for CUDA {torch.version.cuda} finds no device, although nvidia-smi is installed",
            todo,
        )
    return Finding("device", GOOD, f"the CPU; PyTorch for CUDA {torch.version.cuda} finds no device")


def _threads() -> Finding:
    typed = "set by OMP_NUM_THREADS" if typed_threads() else "threads=N changes it"
    return Finding("threads", GOOD, f"{default_threads()} of {available_cores()} cores for a network, {typed}")


def _data_sets(folder: Path) -> Iterator[Finding]:
    """Whether all files are there. Their content is checked when they are read."""
    try:
        from torchvision import datasets
    except Exception:
        return  # reported above
    for source in SOURCES:
        if not isinstance(source, Downloaded):
            continue
        base = source.base(folder)
        names = list(source.sums(getattr(datasets, source.of_torchvision)))
        lacking = [name for name in names if not (base / name).is_file()]
        if lacking and len(lacking) < len(names):
            yield Finding(source.name, ABSENT, f"lacks {', '.join(lacking)}", f"put {source.layout} there")
        elif lacking or not base.is_dir():
            todo = f"is downloaded when it is first used; without a network put {source.layout} there"
            yield Finding(source.name, ABSENT, "not there", todo)
        else:
            yield Finding(source.name, GOOD, f"in {base}")


def _extras() -> Iterator[Finding]:
    """Every extra in ncrun's metadata, and its missing packages."""
    try:
        extras, always = metadata("ncrun").get_all("Provides-Extra") or [], _required("")
    except PackageNotFoundError:
        return
    for extra in extras:
        if extra in UNTOLD:
            continue
        of_it = [each for each in _required(extra) if each not in always]
        wrong = [words for each in of_it if (words := _wrong(each))]
        if wrong:
            yield Finding(extra, ABSENT, "; ".join(wrong), f"pip install 'ncrun[{extra}]'")
        else:
            yield Finding(extra, GOOD, ", ".join(f"{each.name} {version(each.name)}" for each in of_it))


def _slurm() -> Finding:
    if shutil.which("sbatch"):
        return Finding("sbatch", GOOD, "this machine submits to Slurm: hydra/launcher=slurm")
    return Finding("sbatch", ABSENT, "no Slurm on this machine: sweeps run here, jobs=N at a time")
