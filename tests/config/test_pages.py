"""What the documentation shows can be typed, and its pages stand on the site."""

import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ncrun.config.grid import expand
from ncrun.config.planning import job_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
BLOCK = re.compile(r"^```(?:text)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
# What names a file or a folder of the reader's, or what is not installed for the tests, or is an engine of its own.
THE_READERS = ("path=", "extend=", "hydra/launcher=", "data_dir=...", "logger=")


def commands() -> Iterator[tuple[str, str]]:
    """Page and words of every `ncrun train` and `ncrun theory` that stands in a block."""
    for page in PAGES:
        for block in BLOCK.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                typed = line.removeprefix("$ ").strip()
                if typed.startswith(("ncrun train ", "ncrun theory ")) and not any(w in typed for w in THE_READERS):
                    yield page.name, typed


def test_commands_compose() -> None:
    """Each job of each command: a key that is gone, or a value that is refused, is a UserError."""
    found = list(commands())
    assert len(found) >= 15
    for _, line in found:
        _, _, *words = shlex.split(line, comments=True)
        typed = [word for word in words if not word.startswith("-")]
        jobs = [job_of(each) for each in (expand(typed) if "-m" in words else [typed])]
        assert jobs, line


def test_the_example_of_a_measurement_is_the_readmes() -> None:
    """Which is run elsewhere, as are the blocks of Python on the other pages."""
    shown = [
        re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
        for name in ("README.md", "docs/elsewhere.md")
    ]
    assert shown[0] == shown[1] != []


def test_the_loss_that_is_shown_is_the_examples() -> None:
    """Which is trained elsewhere."""
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/your_loss.md").read_text(), re.DOTALL)
    there = (ROOT / "examples/my_lab.py").read_text()
    assert [part for part in shown.split("\n\n\n") if part.strip() not in there] == []


def test_arrays_of_ones_own(workdir: Path) -> None:
    """The file that docs/data.md writes is read by the command below it."""
    page = (ROOT / "docs/data.md").read_text()
    (written,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(written, {})
    (line,) = re.findall(r"^ncrun train (.*mine\.npz.*)$", page, re.MULTILINE)
    job = job_of(shlex.split(line))
    assert sum(job.runs[0].problem.counts) == 240  # every fifth sample is kept for testing


def test_every_key_of_a_record_is_described() -> None:
    """Of all recorded runs, in the section of its file."""
    sections = (ROOT / "docs/reference/files.md").read_text().split("\n## ")
    described = {part.partition("\n")[0]: set(re.findall(r"`(\w+)`", part)) for part in sections}
    recorded: dict[str, set[str]] = {}
    for path in ROOT.glob("results/*.zip"):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    recorded.setdefault(Path(name).name, set()).update(json.loads(archive.read(name)))
    assert recorded.keys() >= {"manifest.json", "problem.json", "theory.json", "geometry.json"}
    assert {file: keys - described[file] for file, keys in recorded.items() if keys - described[file]} == {}


def test_pages_are_on_the_site() -> None:
    """Every page stands in the table of contents once, and nothing else does."""
    listed = [
        line.strip()
        for toctree in re.findall(r"```{toctree}\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)
        for line in toctree.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    there = [page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in ROOT.glob("docs/**/*.md")]
    assert sorted(listed) == sorted(set(there) - {"index"})
