"""The common part of the frameworks' callbacks: a `watch` made when training starts, and the numbers to log."""

from typing import Any

from torch import nn

from ncrun.measurement import Measurement
from ncrun.meter.loaders import once_through
from ncrun.meter.watching import watch


class Watching:
    """layer, loader, every and the rest: as `watch` takes them. loader: by default the framework's training data.
    prefix: of the logged columns."""

    def __init__(self, layer: Any, *, loader: Any = None, every: int = 1, prefix: str, **stated: Any) -> None:
        self.layer, self.loader, self.every, self.prefix, self.stated = layer, loader, every, prefix, stated
        self.watch: watch | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """`watch.rows`; empty before training."""
        return [] if self.watch is None else self.watch.rows

    @property
    def last(self) -> Measurement | None:
        """The newest measurement."""
        return None if self.watch is None else self.watch.last

    def begin(self, model: nn.Module, loader: Any, rank: int, world_size: int) -> None:
        """Before the first epoch. loader: the framework's own. Raises UserError as `watch` does."""
        stated = dict(self.stated)
        if self.loader is None:
            stated.setdefault("all_ranks", world_size > 1)
        samples = once_through(loader, rank, world_size) if self.loader is None else self.loader
        self.watch = watch(model, self.layer, samples, every=self.every, **stated)
        self.watch.measure()

    def step(self) -> bool:
        """After an epoch; whether it was measured."""
        assert self.watch is not None
        return self.watch.step() is not None

    def end(self) -> bool:
        """After training; whether that was measured now."""
        assert self.watch is not None
        return self.watch.finish() is not None

    def numbers(self) -> dict[str, float]:
        """All single numbers of the newest measurement that are not null."""
        values = {key: value for key, value in self.rows[-1].items() if key != "epoch"}
        return {self.prefix + key: float(each) for key, each in values.items() if isinstance(each, float | int)}
