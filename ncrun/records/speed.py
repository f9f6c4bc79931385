"""Estimates a run's time from earlier runs on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncrun.records.glance import Glance

# Work within this share counts as equal; beyond this factor there is no estimate, because small networks spend their
# time on launching operations and large ones on computing.
ALIKE, FARTHEST = 0.01, 10.0


@dataclass(frozen=True)
class Work:
    """What decides a run's time. kind: must be equal for a comparison: the model's name, the optimiser, the shape of an
    image, the precision, the device. threads: None if not known.
    of_epoch: samples times parameters; for free features, whose parameters grow with the samples, parameters. batch:
    its samples. epochs: None if their number is not known before (lbfgs): then whole runs are compared."""

    kind: tuple[Any, ...]
    threads: int | None
    of_epoch: float
    batch: int
    epochs: int | None

    @classmethod
    def of(cls, settings: Mapping[str, Any], facts: Mapping[str, Any]) -> "Work":
        """settings: of the run, by dotted keys. facts: entries of its manifest, or their expected values."""
        optimizer = settings["optimizer.name"]
        free = (
            settings.get("dataset.name") is None or facts["image_shape"] is None
        )  # the latter for targets of a data set
        shape = None if free else tuple(facts["image_shape"])
        kind = (settings["model.name"], optimizer, shape, settings.get("precision", "full"), facts["device"])
        of_epoch = float(facts["parameters"]) * (1 if free else facts["num_samples"])
        batch = facts["num_samples"] if settings["batch_size"] == "full" else settings["batch_size"]
        epochs = None if optimizer == "lbfgs" else settings["epochs"] + (settings.get("finish_iterations") or 0)
        return cls(kind, facts.get("threads"), of_epoch, batch, epochs)

    def distance(self, other: "Work") -> float:
        """The larger ratio of work, of an epoch or a batch."""
        ratios = self.of_epoch / other.of_epoch, self.batch / other.batch
        return max(max(ratio, 1 / ratio) for ratio in ratios)


@dataclass(frozen=True)
class Estimate:
    """seconds: of training and measuring, without imports and drawing. run: the compared run. is_alike: whether its
    epochs have the same work."""

    seconds: float
    run: Path
    is_alike: bool


class Speeds:
    """runs: from any machine. host: this machine's."""

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
        """From the run of the same kind with the nearest work, preferably with the same threads; None if there is
        none."""
        near = [each for each in self._timed if each[0].kind == work.kind and work.distance(each[0]) <= FARTHEST]
        if not near:
            return None
        other, seconds, path = min(near, key=lambda each: (each[0].threads != work.threads, work.distance(each[0])))
        is_alike = other.threads == work.threads and work.distance(other) < 1 + ALIKE
        return Estimate(seconds * work.of_epoch / other.of_epoch * (work.epochs or 1), path, is_alike)
