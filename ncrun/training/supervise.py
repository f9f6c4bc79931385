"""Records how a training ends: signals and failures of every kind, each with its exit status."""

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ncrun.data.reader import is_lost_worker
from ncrun.errors import UserError
from ncrun.records import RunDirectory
from ncrun.records.lock import LockLost
from ncrun.training.checkpoint import DoesNotFit
from ncrun.training.evaluate import NegativeFeatures
from ncrun.training.logbook import Diverged
from ncrun.training.loop import Interrupted
from ncrun.training.ranks import ALONE, PeerLost, Ranks

LOST_WORKER = "a process that reads images was killed; if memory ran out, make stream_workers or stream_cache smaller"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # the last one is Slurm's warning


def supervise(
    title: str,
    records: Sequence[RunDirectory],
    smaller: str,
    work: Callable[[Callable[[], bool]], int],
    ranks: Ranks = ALONE,
) -> int:
    """The exit status of work(stop_requested), which writes and closes the records of a training.

    If the work ends early, the records that are still held get the reason. title: the training's name in messages.
    smaller: keys to make smaller if memory runs out. ranks: processes that train together; the first one reports a
    failure of any. Raises UserError, and unexpected errors, which are bugs in ncrun.
    """
    stop = _StopSignals()

    def close(**changes: Any) -> None:
        # On a full disk the old manifests stay: they say "running", and the same command continues.
        for record in records:
            if record.held:  # a record that has ended already holds the reason
                with contextlib.suppress(OSError, LockLost):
                    record.close(**changes)

    try:
        with stop:
            status = work(lambda: stop.received)
    except Interrupted:
        close(state="interrupted")
        them = "it" if len(records) == 1 else "them"
        print(f"{title}: interrupted; the same command continues {them}", file=sys.stderr)
        return 128 + (stop.number or signal.SIGTERM)  # this rank got no signal, but another one did
    except KeyboardInterrupt:  # a second Ctrl-C: stop at once; the last checkpoint stays
        close(state="interrupted")
        return 128 + (stop.number or signal.SIGINT)
    except LockLost as error:  # another process holds the records now
        print(f"ncrun: {title}: {error}; this process ends", file=sys.stderr)
        return 1
    except UserError:
        raise
    except Diverged:  # the logbook has closed the records and printed it
        return 1
    except BaseException as error:
        lost = isinstance(error, PeerLost)
        reason = f"{ranks.words_of_lost()}; the same command continues" if lost else _reason(error, smaller)
        if not (ranks.is_first or lost):
            ranks.say_last_words(reason or f"{type(error).__name__}: {error}")
        close(state="failed", reason=reason or f"{type(error).__name__}: {error}")
        if reason is None:
            raise
        print(f"ncrun: {title}: {reason}", file=sys.stderr)
        return 1
    finally:
        for record in records:
            record.release()
    if stop.received:  # too late for this training, but not for those after it in a sweep
        return 128 + stop.number
    return status


def _reason(error: BaseException, smaller: str) -> str | None:
    """One line with the reason for the end and what to try; None for an unexpected error."""
    if isinstance(error, DoesNotFit | NegativeFeatures):
        return str(error)
    if isinstance(error, OSError):
        file = f" ({Path(str(error.filename)).name})" if error.filename else ""
        return f"cannot continue: {error.strerror or error}{file}; fix this, then the same command continues"
    if is_lost_worker(error):
        return f"{LOST_WORKER}; the same command continues"
    return f"out of memory; try a smaller {smaller}" if is_out_of_memory(error) else None


def is_out_of_memory(error: BaseException) -> bool:
    """Out of memory on a device, in numpy, or in PyTorch's allocator on the CPU, which raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


class _StopSignals:
    """Notes signals to stop, so that the loop stops after its step; the same signal again stops at once.

    Only Python's main thread gets signals; in other threads nothing is noted, and signals keep their effect.

    (A second signal of another kind does not count: Slurm sends one kind after the other, and Ctrl-C also reaches
    `ncrun figures`, which then terminates its trainings.)
    """

    def __init__(self) -> None:
        self.number = 0

    @property
    def received(self) -> bool:
        return self.number != 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == self.number:
            raise KeyboardInterrupt
        self.number = self.number or number

    def __enter__(self) -> "_StopSignals":
        noted = STOP_SIGNALS if threading.current_thread() is threading.main_thread() else ()
        self._previous = {each: signal.signal(each, self._handle) for each in noted}
        return self

    def __exit__(self, *_: object) -> None:
        for each, previous in self._previous.items():
            signal.signal(each, previous)
