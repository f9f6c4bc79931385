"""ncrun: train networks to neural collapse, beside the geometry that the theorem predicts for exactly that run.

`ncrun.predict` returns theory's prediction for a problem. `ncrun.measure` measures a network that was trained elsewhere
and compares it with the prediction. `ncrun.train` trains a run, `ncrun.load` reads one, `ncrun.runs` lists all
(docs/python.md). `ncrun.register` adds a user's own Loss, ModelSpec, Source of data, Metric, Theorem, Drawing or Logger
(docs/extend.md). Each name imports what it needs at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncrun.data import DataSetFacts, Source
    from ncrun.data.splits import LabelledImages
    from ncrun.errors import UserError
    from ncrun.extending import register
    from ncrun.figures import Drawing
    from ncrun.library.loaded import LoadedRun, load
    from ncrun.library.overview import runs
    from ncrun.library.prediction import Forecast, predict
    from ncrun.library.training import TrainingFailed, train
    from ncrun.loggers import Logged, Logger, Outcome, Session
    from ncrun.losses import Loss
    from ncrun.measurement import Measurement
    from ncrun.measuring import measure
    from ncrun.meter import CollapseMeter, SecondPass, watch
    from ncrun.metrics import Metric
    from ncrun.models import ModelSpec
    from ncrun.problem import Problem
    from ncrun.theory import Condition, Prediction, Theorem

__version__ = "0.1.0"
# The module of each public name.
NAMES = {
    "CollapseMeter": "meter",
    "Condition": "theory",
    "DataSetFacts": "data",
    "Drawing": "figures",
    "Forecast": "library.prediction",
    "Outcome": "loggers",
    "Prediction": "theory",
    "LabelledImages": "data.splits",
    "LoadedRun": "library.loaded",
    "Logged": "loggers",
    "Logger": "loggers",
    "Loss": "losses",
    "Measurement": "measurement",
    "Metric": "metrics",
    "ModelSpec": "models",
    "Problem": "problem",
    "SecondPass": "meter",
    "Session": "loggers",
    "Source": "data",
    "Theorem": "theory",
    "TrainingFailed": "library.training",
    "UserError": "errors",
    "load": "library.loaded",
    "measure": "measuring",
    "predict": "library.prediction",
    "register": "extending",
    "runs": "library.overview",
    "train": "library.training",
    "watch": "meter",
}
__all__ = [
    "CollapseMeter",
    "Condition",
    "DataSetFacts",
    "Drawing",
    "Forecast",
    "LabelledImages",
    "LoadedRun",
    "Logged",
    "Logger",
    "Loss",
    "Measurement",
    "Metric",
    "ModelSpec",
    "Outcome",
    "Prediction",
    "Problem",
    "SecondPass",
    "Session",
    "Source",
    "Theorem",
    "TrainingFailed",
    "UserError",
    "__version__",
    "load",
    "measure",
    "predict",
    "register",
    "runs",
    "train",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return getattr(import_module(f"ncrun.{NAMES[name]}"), name)
    raise AttributeError(f"module 'ncrun' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
