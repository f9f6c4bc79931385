"""The launcher behind `ncrun train -m`: Hydra's own, which trains one run after the other, unless the sweep asks for
processes side by side (jobs=) or one batched program (together=).

It lives here because Hydra takes plugins from this namespace only.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn

from ncrun.config import RunConfig
from ncrun.engines.sweeps import is_parallel


class SweepLauncher(BasicLauncher):
    """BasicLauncher that hands a whole sweep to the task function's attribute `sweep`, where it has one.

    runs: the jobs' configurations, as the sweeper has checked them.
    """

    runs: Sequence[RunConfig] = ()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        sweep = getattr(self.task_function, "sweep", None)
        if sweep is None or not is_parallel(self.runs[0]):
            return super().launch(job_overrides, initial_job_idx)
        sweep(list(zip(job_overrides, self.runs, strict=True)))
        return []


ConfigStore.instance().store(
    group="hydra/launcher",
    name="ncrun",
    node={"_target_": "hydra_plugins.ncrun_launcher.SweepLauncher"},
    provider="ncrun",
)
