"""A framework's training loader, changed for measuring: every sample once, in order, for any number of ranks."""

from typing import Any

from torch.utils.data import DataLoader, IterableDataset, Subset


def once_through(loader: Any, rank: int = 0, world_size: int = 1) -> Any:
    """A loader of this rank's part of the same data set. Unlike a training loader it does not shuffle, drop the last
    batch, or repeat samples to fill ranks. A loader without a length is returned unchanged."""
    dataset = getattr(loader, "dataset", None)
    if dataset is None or isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return loader
    part = dataset if world_size == 1 else Subset(dataset, range(rank, len(dataset), world_size))
    size = getattr(loader, "batch_size", None) or getattr(loader.batch_sampler, "batch_size", None) or 256
    return DataLoader(part, batch_size=size, collate_fn=loader.collate_fn, num_workers=loader.num_workers)
