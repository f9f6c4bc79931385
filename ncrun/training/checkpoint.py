"""One run's whole state on the disk: finding it, taking it up again, saving it."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ncrun.errors import UserError
from ncrun.models.free_model import FreeFeatures
from ncrun.models.network import Network
from ncrun.models.saved import load_sealed
from ncrun.records import RunDirectory
from ncrun.records.files import DamagedFile


@dataclass
class Progress:
    """How far a program of runs has come; what a checkpoint holds of it is about one run, number 0.

    epoch: epochs completed. offset: batches of the next epoch already taken, in this `order` of samples (None: not
    begun). step: optimiser steps. first_losses: each run's objective at the initialisation; failures: of the runs that
    diverged, how. seconds, measuring_seconds: wall time so far, over all sittings.
    """

    epoch: int = 0
    offset: int = 0
    order: Tensor | None = None
    step: int = 0
    first_losses: dict[int, float] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0
    measuring_seconds: float = 0.0


@dataclass(frozen=True)
class Search:
    """What was found of a run's checkpoints: the content of the one to continue from, or None to start anew; the
    newer ones, which are of no use; and what the user should know of it, if anything."""

    content: dict[str, Any] | None
    useless: Sequence[Path]
    message: str | None

    @property
    def environment(self) -> dict[str, Any] | None:
        """That of the process which wrote the checkpoint."""
        return None if self.content is None else self.content["environment"]

    @property
    def together(self) -> int:
        """How many runs the program had that wrote the checkpoint."""
        return 1 if self.content is None else int(self.content.get("together", 1))

    @property
    def position(self) -> tuple[int, int]:
        """Epochs completed at the checkpoint, and batches of the next one: (9, 1) comes before (10, 0), though no step
        lies between them: a measurement does."""
        return (0, 0) if self.content is None else _position(self.content)


def _position(content: dict[str, Any]) -> tuple[int, int]:
    return int(content["progress"]["epoch"]), int(content["progress"]["offset"])


NOTHING = Search(None, (), None)


def search(record: RunDirectory) -> Search:
    """Read the newest intact checkpoint of the last two that also fits metrics.jsonl.

    Raises UserError if the metrics were changed so early that none fits: to cut them would hide it.
    """
    useless, damaged, changed = [], [], False
    for path in (record.checkpoint, record.previous_checkpoint):
        if not path.exists():
            continue
        try:
            content = _read(path)
        except DamagedFile as error:
            damaged.append(f"{path.name} is damaged ({error})")
            useless.append(path)
            continue
        if record.fits(content["metrics"][0]):
            why = damaged or (["metrics.jsonl was changed, or has lost lines"] if changed else [])
            epoch = content["progress"]["epoch"]
            message = f"{' and '.join(why)}; continues from {path.name}, epoch {epoch}" if why else None
            return Search(content, useless, message)
        changed = True
        useless.append(path)
    if changed:
        raise UserError(
            f"run_dir={record.path}: metrics.jsonl was changed, or has lost lines, since the checkpoints were written;"
            " remove the folder to train this run anew"
        )
    if damaged:
        return Search(None, useless, f"{' and '.join(damaged)}, and no other is left; starts anew")
    begun = record.metrics.is_file() and record.metrics.stat().st_size > 0
    return Search(None, [], "has no checkpoint yet; starts anew" if begun else None)


def step_back(record: RunDirectory, found: Search, position: tuple[int, int]) -> Search:
    """What was found, or the checkpoint before it where that stands at `position`, as other runs' do.

    Runs of one program save one after the other. Killed in between, some stand one checkpoint before the rest; only if
    all go on from the same one is their program, and so every bit of it, what it would have been.
    """
    if found.content is None or found.position <= position or found.together == 1 or found.useless:
        return found
    older, newest = record.previous_checkpoint, [record.checkpoint]
    if not older.exists():
        return Search(None, newest, None) if position == (0, 0) else found
    try:
        content = _read(older)
    except DamagedFile as error:
        return replace(found, message=f"{older.name} is damaged ({error}); continues apart from the runs beside it")
    fits = _position(content) == position and record.fits(content["metrics"][0])
    return Search(content, newest, None) if fits else found


def _read(path: Path) -> dict[str, Any]:
    """Raises DamagedFile if it is no run's checkpoint."""
    try:
        content = load_sealed(path)
    except OSError as error:
        raise DamagedFile(str(error.strerror)) from error
    if not (isinstance(content, dict) and all(_is(content.get(key), kind) for key, kind in PARTS.items())):
        raise DamagedFile("not written by this version")
    marks, progress, environment = content["metrics"], content["progress"], content["environment"]
    if len(marks) != 1:
        raise DamagedFile("of another kind of run")
    known = progress.keys() == {each.name for each in fields(Progress)}
    known = known and all(_is(progress[key], kind) for key, kind in PROGRESS.items())
    known = known and all(_is(mark, dict) and _is(mark.get("size"), int) and "sha256" in mark for mark in marks)
    if not (known and _is(environment.get("threads"), int) and environment["threads"] >= 1):
        raise DamagedFile("not written by this version")
    return content


def _is(value: Any, kind: Any) -> bool:
    """An instance, and if it is a whole number none that is negative; all of them count something here."""
    return isinstance(value, kind) and not isinstance(value, bool) and not (isinstance(value, int) and value < 0)


# The kinds of what a checkpoint holds; PyTorch itself looks into the first three.
PARTS = {
    "network": dict,
    "optimiser": dict | None,
    "generator": Tensor | None,
    "random": Tensor,
    "progress": dict,
    "metrics": list,
    "environment": dict,
}
PROGRESS = {
    "epoch": int,
    "offset": int,
    "order": Tensor | None,
    "step": int,
    "first_losses": dict,
    "failures": dict,
    "seconds": int | float,
    "measuring_seconds": int | float,
}


class Stateful(Protocol):
    """What descends, and can be taken up where it was."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """As it was when its state was saved."""


class DoesNotFit(Exception):
    """An intact checkpoint of another version's network or optimiser; the message says what to do."""


class Checkpoints:
    """The last two checkpoints of a run. environment: what decides its bits beside the configuration. together: how
    many runs its program trains."""

    def __init__(self, record: RunDirectory, found: Search, environment: Mapping[str, Any], together: int = 1) -> None:
        self._record = record
        self._found: Search | None = found
        self._environment = dict(environment)
        self._together = together

    def restore(self, network: Network | FreeFeatures, optimiser: Stateful, generator: torch.Generator) -> Progress:
        """Put what was found back, once; the record is cut to what the checkpoint knows of it.

        Raises DoesNotFit if it is not of this network.
        """
        assert self._found is not None
        content, useless, self._found = self._found.content, self._found.useless, None
        if content is None:
            self._record.cut_metrics(0)
        else:
            try:
                network.load_state_dict(content["network"])
                optimiser.load_state_dict(content["optimiser"])
                generator.set_state(content["generator"])
                torch.set_rng_state(content["random"])
            except Exception as error:  # PyTorch has many kinds for what does not fit
                raise DoesNotFit(
                    "the checkpoint does not fit this version's network or optimiser;"
                    " remove the folder to train this run anew"
                ) from error
            self._record.cut_metrics(content["metrics"][0]["size"])
        for path in useless:  # or the next save would move it over the good one
            self._record.remove(path)
        return Progress() if content is None else Progress(**content["progress"])

    def save(
        self,
        network: Network | FreeFeatures,
        optimiser: dict[str, Any] | None,
        generator: Tensor | None,
        random: Tensor,
        progress: Progress,
    ) -> None:
        """Write everything that the rest of the run depends on; None where nothing more will come.

        optimiser: its state_dict. generator, random: the states of the run's own generator and of torch's.
        """
        content = {
            "network": network.state_dict(),
            "optimiser": optimiser,
            "generator": generator,
            "random": random,
            "progress": vars(progress),
            "metrics": [self._record.mark()],
            "environment": self._environment,
            "together": self._together,
        }
        # Through memory: where the disk is full, a plain write fails more plainly than torch's.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        # The view is given back even if the write fails: kept by its traceback, it crashes Python 3.12.1's collector.
        with buffer.getbuffer() as view:
            self._record.write_checkpoint(view)
