"""Samples of stored splits, read ahead by processes of their own."""

import ctypes
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from ncrun.data.stored import Stored
from ncrun.errors import UserError

Rows = NDArray[np.int64]
Request = tuple[int, Rows]
# What a terminal or Slurm sends to all processes of a training: it is the training that ends, after its checkpoint, and
# it needs images until then.
SIGNALS = (signal.SIGINT, signal.SIGUSR2)
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


class Reader:
    """Reads samples of some splits. workers: processes that do; 0: this one does, when they are asked for.

    The processes start with the first question and end with `close`. Each reads whole pieces, at most two ahead of what
    was taken, so that no more is in memory. They get no tensors and return none, which needs no shared memory.
    """

    def __init__(self, splits: Sequence[Stored], workers: int) -> None:
        self.splits, self.workers = splits, workers
        self._asked = _Asked()
        self._loader: DataLoader[Any] | None = None
        self._is_read = False

    def read(self, split: int, pieces: Sequence[Rows]) -> Iterator[NDArray[Any]]:
        """(B, C, H, W) of each piece in turn. split, pieces: numbers of the split and of samples in it. One question at
        a time. Raises UserError for samples that cannot be read."""
        assert not self._is_read
        self._is_read = True
        self._asked.requests = [(split, rows) for rows in pieces]
        try:
            for found in self._started() if pieces else ():
                if isinstance(found, UserError):
                    raise found
                yield found
        finally:
            self._is_read = False

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        self._loader = None

    def _started(self) -> Iterator[Any]:
        with warnings.catch_warnings():
            # Of a fork while there are threads: what runs in the new process is Pillow and NumPy, which need none of
            # them. And of more processes than cores: whoever says how many means it.
            warnings.filterwarnings("ignore", ".*(multi-threaded|use of fork|worker processes in total)")
            if self._loader is None:
                self._loader = DataLoader(
                    _Splits(self.splits),
                    batch_sampler=self._asked,  # type: ignore[arg-type]
                    num_workers=self.workers,
                    collate_fn=_as_it_is,
                    worker_init_fn=_in_worker,
                    persistent_workers=self.workers > 0,
                    generator=torch.Generator(),  # else it would draw from the one that dropout draws from
                )
            return iter(self._loader)


def is_lost_worker(error: BaseException) -> bool:
    """Whether a process that reads was ended from outside, such as where memory runs out. PyTorch says so in whatever
    the process that trains is doing at that moment."""
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


class _Asked:
    """What the loader is to fetch next."""

    def __init__(self) -> None:
        self.requests: Sequence[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)


class _Splits(Dataset[Any]):
    def __init__(self, splits: Sequence[Stored]) -> None:
        self.splits = splits

    def __getitems__(self, request: Request) -> NDArray[Any] | UserError:
        """A user's mistake is handed over as it is: the loader would put a traceback into its words."""
        split, rows = request
        try:
            return self.splits[split].read(rows)
        except UserError as error:
            return error


def _obey_parent() -> None:
    """SIGTERM is sent by whoever ends all processes of a training, and by the one that trains where it ends."""
    while True:
        sender = signal.sigwaitinfo([signal.SIGTERM]).si_pid
        if sender == os.getppid():
            os._exit(0)


def _as_it_is(found: Any) -> Any:
    return found


def _in_worker(number: int) -> None:
    """Ends with the process that started it, however that ends: it would keep that one's lock on its records."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the thread takes it
    threading.Thread(target=_obey_parent, daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
