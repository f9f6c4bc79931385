"""Ranks: processes that train one run together, each on its share of every batch and of every measurement.

All have the same parameters, to the bit, because sums over the ranks are the same on all of them.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from ncrun.data.reader import is_lost_worker
from ncrun.errors import UserError

T = TypeVar("T")
# Seconds for which the first rank waits for a failed rank's message; after that it was killed.
LAST_WORDS = timedelta(seconds=2)
FAILED = "ncrun-failed"


class PeerLost(Exception):
    """Another rank has ended; the message gives the reason if it is known."""


@dataclass(frozen=True)
class Ranks:
    """rank: of this process. number: of all ranks; 1: this process trains alone. store: for a failing rank's
    message."""

    rank: int = 0
    number: int = 1
    store: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes the records."""
        return self.rank == 0

    def part(self, whole: slice) -> slice:
        """This rank's share of consecutive numbers."""
        size = whole.stop - whole.start
        start, stop = (whole.start + size * place // self.number for place in (self.rank, self.rank + 1))
        return slice(start, stop)

    def add(self, sums: Sequence[Tensor]) -> None:
        """Sums each tensor over all ranks, in place. Raises PeerLost."""
        for dtype in dict.fromkeys(each.dtype for each in sums) if self.number > 1 else ():
            these = [each for each in sums if each.dtype == dtype]
            whole = torch.cat([each.reshape(-1) for each in these])
            self._reduce(whole, distributed.ReduceOp.SUM)
            for each, part in zip(these, torch.split(whole, [each.numel() for each in these]), strict=True):
                each.copy_(part.view_as(each))

    def smallest(self, number: float) -> float:
        """The smallest of all ranks' numbers, without waiting for a GPU. Raises PeerLost."""
        if self.number == 1:
            return number
        whole = torch.tensor(number, dtype=torch.float64)
        self._reduce(whole, distributed.ReduceOp.MIN)
        return float(whole)

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank. Raises PeerLost."""
        return self.smallest(float(not flag)) == 0

    def told_by_first(self, work: Callable[[], T]) -> T:
        """The first rank's result, on all ranks. Raises PeerLost, and the first rank's UserError on all ranks."""
        if self.number == 1:
            return work()
        box: list[Any] = [None]
        if self.is_first:
            try:
                box = [work()]
            except UserError as error:
                box = [error]
        with _peers():
            distributed.broadcast_object_list(box, src=0)
        if isinstance(box[0], UserError):
            raise box[0]
        found: T = box[0]
        return found

    def say_last_words(self, words: str) -> None:
        """Sends a message to the first rank, which prints it."""
        with contextlib.suppress(RuntimeError):  # the first rank is gone
            self.store.set(FAILED, f"rank {self.rank}: {words}")

    def words_of_lost(self) -> str:
        """The message of a failed rank."""
        try:
            self.store.wait([FAILED], LAST_WORDS)
            return str(self.store.get(FAILED).decode())
        except RuntimeError:
            return "another rank has ended without a message (killed, or out of memory)"

    def _reduce(self, whole: Tensor, how: Any) -> None:
        with _peers():
            distributed.all_reduce(whole, how)


ALONE = Ranks()


@contextlib.contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # raised by all backends for a lost connection
        if is_lost_worker(error):
            raise
        raise PeerLost from error


@contextlib.contextmanager
def joined(on_gpu: bool) -> Iterator[Ranks]:
    """The ranks that torchrun started, until the end of the block. Each has its own GPU."""
    if on_gpu:
        here, there = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if here > there:
            raise UserError(f"--nproc-per-node={here}: this machine has {there} GPUs, and each process needs one")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, number = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=number)
    try:
        yield Ranks(rank, number, store)
    finally:
        distributed.destroy_process_group()
