"""Loggers, which follow runs besides their records: TensorBoard, Weights & Biases, MLflow, and a user's own.

Each gets the rows of metrics.jsonl. A logger is imported only when a run uses it, and a failing logger does not stop
the run. A user's own file adds one by LOGGERS.add(...).
"""

from importlib import import_module

from ncrun.loggers.logger import Logged, Logger, Outcome, Session
from ncrun.registry import Registry

__all__ = ["LOGGERS", "Logged", "Logger", "Outcome", "Session"]


def _built_in(key: str, words: str, package: str) -> Logger:
    """A module of this package, imported when it is opened."""

    def open_(run: Logged) -> Session:
        session: Session = import_module(f"ncrun.loggers.{key}").open_session(run)
        return session

    return Logger(key, words, open_, package)


LOGGERS: Registry[Logger] = Registry(
    "logger",
    (
        _built_in("tensorboard", "TensorBoard's event files, in the folder tensorboard/ of the run", "tensorboard"),
        _built_in("wandb", "Weights & Biases; offline with WANDB_MODE=offline", "wandb"),
        _built_in("mlflow", "MLflow, where MLFLOW_TRACKING_URI says", "mlflow"),
    ),
)
