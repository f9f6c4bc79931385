"""MLflow: one run there for each run here. A later process continues it by the name in mlflow.json."""

import logging
import math
import os
import time
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from ncrun import json_object
from ncrun.loggers.logger import Logged, Outcome, Row, Session
from ncrun.records.files import write_json
from ncrun.records.groups import words

NOTE = "mlflow.json"
EXPERIMENT = "ncrun"
# MLflow's limits: the length of a parameter's value, and the number of parameters in one call.
LONGEST, MOST = 6000, 100
STATUS = {"done": "FINISHED", "failed": "FAILED"}


class MLflow(Session):
    """The experiment is $MLFLOW_EXPERIMENT_NAME, else ncrun; the server is MLFLOW_TRACKING_URI."""

    def __init__(self, run: Logged) -> None:
        for chatty in ("mlflow", "alembic"):  # of the tables that they make
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._run, self._client = run, MlflowClient()
        self._id = self._continued(json_object.read(run.path / NOTE).get("run_id"))
        if self._id is None:
            self._id = self._begun()

    def _continued(self, known: str | None) -> str | None:
        """The run of an earlier process, if it exists."""
        if known is None:
            return None
        try:
            self._client.update_run(known, status="RUNNING")
        except MlflowException:  # from another server, or deleted
            return None
        return known

    def _begun(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        made: str = self._client.create_run(_experiment(self._client, name), run_name=self._run.path.name).info.run_id
        write_json(self._run.path / NOTE, {"run_id": made})
        params = [Param(key, words(value)[:LONGEST]) for key, value in self._run.settings.items()]
        for first in range(0, len(params), MOST):
            self._client.log_batch(made, params=params[first : first + MOST])
        return made

    def last_epoch(self) -> float:
        held = self._client.get_metric_history(self._id, "epoch")
        return max((float(each.step) for each in held), default=-math.inf)

    def row(self, row: Row) -> None:
        now, epoch = int(time.time() * 1000), int(row["epoch"])
        found = [Metric(key, value, now, epoch) for key, value in self._run.scalars(row).items()]
        self._client.log_batch(self._id, metrics=found)

    def end(self, outcome: Outcome) -> None:
        tags: dict[str, Any] = {"summary": outcome.words, **outcome.facts}
        self._client.log_batch(self._id, tags=[RunTag(key, str(value)) for key, value in tags.items()])
        if outcome.state == "done":
            header, lines = self._run.class_table(outcome.row)
            columns = {name: [line[n] for line in lines] for n, name in enumerate(header)}
            self._client.log_table(self._id, columns, "classes.json")
        if outcome.picture is not None:
            self._client.log_artifact(self._id, str(outcome.picture))
        self._client.set_terminated(self._id, STATUS.get(outcome.state, "KILLED"))


def _experiment(client: MlflowClient, name: str) -> str:
    """Creates it unless it exists, or another process creates it at the same moment."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            made: str = client.create_experiment(name)
            return made
        except MlflowException:
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    known: str = found.experiment_id
    return known


def open_session(run: Logged) -> MLflow:
    return MLflow(run)
