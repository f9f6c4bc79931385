"""Pictures of experiments, drawn in as many processes as there are cores for them."""

import gc
import multiprocessing
import os
import signal
import sys
import warnings
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

# A copy of this process has all imports and records at once. Other systems than Linux have libraries that a copy may
# not use; there a process takes two seconds to start, as long as a picture or two take, and gets four at least.
COPIED = sys.platform == "linux"
FOR_EACH = 1 if COPIED else 4


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
    gc.freeze()  # figures are collected as circles of objects; without looking through all records each time
    try:
        if processes < 2:
            for each in wanted:
                print(_drawn(each, page), flush=True)
        else:
            _draw_at_once(wanted, page, processes)
    finally:
        gc.unfreeze()


def _draw_at_once(wanted: Sequence[Picture], page: Page, processes: int) -> None:
    pool = ProcessPoolExecutor(
        processes,
        context=multiprocessing.get_context("fork") if COPIED else None,
        env={"OMP_NUM_THREADS": "1"},
        initializer=_settle_in,
        initargs=(os.getpid(), wanted, page, [str(path) for path in extensions.loaded()]),
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*use of fork")  # while there are threads: drawing needs none of them
            # Not map: futures that it cancels break loky's end.
            told = {place: pool.submit(_drawn_here, place) for place in _longest_first(wanted)}
        for place in range(len(wanted)):
            print(told[place].result(), flush=True)
    except BrokenProcessPool as error:
        raise UserError(
            "a process that draws was killed, perhaps because memory ran out; --jobs=1 draws one picture at a time"
        ) from error
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _longest_first(wanted: Sequence[Picture]) -> list[int]:
    """Their places, so that no process waits at the end for a long one: what theory alone gives, which it first has to
    find, then those of many runs."""
    return sorted(range(len(wanted)), key=lambda place: (bool(wanted[place].records), -len(wanted[place].records)))


# ---------------------------------------------------------------- in a process that draws

_given: tuple[Sequence[Picture], Page] = (), saving.PAGE


def _settle_in(parent: int, wanted: Sequence[Picture], page: Page, files: Sequence[str]) -> None:
    """Its parent ends it. files: the user's own, which drawings may come from."""
    global _given
    _given = wanted, page
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # GNU's OpenMP waits for ever for threads that were not copied
    extensions.load(files)
    panels.use_style(page.rc)


def _drawn_here(place: int) -> str:
    wanted, page = _given
    return _drawn(wanted[place], page)


def _drawn(picture: Picture, page: Page) -> str:
    """Draw it; returns what to say."""
    try:
        theory = FROM_THEORY.get(picture.key)
        figure = DRAWINGS[picture.key].of(picture.records) if theory is None else theory()
        first, *_ = saving.save(figure, picture.target, page)
    except UserError as error:  # what the records lack; the other drawings do not need it
        return f"skipped {picture.target}: {error}"
    return f"drew {first}"
