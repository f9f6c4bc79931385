"""`ncrun.train`: trains one run from Python, as `ncrun train` does, in the user's own process."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from ncrun.config import extensions
from ncrun.config.compose import refuse_sweeps
from ncrun.config.doors import LAUNCHERS, check_overrides, launcher_of
from ncrun.config.experiments import recipe
from ncrun.config.planning import job_of
from ncrun.config.typed import Typed
from ncrun.data.sources.own import opened
from ncrun.errors import UserError
from ncrun.library.loaded import LoadedRun, load
from ncrun.training.runs import train as train_jobs


class TrainingFailed(RuntimeError):
    """A training failed: it diverged, or memory or disk ran out. The message gives the reason, and so does the record,
    which `ncrun.load` reads."""


def train(overrides: Sequence[str] = ()) -> LoadedRun:
    """Trains or continues one run; a finished run is left alone. Returns the run as `ncrun.load` does.

    overrides: as after `ncrun train`, such as ["dataset=mnist", "head.depth=3"]. The records are those of the command,
    in ./runs or run_dir=; either can continue the other's run.

    Raises UserError, a ValueError, for what the command refuses; TrainingFailed; and KeyboardInterrupt after an
    interrupt of the main thread (Ctrl-C, or a notebook's button), when a checkpoint is written. Threads, random states
    and default dtype of torch are restored.
    """
    if isinstance(overrides, str) or not all(isinstance(each, str) for each in overrides):
        raise UserError(f"{overrides!r}: must be a list of overrides, such as ['dataset=digits', 'epochs=5']")
    for each in overrides:
        if each.startswith("-"):
            raise UserError(f"{each}: options have no effect here; give overrides, such as epochs=5")
    check_overrides(overrides)
    if (launcher := launcher_of(overrides)) != LAUNCHERS[0]:
        raise UserError(f"hydra/launcher={launcher}: has no effect: ncrun.train trains one run")
    refuse_sweeps(overrides, "ncrun.train")
    # A command may cache these, but a program may run for days while the user's files change.
    opened.cache_clear()
    recipe.cache_clear()
    typed = extensions.extended(overrides)
    for key in ("jobs", "together"):
        Typed(typed).refuse(key, "ncrun.train trains one run")
    Typed(typed).refuse("dry_run", "ncrun.train returns a trained run; use `ncrun train dry_run=true`")
    job = job_of(typed)
    if job.is_group:
        raise UserError("restarts: make several runs, but ncrun.train trains one; loop over seed=0, seed=1, ...")
    with _left_as_it_was():
        status = train_jobs([job])
    if status >= 128:
        signal.raise_signal(status - 128)  # to whoever minds it in this program
        raise KeyboardInterrupt
    run = load(job.directory)
    if run.state != "done":
        raise TrainingFailed(f"{run.path}: {run.manifest.get('reason', 'another process has taken over')}")
    return run


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """torch's state as in a new process, and restored afterwards. numpy and scipy see small matrices only; their
    threads compete with torch's: free features took 5 times as long."""
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    dtype = torch.get_default_dtype()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    try:
        torch.set_default_dtype(torch.float32)
        with torch.random.fork_rng(devices), torch.enable_grad(), threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic
