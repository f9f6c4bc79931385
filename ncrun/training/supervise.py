"""However a training ends, its records say so: signals, failures of every kind, and the exit status of each."""

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

LOST_WORKER = (
    "a process that reads images was killed; where memory ran out, stream_workers or stream_cache can be smaller"
)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)  # the last is Slurm's warning


def supervise(
    title: str,
    records: Sequence[RunDirectory],
    smaller: str,
    work: Callable[[Callable[[], bool]], int],
    ranks: Ranks = ALONE,
) -> int:
    """The exit status of work(stop_requested), which writes and closes the records of a training.

    Whatever ends the work early, the records that are still held say why. title: names the training in messages.
    smaller: what to try where memory runs out. ranks: that train together; where one fails, the first says it. Raises
    UserError, and what nobody expects: a bug of ours.
    """
    stop = _StopSignals()

    def close(**changes: Any) -> None:
        # Where the disk is full the old manifests stay: they say "running", and the same command continues.
        for record in records:
            if record.held:  # one that has ended already says how
                with contextlib.suppress(OSError, LockLost):
                    record.close(**changes)

    try:
        with stop:
            status = work(lambda: stop.received)
    except Interrupted:
        close(state="interrupted")
        them = "it" if len(records) == 1 else "them"
        print(f"{title}: interrupted; the same command continues {them}", file=sys.stderr)
        return 128 + (stop.number or signal.SIGTERM)  # none came here, where another rank got one
    except KeyboardInterrupt:  # a second Ctrl-C: stop at once, from the last checkpoint
        close(state="interrupted")
        return 128 + (stop.number or signal.SIGINT)
    except LockLost as error:  # the records are another process's now
        print(f"ncrun: {title}: {error}; this one ends", file=sys.stderr)
        return 1
    except UserError:
        raise
    except Diverged:  # the logbook has closed the records, and said so
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
    if stop.received:  # too late for this training, but in time for those after it in a sweep
        return 128 + stop.number
    return status


def _reason(error: BaseException, smaller: str) -> str | None:
    """What ended a training and what to try, in one line; None for an error that nobody expects."""
    if isinstance(error, DoesNotFit | NegativeFeatures):
        return str(error)
    if isinstance(error, OSError):
        file = f" ({Path(str(error.filename)).name})" if error.filename else ""
        return f"cannot go on: {error.strerror or error}{file}; once that is mended, the same command continues"
    if is_lost_worker(error):
        return f"{LOST_WORKER}; the same command continues"
    return f"out of memory; try a smaller {smaller}" if is_out_of_memory(error) else None


def is_out_of_memory(error: BaseException) -> bool:
    """Of a device, of numpy, or of PyTorch's allocator on the CPU, which raises a bare RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


class _StopSignals:
    """Notes signals that ask for an end, so that the loop can stop after its step; the same one again stops at once.

    Python hands signals to its main thread alone; in any other nothing is noted, and they do what they do there.

    (A second one of another kind is no impatience: Slurm sends one kind after the other, and Ctrl-C reaches
    `ncrun figures` as well, which then terminates its trainings.)
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
