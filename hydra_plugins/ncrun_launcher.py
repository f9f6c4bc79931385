"""The launchers behind `ncrun train -m`: they pass the sweep's resolved jobs to the command.

They are here because Hydra loads plugins only from this namespace.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from ncrun.config.launching import SlurmSettings
from ncrun.run import Job


class SweepLauncher(BasicLauncher):
    """Trains on this machine. jobs: resolved and checked by the sweeper, each with its overrides."""

    jobs: Sequence[tuple[Sequence[str], Job]] = ()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        sweep = getattr(self.task_function, "sweep")  # noqa: B009  ncrun.commands.composed gives the task one
        sweep(self.jobs)
        return []


class SlurmLauncher(SweepLauncher):
    """Submits to Slurm. given: the keys hydra.launcher.*"""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given = SlurmSettings(**given)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        submit = getattr(self.task_function, "submit")  # noqa: B009
        submit(self.jobs, self.given)
        return []


ConfigStore.instance().store(
    group="hydra/launcher",
    name="ncrun",
    node={"_target_": "hydra_plugins.ncrun_launcher.SweepLauncher"},
    provider="ncrun",
)


@dataclass
class _SlurmNode(SlurmSettings):
    """As Hydra has it."""

    _target_: str = "hydra_plugins.ncrun_launcher.SlurmLauncher"
    _convert_: str = "all"


ConfigStore.instance().store(group="hydra/launcher", name="slurm", node=_SlurmNode, provider="ncrun")
