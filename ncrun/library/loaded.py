"""`ncrun.load`: a recorded run as one object. Only its network and features need torch."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncrun.errors import UserError
from ncrun.library.prediction import Forecast
from ncrun.notebook import face
from ncrun.records.groups import seal_warning
from ncrun.records.places import one_place
from ncrun.records.read import Record, load_record

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from ncrun.models.free_model import FreeFeatures
    from ncrun.models.network import Network

# The columns of the last epochs that a notebook shows, if a run has them.
SHOWN = ("epoch", "loss", "gap", "nc1", "nc2_w", "nc2_h", "nc3", "nc4", "train_accuracy", "test_accuracy")
SHOWN_ON_TARGETS = ("epoch", "loss", "gap", "nrc1", "nrc2", "nrc3", "nc2_w", "nc2_h", "r2", "test.r2")
ROWS = 3


@dataclass(frozen=True, repr=False, eq=False)
class LoadedRun(Record):
    """A recorded run. Its fields are read once; its methods read the run directory when they are called.

    path: of the folder. config: every key with its value, in groups as in config.yaml. metrics: a DataFrame, a row for
    each measured epoch, its columns those of docs/reference/metrics.md. manifest, theory: the files of that name.
    measured: the K x K matrices of the last epoch, as lists; None for an unfinished run or more than 200 classes.
    """

    @classmethod
    def of(cls, record: Record) -> "LoadedRun":
        """The record with its further methods."""
        return cls(**{field.name: getattr(record, field.name) for field in fields(record)})

    @property
    def state(self) -> str:
        """done, failed, interrupted, or running; a killed run's record says running, too."""
        return str(self.manifest["state"])

    @property
    def summary(self) -> str:
        """One line about how the run ended, or that it is not finished."""
        return str(self.manifest.get("summary") or self.manifest.get("reason") or f"not finished ({self.state})")

    @cached_property
    def prediction(self) -> Forecast:
        """The prediction of this version's theorems for the problem, including those of imported extensions. `theory`
        holds the prediction from the time of training. Raises UserError if an older record does not hold its
        problem."""
        return Forecast.of(self.problem)

    def network(
        self, *, path: str | Path | None = None, extend: Sequence[str | Path] = (), data_dir: str | Path | None = None
    ) -> "Network | FreeFeatures":
        """The network with the weights of the last checkpoint, in evaluation mode on the CPU; its parts are
        `network.features(images)` and `network.head`. For a finished run these are the weights of the last epoch.

        A record never makes ncrun import code. path: the file of your own network (model=module). extend: the files
        that register what the run uses, as for extend=. data_dir: as for features; needed only for your own data in old
        records, which do not hold the shape of images.
        Raises UserError if the checkpoint is missing, damaged or of another shape, or if a needed file is not given.
        """
        from ncrun.library.network import network_of

        return network_of(self, path, extend, data_dir)

    def features(
        self,
        split: str = "train",
        *,
        data_dir: str | Path | None = None,
        path: str | Path | None = None,
        extend: Sequence[str | Path] = (),
    ) -> "tuple[NDArray[np.floating[Any]], NDArray[Any]]":
        """Features (N, d), in evaluation mode and the training's precision, and labels (N,) or targets (N, q): what the
        metrics of the last epoch were measured on. For free features, the trained features.

        split: "train" or "test". data_dir: the folder of the data sets, as for training; of data of your own (npz,
        image_folder) the file or folder itself; default: as in the run. path, extend: as for network.
        Raises UserError as network does, for an unknown split, and if the data are missing or are not those of the run.
        """
        from ncrun.library.network import features_of

        return features_of(self, split, path, extend, data_dir)

    def plot(self) -> "Figure":
        """Draws curves.png again: loss, errors, NC1 and distances over the epochs, beside the prediction. pyplot does
        not show the figure: a notebook shows the returned one, elsewhere use its savefig. Raises UserError if fewer
        than two epochs are measured."""
        if len(self.metrics) < 2:
            raise UserError(f"{self.path}: has {len(self.metrics)} measured epochs; curves need two or more")
        from ncrun.figures.curves import run_curves
        from ncrun.figures.panels import detached

        return detached(run_curves, self)

    def __repr__(self) -> str:
        return f"<ncrun.LoadedRun {self.path}: {self.summary}>"

    def _repr_html_(self) -> str:
        shown = [key for key in (SHOWN_ON_TARGETS if self.on_targets else SHOWN) if key in self.metrics]
        last = self.metrics[shown].tail(ROWS).set_index("epoch") if shown else self.metrics
        claim = f"prediction: {self.theory['claim']} {self.theory.get('source') or ''}"
        return face(str(self.path), [self.summary, claim], last)


def load(path: str | Path) -> LoadedRun:
    """The run in a run directory, or in an archive as `ncrun.runs` names it: "results/dang2023-cpu.zip/FOLDER".

    Warns about files that changed after the run finished.
    Raises UserError if there is no run or several, or if a file was not written by a run.
    """
    with one_place(Path(path)) as place:
        record = load_record(place)
    if warning := seal_warning([record]):
        warnings.warn(warning, stacklevel=2)
    return LoadedRun.of(record)
