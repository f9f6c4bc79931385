"""Meters of the ranks of torch.distributed, merged."""

from typing import Any, Protocol, TypeVar

from torch import distributed


class Mergeable(Protocol):
    """A meter."""

    def merge(self, other: Any) -> None: ...

    def on_cpu(self) -> Any: ...


T = TypeVar("T", bound=Mergeable)


def all_merged(own: T, empty: T, group: Any = None) -> T:
    """`empty`, with the meters of all ranks merged into it in the ranks' order, so that all have the same numbers.

    One meter after the other goes round: two of them are in memory at once, whatever the number of ranks."""
    if not (distributed.is_available() and distributed.is_initialized()):
        empty.merge(own)
        return empty
    here = distributed.get_rank(group)
    for rank in range(distributed.get_world_size(group)):
        box = [own.on_cpu() if rank == here else None]
        source = rank if group is None else distributed.get_global_rank(group, rank)
        distributed.broadcast_object_list(box, src=source, group=group)
        assert box[0] is not None
        empty.merge(box[0])
    return empty
