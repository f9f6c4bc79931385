"""Reads samples of stored splits ahead, in separate processes."""

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
# Signals that a terminal or Slurm sends to all processes of a training. The training ends after its checkpoint, and
# needs images until then.
SIGNALS = (signal.SIGINT, signal.SIGUSR2)
DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG of Linux' prctl


class Reader:
    """Reads samples of some splits. workers: number of reading processes; 0: this process reads on demand.

    The processes start at the first request and end with `close`. Each reads whole pieces, at most two ahead, which
    limits the memory. They exchange no tensors, so no shared memory is needed.
    """

    def __init__(self, splits: Sequence[Stored], workers: int) -> None:
        self.splits, self.workers = splits, workers
        self._asked = _Asked()
        self._loader: DataLoader[Any] | None = None
        self._is_read = False

    def read(self, split: int, pieces: Sequence[Rows]) -> Iterator[NDArray[Any]]:
        """(B, C, H, W) of each piece in turn. split: its number; pieces: numbers of samples in it. One request at a
        time. Raises UserError for samples that cannot be read."""
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
            # Warnings about a fork while there are threads: the new process only runs Pillow and NumPy, which need none
            # of them. And about more processes than cores, which the user chose.
            warnings.filterwarnings("ignore", ".*(multi-threaded|use of fork|worker processes in total)")
            if self._loader is None:
                self._loader = DataLoader(
                    _Splits(self.splits),
                    batch_sampler=self._asked,  # type: ignore[arg-type]
                    num_workers=self.workers,
                    collate_fn=_as_it_is,
                    worker_init_fn=_in_worker,
                    persistent_workers=self.workers > 0,
                    generator=torch.Generator(),  # else it would use the generator of dropout
                )
            return iter(self._loader)


def is_lost_worker(error: BaseException) -> bool:
    """Whether a reading process was killed, such as out of memory. PyTorch then raises in the training process, at any
    place."""
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


class _Asked:
    """The order in which the loader fetches."""

    def __init__(self) -> None:
        self.requests: Sequence[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)


class _Splits(Dataset[Any]):
    def __init__(self, splits: Sequence[Stored]) -> None:
        self.splits = splits

    def __getitems__(self, request: Request) -> NDArray[Any] | UserError:
        """Returns a UserError instead of raising it: the loader would add a traceback to the message."""
        split, rows = request
        try:
            return self.splits[split].read(rows)
        except UserError as error:
            return error


def _obey_parent() -> None:
    """SIGTERM comes from whoever ends all processes of a training, and from the training process at its end."""
    while True:
        sender = signal.sigwaitinfo([signal.SIGTERM]).si_pid
        if sender == os.getppid():
            os._exit(0)


def _as_it_is(found: Any) -> Any:
    return found


def _in_worker(number: int) -> None:
    """Ends together with its parent, however that ends; otherwise it would hold the parent's lock on the records."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the thread handles it
    threading.Thread(target=_obey_parent, daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(DIES_WITH_PARENT, signal.SIGKILL)
