"""What `train` and `theory` share: a command line that Hydra reads.

-m, --cfg, --info, -cn and shell completion are Hydra's own. Its exceptions are told in one line.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from omegaconf import DictConfig, open_dict

from ncrun.config import extensions, resolve
from ncrun.config.compose import read_flags
from ncrun.config.experiments import with_scale
from ncrun.config.explain import explain
from ncrun.config.folders import add_folder, config_directory
from ncrun.config.store import store_choices
from ncrun.errors import UserError
from ncrun.run import Job


def run_composed(
    arguments: Sequence[str],
    work: Callable[[Job], int],
    check: Callable[[Job], None] | None = None,
    sweep: Callable[[Sequence[tuple[Sequence[str], Job]]], int] | None = None,
) -> int:
    """Hydra's part of a command; returns the exit status, of several jobs the highest.

    work: what is done with a job. check: a sweep asks this of all its jobs before the first one starts. sweep: what is
    done with all the jobs of -m, each given with the overrides that make it; left out: one after the other.
    Raises UserError.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand exceptions over, to be told in one line here
    import hydra
    from hydra.core.hydra_config import HydraConfig

    options = read_flags(arguments)
    typed, flags = list(options.overrides), _without(arguments, options.overrides)
    is_sweep = bool(options.multirun)
    for key in ("jobs", "together"):
        if not is_sweep and any(override.startswith(f"{key}=") for override in typed):
            raise UserError(f"{key}: has no effect without -m")
    if options.config_dir is not None and Path(options.config_dir).is_dir():
        add_folder(Path(options.config_dir))  # for the experiments in it, whose scales are read before Hydra begins
    typed = extensions.extended(typed)
    store_choices()
    # A sweep's jobs are told apart first, for each may be of another scale; see hydra_plugins/ncrun_sweeper.py.
    sys.argv = [sys.argv[0], *flags, *(typed if is_sweep else with_scale(typed))]
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

    def train_all(jobs: Sequence[tuple[Sequence[str], Job]]) -> None:
        nonlocal started
        started = True
        try:
            statuses.extend([sweep(jobs)] if sweep is not None else [work(job) for _, job in jobs])
        except Exception as error:
            failures.append(error)

    task.check = check  # type: ignore[attr-defined]
    task.sweep = train_all  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix="ncrun-") as scratch:
        os.environ["NCRUN_SCRATCH"] = scratch  # where Hydra puts what nobody needs, such as multirun.yaml
        try:
            hydra.main(version_base="1.3", config_path=str(config_directory()), config_name="train")(task)()
        except SystemExit as exit_:  # argparse inside Hydra, or a help text
            return exit_.code if isinstance(exit_.code, int) else 0
        except KeyboardInterrupt:
            return 130
        except Exception as error:
            raise explain(error, composing=not started) from error
    if failures:
        raise failures[0]
    return max(statuses, default=0)


def _without(arguments: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The flags, with their values, among which the overrides stand in this order."""
    left = list(overrides)
    flags = []
    for argument in arguments:
        if left and argument == left[0]:
            left.pop(0)
        else:
            flags.append(argument)
    return flags
