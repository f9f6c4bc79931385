"""`make wheels`: the pure-Python wheels that a machine with PyTorch, but without a network, lacks for ncrun.

    python scripts/collect_wheels.py [--has FILE] [--out dist/wheels] [--tests]

FILE is the output of `pip list` or `pip freeze` on that machine; default: the packages of the usual images for PyTorch
(HAS below). All direct and indirect requirements of ncrun that are not on the list are collected, in the versions that
are installed here. Wheels for a single platform are refused: the machine must have these already. Versions in FILE that
ncrun's ranges exclude are named. --tests: also the requirements of the tests.

There, in the checkout:

    python3 -m pip install --no-index --no-deps --target site dist/wheels/*.whl
    PYTHONPATH=.:site python3 scripts/gpu_hour.py
"""

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
# The packages of an image with PyTorch for a GPU, from such a machine; None: the version is not known.
HAS = """
    numpy torch torchvision scipy pandas matplotlib scikit-learn pillow jinja2 markupsafe rich markdown-it-py mdurl
    pygments pyyaml packaging joblib threadpoolctl narwhals contourpy cycler fonttools kiwisolver pyparsing
    python-dateutil six filelock fsspec networkx sympy mpmath setuptools triton typing-extensions hypothesis
    sortedcontainers pytest pluggy iniconfig pytest-xdist execnet
"""
TESTS = ("pytest>=8.3", "pytest-xdist>=3.6", "hypothesis>=6.150")
# Every line of `pip list` and `pip freeze`: a name, and after spaces or == a version.
LINE = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\s+|==)(\d\S*)")
NVIDIA = ("nvidia-", "cuda-", "pytorch-triton")  # part of PyTorch


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 if a version there is out of range, or a wheel is for one platform."""
    parser = argparse.ArgumentParser(description="Collect the wheels that a machine without a network lacks")
    parser.add_argument("--has", type=Path, metavar="FILE", help="its `pip list`; default: the usual image")
    parser.add_argument("--out", type=Path, default=Path("dist/wheels"), metavar="FOLDER")
    parser.add_argument("--tests", action="store_true", help="also the requirements of the tests")
    options = parser.parse_args(arguments)
    if options.has is not None and not options.has.is_file():
        parser.error(f"--has={options.has}: no such file")
    has = listed(options.has.read_text()) if options.has else dict.fromkeys(HAS.split())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(each) for each in (*project["dependencies"], *(TESTS if options.tests else ()))]
    outdated = [
        f"it has {name} {has[name]}, and ncrun needs {name}{each.specifier}"
        for each in wanted
        if (found := has.get(name := canonicalize_name(each.name))) and not each.specifier.contains(found)
    ]
    for line in outdated:
        print(f"wheels: {line}", file=sys.stderr)
    lacking = missing(wanted, has)
    print(f"lacking there: {' '.join(lacking) or 'nothing'}")
    return 1 if collect(lacking, options.out) or outdated else 0


def listed(text: str) -> dict[str, str | None]:
    """Names and versions in what pip printed."""
    found = (LINE.match(line) for line in text.splitlines())
    return {canonicalize_name(each[1]): each[2] for each in found if each is not None}


def missing(wanted: Iterable[Requirement], has: Mapping[str, str | None]) -> list[str]:
    """NAME==VERSION of all requirements of these packages that a machine lacks, sorted by name."""
    lacking: set[str] = set()
    waiting = list(wanted)
    while waiting:
        each = waiting.pop()
        name = canonicalize_name(each.name)
        if name in has or name in lacking or name.startswith(NVIDIA):
            continue
        if each.marker is not None and not each.marker.evaluate({"extra": ""}):
            continue
        lacking.add(name)
        try:
            waiting += [Requirement(line) for line in requires(name) or ()]
        except PackageNotFoundError:
            sys.exit(f"wheels: {name} is not installed here, so that its own needs are not known; make makes it")
    return [f"{name}=={version(name)}" for name in sorted(lacking)]


def collect(lacking: Sequence[str], out: Path) -> int:
    """Writes the wheels, which are built if there is only source; returns the number that are not for every
    platform."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.whl"):
        old.unlink()
    if lacking:
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--wheel-dir", str(out), *lacking], check=True)
    bound = 0
    for wheel in sorted(out.glob("*.whl")):
        print(f"{wheel}: {wheel.stat().st_size / 2**10:.0f} KiB")
        if not wheel.stem.endswith("-none-any"):
            bound += 1
            print(f"wheels: {wheel.name}: is for one platform; the machine needs its own", file=sys.stderr)
    return bound


if __name__ == "__main__":
    sys.exit(main())
