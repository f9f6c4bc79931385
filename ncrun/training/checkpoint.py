"""One run's whole state on the disk: finds, loads and saves checkpoints."""

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
    """The progress of a program of runs; in a checkpoint it is that of one run, number 0.

    epoch: completed epochs. offset: batches already taken from the next epoch, in this `order` of samples (None: not
    begun). step: optimiser steps. first_losses: each run's objective at the initialisation; failures: the reasons of
    diverged runs. seconds, measuring_seconds: wall time so far, over all processes.
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
    """The result of a search for a run's checkpoints: the content of the one to continue from, or None to start again;
    the newer, unusable ones; and a message for the user, if any."""

    content: dict[str, Any] | None
    useless: Sequence[Path]
    message: str | None

    @property
    def environment(self) -> dict[str, Any] | None:
        """The environment of the process that wrote the checkpoint."""
        return None if self.content is None else self.content["environment"]

    @property
    def together(self) -> int:
        """The number of runs in the program that wrote the checkpoint."""
        return 1 if self.content is None else int(self.content.get("together", 1))

    @property
    def position(self) -> tuple[int, int]:
        """Completed epochs at the checkpoint, and batches of the next one. (9, 1) comes before (10, 0): there is no
        step in between, but a measurement."""
        return (0, 0) if self.content is None else _position(self.content)


def _position(content: dict[str, Any]) -> tuple[int, int]:
    return int(content["progress"]["epoch"]), int(content["progress"]["offset"])


NOTHING = Search(None, (), None)


def search(record: RunDirectory) -> Search:
    """Reads the newest intact one of the last two checkpoints that also fits metrics.jsonl.

    Raises UserError if none fits because early rows were changed: cutting the file would hide that.
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
            " remove the folder to train this run again"
        )
    if damaged:
        return Search(None, useless, f"{' and '.join(damaged)}, and no other is left; starts from the beginning")
    begun = record.metrics.is_file() and record.metrics.stat().st_size > 0
    return Search(None, [], "has no checkpoint yet; starts from the beginning" if begun else None)


def step_back(record: RunDirectory, found: Search, position: tuple[int, int]) -> Search:
    """The found checkpoint, or the one before it if that is at `position`, like those of other runs.

    Runs of one program save one after the other. After a kill in between, some are one checkpoint behind. Only if all
    continue from the same position does their program give the same bits as without the kill.
    """
    if found.content is None or found.position <= position or found.together == 1 or found.useless:
        return found
    older, newest = record.previous_checkpoint, [record.checkpoint]
    if not older.exists():
        return Search(None, newest, None) if position == (0, 0) else found
    try:
        content = _read(older)
    except DamagedFile as error:
        return replace(
            found, message=f"{older.name} is damaged ({error}); continues without the other runs of its program"
        )
    fits = _position(content) == position and record.fits(content["metrics"][0])
    return Search(content, newest, None) if fits else found


def _read(path: Path) -> dict[str, Any]:
    """Raises DamagedFile if it is not a run's checkpoint."""
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
    """Whether the value has this type and, if it is an integer, is not negative: all integers here are counts."""
    return isinstance(value, kind) and not isinstance(value, bool) and not (isinstance(value, int) and value < 0)


# The types in a checkpoint; PyTorch itself checks the first three.
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
    """An optimiser whose state can be saved and loaded."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Restores the saved state."""


class DoesNotFit(Exception):
    """An intact checkpoint does not fit this version's network or optimiser; the message says what to do."""


class Checkpoints:
    """The last two checkpoints of a run. environment: what decides its bits besides the configuration. together: number
    of runs in its program."""

    def __init__(self, record: RunDirectory, found: Search, environment: Mapping[str, Any], together: int = 1) -> None:
        self._record = record
        self._found: Search | None = found
        self._environment = dict(environment)
        self._together = together

    def restore(self, network: Network | FreeFeatures, optimiser: Stateful, generator: torch.Generator) -> Progress:
        """Restores the found state, once, and cuts the record to the rows before the checkpoint.

        Raises DoesNotFit if it belongs to another network.
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
            except Exception as error:  # PyTorch raises many kinds of errors for a mismatch
                raise DoesNotFit(
                    "the checkpoint does not fit this version's network or optimiser;"
                    " remove the folder to train this run again"
                ) from error
            self._record.cut_metrics(content["metrics"][0]["size"])
        for path in useless:  # otherwise the next save would move it over the good one
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
        """Writes everything on which the rest of the run depends; None at the end of a run.

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
        # Through memory: on a full disk, a plain write fails with a clearer error than torch's.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        # The view is released even if the write fails: held by the traceback, it crashes Python 3.12.1's collector.
        with buffer.getbuffer() as view:
            self._record.write_checkpoint(view)
