"""Weights & Biases: one run there for each run here. A later process continues it by the name in wandb.json."""

import math
import os
import secrets
from typing import Any

import wandb

from ncrun import json_object
from ncrun.loggers.logger import Logged, Outcome, Row, Session
from ncrun.records.files import write_json

NOTE = "wandb.json"
PROJECT = "ncrun"


class WeightsAndBiases(Session):
    """The project is $WANDB_PROJECT, else ncrun; WANDB_MODE and wandb's other variables decide where the run goes."""

    def __init__(self, run: Logged) -> None:
        self._run, self._path = run, run.path / NOTE
        self._note: dict[str, Any] = json_object.read(self._path) or {"id": secrets.token_hex(4)}
        self._there = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=self._note["id"],
            name=run.path.name,
            dir=str(run.path),
            config=dict(run.config),
            resume="allow",
            reinit="create_new",  # other runs of the program are open, too
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._there.define_metric("epoch")
        self._there.define_metric("*", step_metric="epoch")

    def last_epoch(self) -> float:
        return float(self._note.get("epoch", -math.inf))

    def row(self, row: Row) -> None:
        self._there.log(self._run.scalars(row))
        self._note["epoch"] = row["epoch"]
        write_json(self._path, self._note)

    def end(self, outcome: Outcome) -> None:
        header, lines = self._run.class_table(outcome.row)
        more: dict[str, Any] = {"classes": wandb.Table(columns=header, data=lines)}
        if outcome.picture is not None:
            more["curves"] = wandb.Image(str(outcome.picture))
        self._there.log(more | {"epoch": outcome.row.get("epoch", 0)})
        self._there.summary.update({"summary": outcome.words, **outcome.facts})
        self._there.finish(exit_code=1 if outcome.state == "failed" else 0)


def open_session(run: Logged) -> WeightsAndBiases:
    return WeightsAndBiases(run)
