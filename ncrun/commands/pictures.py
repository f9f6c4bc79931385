"""Pictures of experiments, drawn in as many processes as there are cores for them."""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from ncrun.config import extensions
from ncrun.config.experiments import recipe
from ncrun.engines.workers import end_with
from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, FROM_THEORY, panels, saving
from ncrun.figures.page import Page
from ncrun.records.read import Record

# Pictures for each process: one takes two seconds to start, as long as a picture or two take.
FOR_EACH = 4


@dataclass(frozen=True)
class Picture:
    """A drawing by its name, of an experiment's runs, or a figure of theory alone. target: its file without an
    ending."""

    key: str
    target: Path
    records: tuple[Record, ...] = ()


def pictures(name: str, scale: str, records: Sequence[Record], folder: Path) -> Iterator[Picture]:
    """All that is drawn of an experiment at a scale."""
    if name in FROM_THEORY:
        yield Picture(name, folder / name)
        return
    found = recipe(name)
    # Older records do not hold their experiment's words.
    captioned = tuple(replace(each, manifest={"caption": found.caption, **each.manifest}) for each in records)
    for number, key in enumerate(found.figures):
        stem = DRAWINGS[key].file_name(f"{name}-{found.scale(scale)}", first=number == 0)
        yield Picture(key, folder / stem, captioned)


def draw(wanted: Sequence[Picture], page: Page, most: int = 1) -> None:
    """Draw them, and say so of each, in their order. most: so many at once. Raises UserError."""
    processes = min(most, len(wanted) // FOR_EACH)
    if processes < 2:
        for each in wanted:
            print(_drawn(each, page), flush=True)
        return
    files = [str(path) for path in extensions.loaded()]
    pool = ProcessPoolExecutor(
        processes, env={"OMP_NUM_THREADS": "1"}, initializer=_settle_in, initargs=(os.getpid(), page, files)
    )
    try:
        told = [pool.submit(_drawn, each, page) for each in wanted]  # not map: futures that it cancels break loky's end
        for each in told:
            print(each.result(), flush=True)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that draws was killed, perhaps because memory ran out; --jobs=1 draws one picture at a time"
        ) from error
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _settle_in(parent: int, page: Page, files: Sequence[str]) -> None:
    """In a process that draws, which its parent ends. files: the user's own, which drawings may come from."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    extensions.load(files)
    panels.use_style(page.rc)


def _drawn(picture: Picture, page: Page) -> str:
    """Draw it; returns what to say."""
    try:
        theory = FROM_THEORY.get(picture.key)
        figure = DRAWINGS[picture.key].of(picture.records) if theory is None else theory()
        first, *_ = saving.save(figure, picture.target, page)
    except UserError as error:  # what the records lack; the other drawings do not need it
        return f"skipped {picture.target}: {error}"
    return f"drew {first}"
