"""The part that `train` and `theory` share: a command line that Hydra reads.

-m, --cfg, --info, -cn and shell completion are Hydra's own. Its exceptions become one line.
"""

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from ncrun.commands.keys import print_configuration
from ncrun.config import doors, extensions, resolve
from ncrun.config.compose import read_flags
from ncrun.config.experiments import with_scale
from ncrun.config.explain import explain
from ncrun.config.folders import add_folder, config_directory
from ncrun.config.launching import SlurmSettings
from ncrun.config.store import store_choices
from ncrun.errors import UserError
from ncrun.run import Job

if TYPE_CHECKING:
    from argparse import Namespace

Jobs = Sequence[tuple[Sequence[str], Job]]


def run_composed(
    arguments: Sequence[str],
    work: Callable[[Job], int],
    sweep: Callable[[Jobs], int] | None = None,
    submit: Callable[[Jobs, SlurmSettings], int] | None = None,
) -> int:
    """Hydra's part of a command; returns the exit status (the highest one of several jobs).

    work: called with a job. sweep: called with all jobs of -m, each given by its overrides; default: one after the
    other. submit: called instead with hydra/launcher=slurm; default: this launcher is refused. Raises UserError.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions over, to be reported in one line here
    import hydra
    from hydra.core.hydra_config import HydraConfig

    options = read_flags(arguments)
    doors.check_typed(options)
    typed = list(options.overrides)
    is_sweep = bool(options.multirun)
    if doors.launcher_of(typed) == "slurm" and not (is_sweep and submit is not None):
        why = "here: this command trains nothing" if submit is None else "without -m (which also submits a single run)"
        raise UserError(f"hydra/launcher=slurm: has no effect {why}")
    for key in ("jobs", "together"):
        if not is_sweep and any(override.startswith(f"{key}=") for override in typed):
            raise UserError(f"{key}: has no effect without -m")
    if options.config_dir is not None:
        folder = Path(options.config_dir)
        if not folder.is_dir():
            raise UserError(f"--config-dir={folder}: no such folder")
        add_folder(folder)
    typed = extensions.extended(typed)
    if options.cfg == "job" and not (is_sweep or options.package or options.config_name or options.config_dir):
        return print_configuration(typed)
    store_choices()
    # A sweep is expanded into jobs first, because each may have its own scale; see hydra_plugins/ncrun_sweeper.py.
    sys.argv = [sys.argv[0], *_flags(options), "--", *(typed if is_sweep else with_scale(typed))]
    statuses: list[int] = []
    failures: list[Exception] = []
    started = False

    def task(config: DictConfig) -> None:
        nonlocal started
        started = True
        try:
            with open_dict(config):
                config.hydra = HydraConfig.get()
            statuses.append(work(resolve(config, typed)))
        except Exception as error:  # kept, because Hydra would print the whole command before it
            failures.append(explain(error, composing=False))

    def all_of(jobs: Jobs, given: SlurmSettings | None = None) -> None:
        nonlocal started
        started = True
        try:
            if given is not None and submit is not None:
                statuses.append(submit(jobs, given))
            else:
                statuses.extend([sweep(jobs)] if sweep is not None else [work(job) for _, job in jobs])
        except Exception as error:
            failures.append(error)

    task.sweep = task.submit = all_of  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="ncrun-") as scratch:
        os.environ["NCRUN_SCRATCH"] = scratch  # for Hydra's own files, which nobody needs, such as multirun.yaml
        told = io.StringIO()
        try:
            with contextlib.redirect_stderr(told) if options.cfg else contextlib.nullcontext():
                hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="train")(task)()
        except SystemExit as exit_:  # a help text, or a signal
            if told.getvalue():  # Hydra printed its own line
                raise UserError(told.getvalue()) from exit_
            return exit_.code if isinstance(exit_.code, int) else 0
        except KeyboardInterrupt:
            return 130
        except Exception as error:
            raise explain(error, composing=not started) from error
    if failures:
        raise failures[0]
    return max(statuses, default=0)


def _flags(options: "Namespace") -> list[str]:
    """Hydra's own flags besides overrides, without those that ncrun handles."""
    whole = ("help", "hydra_help", "resolve", "run", "multirun", "shell_completion")
    flags = [f"--{name.replace('_', '-')}" for name in whole if getattr(options, name)]
    for name in ("cfg", "package", "config_name", "info"):
        value = getattr(options, name)
        if value is not None:
            flags.append(f"--{name.replace('_', '-')}={value}")
    return flags
