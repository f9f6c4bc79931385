"""How long a run may take, by the runs that have been trained on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncrun.records.glance import Glance

# Whose work differs by less than this share is as much; beyond so many times nothing is concluded: small networks spend
# their time on starting operations, large ones on carrying them out.
ALIKE, FARTHEST = 0.01, 10.0


@dataclass(frozen=True)
class Work:
    """What decides how long a run takes. kind: what has to be the same in a run that says something of its speed: the
    model's name, the optimiser, the shape of an image, the precision, the device. threads: None where it is not known.
    of_epoch: samples times parameters; of free features, whose parameters grow with the samples, parameters. batch: its
    samples. epochs: None where their number is not known before (lbfgs): then a run is compared as a whole."""

    kind: tuple[Any, ...]
    threads: int | None
    of_epoch: float
    batch: int
    epochs: int | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> "Work":
        """settings: of the run, by dotted keys. facts: entries of its manifest, or what they are going to be."""
        optimizer = settings["optimizer.name"]
        free = (
            settings.get("dataset.name") is None or facts["image_shape"] is None
        )  # the latter on a data set's targets
        shape = None if free else tuple(facts["image_shape"])
        kind = (settings["model.name"], optimizer, shape, settings.get("precision", "full"), facts["device"])
        of_epoch = float(facts["parameters"]) * (1 if free else facts["num_samples"])
        batch = facts["num_samples"] if settings["batch_size"] == "full" else settings["batch_size"]
        epochs = None if optimizer == "lbfgs" else settings["epochs"] + (settings.get("finish_iterations") or 0)
        return cls(kind, facts.get("threads"), of_epoch, batch, epochs)

    def distance(self, other: "Work") -> float:
        """How many times more, or less, of either an epoch or a batch."""
        ratios = self.of_epoch / other.of_epoch, self.batch / other.batch
        return max(max(ratio, 1 / ratio) for ratio in ratios)


@dataclass(frozen=True)
class Estimate:
    """seconds: of training and measuring, importing and drawing not counted. run: by which. is_alike: whether an epoch
    of it is as much work."""

    seconds: float
    run: Path
    is_alike: bool


class Speeds:
    """runs: those in which to look, of any machine. host: this one."""

    def __init__(self, runs: Sequence[Glance], host: str) -> None:
        self._timed: list[tuple[Work, float, Path]] = []
        for run in runs:
            if run.host != host or run.seconds is None or not run.epoch or run.manifest.get("together", 1) != 1:
                continue
            try:
                work = Work.of(run.settings, run.manifest)
            except (KeyError, TypeError, ValueError):  # of an older version
                continue
            if work.epochs is not None:
                self._timed.append((work, run.seconds / run.epoch, run.path))
            elif run.state == "done":
                self._timed.append((work, run.seconds, run.path))

    def estimate(self, work: Work) -> Estimate | None:
        """By the run of the same kind whose work is nearest, one with as many threads first; None if there is none."""
        near = [each for each in self._timed if each[0].kind == work.kind and work.distance(each[0]) <= FARTHEST]
        if not near:
            return None
        other, seconds, path = min(near, key=lambda each: (each[0].threads != work.threads, work.distance(each[0])))
        is_alike = other.threads == work.threads and work.distance(other) < 1 + ALIKE
        return Estimate(seconds * work.of_epoch / other.of_epoch * (work.epochs or 1), path, is_alike)
