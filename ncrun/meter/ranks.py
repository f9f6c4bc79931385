"""Meters of the ranks of torch.distributed, merged."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import torch
from torch import distributed, nn

from ncrun.meter.batches import Seen


class Mergeable(Protocol):
    """A meter."""

    seen: Seen

    def merge(self, other: Any) -> None: ...


T = TypeVar("T", bound=Mergeable)


def all_merged(own: T, new: Callable[[], T], group: Any = None) -> T:
    """A new meter that merges those of all ranks in the ranks' order, so that all ranks have the same numbers.

    The meters are sent one after the other, so that only two are in memory at once."""
    empty = new()
    if not (distributed.is_available() and distributed.is_initialized()):
        empty.merge(own)
        return empty
    here = distributed.get_rank(group)
    for rank in range(distributed.get_world_size(group)):
        box = [_on_cpu(own, new()) if rank == here else None]
        source = rank if group is None else distributed.get_global_rank(group, rank)
        distributed.broadcast_object_list(box, src=source, group=group)
        assert box[0] is not None
        empty.merge(box[0])
    return empty


def _on_cpu(own: T, copy: T) -> T:
    copy.seen = replace(own.seen, device=torch.device("cpu"))
    copy.merge(own)
    return copy


@contextmanager
def buffers_of_rank_zero(model: nn.Module) -> Iterator[None]:
    """Every rank has its own running statistics of BatchNorm; PyTorch saves those of rank 0 and sends them to all
    before the next step. In this context all ranks have them, so that all measure the same network."""
    own = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with torch.no_grad():
            for buffer, _ in own:
                distributed.broadcast(buffer, src=0)
        yield
    finally:
        with torch.no_grad():
            for buffer, kept in own:
                buffer.copy_(kept)
