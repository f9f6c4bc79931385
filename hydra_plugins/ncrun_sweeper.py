"""The grid sweeper behind `ncrun train -m`: every job of the grid is checked before the first one runs.

It is here because Hydra loads plugins only from this namespace.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore

from ncrun.config import resolve
from ncrun.config.experiments import with_scale
from ncrun.config.grid import expand
from ncrun.errors import UserError
from ncrun.run import Job


class CheckedSweeper(BasicSweeper):
    """Expands the grid, resolves every job once, and passes them all to the launcher."""

    def sweep(self, arguments: list[str]) -> Any:
        assert self.launcher is not None
        typed = expand(arguments)
        jobs = [self._resolved(job) for job in typed]
        for key in ("jobs", "together", "dry_run"):
            if len({job.config[key] for job in jobs}) > 1:
                raise UserError(f"{key}: applies to the whole sweep, and takes one value")
        _refuse_shared_directories(typed, jobs)
        setattr(self.launcher, "jobs", list(zip(typed, jobs, strict=True)))  # noqa: B010  our own launcher's
        return self.launcher.launch([with_scale(job) for job in typed], initial_job_idx=0)

    def _resolved(self, typed: Sequence[str]) -> Job:
        assert self.config is not None
        assert self.hydra_context is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, with_scale(typed))
        return resolve(composed, typed)


def _refuse_shared_directories(typed: Sequence[Sequence[str]], jobs: Sequence[Job]) -> None:
    seen: dict[str, str] = {}
    for overrides, job in zip(typed, jobs, strict=True):
        directory, words = str(job.directory), " ".join(overrides)
        if directory in seen:
            raise UserError(
                f"run_dir={directory}: jobs '{seen[directory]}' and '{words}' of this sweep would share it; do not set"
                f" run_dir, or make it a template such as 'out/${{head.depth}}'"
            )
        seen[directory] = words


_NODE: dict[str, Any] = {
    "_target_": "hydra_plugins.ncrun_sweeper.CheckedSweeper",
    "max_batch_size": None,
    "params": None,
}
ConfigStore.instance().store(group="hydra/sweeper", name="ncrun", node=_NODE, provider="ncrun")
