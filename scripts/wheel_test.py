"""`make wheel-test`: tests ncrun installed without a checkout, for every supported Python.

    python scripts/wheel_test.py [--python 3.11 --python 3.12 --python 3.13] [--keep FOLDER]

Builds the source distribution and the wheel from it. For each Python it installs the wheel with its extra `report` and
the versions of constraints.txt into an empty environment, and runs a user's first commands in a folder outside the
checkout: doctor, train, theory, plot, figures of a finished run, report, verify, completion, and the Python interface.
A Python that is not on this machine is named and skipped. Exit status 1 if anything failed, or if there was no Python.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
TINY = ["model.depth=1", "model.width=8", "epochs=3", "progress=false", "threads=1"]
PYTHON_INTERFACE = (
    "import ncrun; assert ncrun.load('runs/a').theory['claim'] == 'proven'; assert len(ncrun.runs('runs'))"
)
DAY = {
    "doctor": ["ncrun", "doctor"],
    "train": ["ncrun", "train", *TINY, "run_dir=runs/a"],
    "train, an experiment": [
        "ncrun",
        "train",
        "experiment=dang2023/mlp-imbalanced",
        "scale=cpu",
        *TINY,
        "finish=null",
        "run_dir=runs/b",
    ],
    "a sweep of two": ["ncrun", "train", "-m", *TINY, "seed=1,2", "jobs=2"],
    "theory": ["ncrun", "theory", "imbalance=0.1"],
    "figures": ["ncrun", "figures", "--list"],
    "a figure from theory": ["ncrun", "figures", "theory/etf-map", "--out", "drawn"],
    "plot": ["ncrun", "plot", "runs/a", "y=nc1", "out=plot.png"],
    "plot, a kind": ["ncrun", "plot", "runs/a", "kind=convergence", "out=kind.png"],
    "table": ["ncrun", "table", "runs"],
    "runs": ["ncrun", "runs"],
    "report": ["ncrun", "report", "runs", "--out", "report.html"],
    "verify": ["ncrun", "verify", "runs"],
    "completion": ["ncrun", "-sc", "install=bash"],
    "python": ["python", "-c", PYTHON_INTERFACE],
}
MADE = ("plot.png", "kind.png", "report.html", "runs/a/curves.png", "drawn")
# Files that a wheel must contain besides code, and files that it must not.
HELD = ("ncrun/configs/train.yaml", "ncrun/configs/experiment/dang2024/mlp.yaml", "ncrun/figures/ncrun.mplstyle")
STRANGE = ("tests/", "results/", "scripts/", "docs/")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="test ncrun from its wheel, in a separate environment for each Python")
    parser.add_argument(
        "--python", action="append", default=[], metavar="VERSION", help=f"default: {', '.join(PYTHONS)}"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder in which the two distributions are kept")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ncrun-wheel-") as scratch:
        wheel = _build(options.keep or Path(scratch) / "dist")
        _check_content(wheel)
        tried = [_try(version, wheel, Path(scratch) / version) for version in options.python or PYTHONS]
    done = [each for each in tried if each is not None]
    return 0 if done and all(done) else 1


def _build(folder: Path) -> Path:
    """The wheel, built from the source distribution like on an index."""
    _run([_uv(), "build", "--quiet", "--out-dir", str(folder.resolve()), str(ROOT)])
    for file in sorted(folder.glob("ncrun-*")):
        print(f"{file.name}: {file.stat().st_size / 2**20:.2f} MiB")
    return next(folder.resolve().glob("ncrun-*.whl"))


def _check_content(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    lacking = [name for name in HELD if name not in names]
    strange = [name for name in names if name.startswith(STRANGE)]
    if lacking or strange:
        sys.exit(f"wheel-test: the wheel lacks {lacking}, and holds {strange[:3]}")


def _try(version: str, wheel: Path, folder: Path) -> bool | None:
    """Whether all commands work; None if that Python is not on this machine."""
    found = subprocess.run([_uv(), "python", "find", "--no-python-downloads", version], capture_output=True, text=True)
    if found.returncode:
        print(f"Python {version}: not on this machine, skipped")
        return None
    began = time.monotonic()
    _run([_uv(), "venv", "--quiet", "--python", found.stdout.strip(), str(folder / "venv")])
    python = folder / "venv" / "bin" / "python"
    install = [
        _uv(),
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "--constraints",
        str(ROOT / "constraints.txt"),
    ]
    _run([*install, f"{wheel}[report]"])
    print(f"Python {version}: installed in {time.monotonic() - began:.0f} s")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables["PATH"] = f"{folder / 'venv' / 'bin'}{os.pathsep}{variables['PATH']}"
    good = True
    for name, command in DAY.items():
        began = time.monotonic()
        program = folder / "venv" / "bin" / command[0]
        done = subprocess.run(
            [str(program), *command[1:]], cwd=elsewhere, env=variables, capture_output=True, text=True
        )
        outcome = "ok" if done.returncode == 0 else f"exit status {done.returncode}"
        print(f"  {name}: {outcome}, {time.monotonic() - began:.1f} s")
        if done.returncode:
            print(done.stdout[-2000:] + done.stderr[-2000:])
            good = False
    absent = [name for name in MADE if not (elsewhere / name).exists()]
    if absent:
        print(f"  not there: {', '.join(absent)}")
    return good and not absent


def _uv() -> str:
    return str(Path(sys.executable).with_name("uv"))


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
