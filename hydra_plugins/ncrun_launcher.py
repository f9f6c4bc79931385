"""The launcher behind `ncrun train -m`: it hands the sweep's jobs, as they are resolved, to the command.

It lives here because Hydra takes plugins from this namespace only.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from ncrun.run import Job


class SweepLauncher(BasicLauncher):
    """jobs: what the sweeper has resolved and checked, each with the overrides that make it."""

    jobs: Sequence[tuple[Sequence[str], Job]] = ()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        sweep = getattr(self.task_function, "sweep")  # noqa: B009  ncrun.commands.composed gives the task one
        sweep(self.jobs)
        return []


ConfigStore.instance().store(
    group="hydra/launcher",
    name="ncrun",
    node={"_target_": "hydra_plugins.ncrun_launcher.SweepLauncher"},
    provider="ncrun",
)
