"""Places that follow runs beside their records: TensorBoard, Weights & Biases, MLflow, and a user's own.

Each is told what metrics.jsonl holds, row by row. None is imported before a run asks for it, and none that fails stops
a run. A user's own file can add one by LOGGERS.add(...).
"""

from importlib import import_module

from ncrun.loggers.logger import Logged, Logger, Outcome, Session
from ncrun.registry import Registry

__all__ = ["LOGGERS", "Logged", "Logger", "Outcome", "Session"]


def _built_in(key: str, words: str, package: str) -> Logger:
    """One of this package's modules, which is imported when it is opened."""

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
