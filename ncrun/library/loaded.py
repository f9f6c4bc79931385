"""`ncrun.load`: a recorded run as one object. All of it but network and features needs no torch."""

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

# What a notebook shows of the last epochs, where a run has it.
SHOWN = ("epoch", "loss", "gap", "nc1", "nc2_w", "nc2_h", "nc3", "nc4", "train_accuracy", "test_accuracy")
SHOWN_ON_TARGETS = ("epoch", "loss", "gap", "nrc1", "nrc2", "nrc3", "nc2_w", "nc2_h", "r2", "test.r2")
ROWS = 3


@dataclass(frozen=True, repr=False, eq=False)
class LoadedRun(Record):
    """A recorded run, read once; its methods look at its folder when they are called.

    path: of the folder. config: every key with its value, in groups as in config.yaml. metrics: a DataFrame, a row for
    each measured epoch, its columns those of the README's table. manifest, theory: the files of that name. measured:
    the K x K matrices of the last epoch, as lists; None while the run is not finished, and of more than 200 classes.
    """

    @classmethod
    def of(cls, record: Record) -> "LoadedRun":
        """The same record with all that can be asked of it."""
        return cls(**{field.name: getattr(record, field.name) for field in fields(record)})

    @property
    def state(self) -> str:
        """done, failed, interrupted, or running, which is also what a killed run's record says."""
        return str(self.manifest["state"])

    @property
    def summary(self) -> str:
        """In one line of words how the run ended, or that it did not."""
        return str(self.manifest.get("summary") or self.manifest.get("reason") or f"not finished ({self.state})")

    @cached_property
    def prediction(self) -> Forecast:
        """What the theorems of this version say of the problem, those of imported extensions included. What was
        predicted when the run was trained is in `theory`. Raises UserError if an older record does not say its
        problem."""
        return Forecast.of(self.problem)

    def network(
        self, *, path: str | Path | None = None, extend: Sequence[str | Path] = (), data_dir: str | Path | None = None
    ) -> "Network | FreeFeatures":
        """The network with the weights of the last checkpoint, in evaluation mode on the CPU; its parts are
        `network.features(images)` and `network.head`. Of a finished run these are the weights of the last epoch.

        Nothing is executed because the record names it. path: the file of a network of your own (model=module). extend:
        the files that register what the run uses, as for extend=. data_dir: as for features; needed only for data of
        your own in records from before they said the shape of their images.
        Raises UserError if there is no checkpoint, if it is damaged or of another shape, or for a file that is needed.
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
        metrics of the last epoch were measured on. Of free features, those that were trained.

        split: "train" or "test". data_dir: the folder of the data sets, as for training; of data of your own (npz,
        image_folder) the file or folder itself; left out, as the run had it. path, extend: as for network.
        Raises UserError as network does, for a split that there is not, and for data that are not there, or not those
        of the run.
        """
        from ncrun.library.network import features_of

        return features_of(self, split, path, extend, data_dir)

    def plot(self) -> "Figure":
        """curves.png anew: loss, errors, NC1 and distances over the epochs, beside the prediction. The figure is not
        shown by pyplot: a notebook shows what is returned, elsewhere use its savefig. Raises UserError if fewer than
        two epochs are measured."""
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

    Warns of files that were changed since the run was finished.
    Raises UserError if there is no run, if there are several, or if a file is not what a run writes.
    """
    with one_place(Path(path)) as place:
        record = load_record(place)
    if warning := seal_warning([record]):
        warnings.warn(warning, stacklevel=2)
    return LoadedRun.of(record)
