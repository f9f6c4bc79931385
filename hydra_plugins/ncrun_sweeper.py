"""The grid sweeper behind `ncrun train -m`: Hydra's own, which checks every job of the grid before the first one runs.

It lives here because Hydra takes plugins from this namespace only.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from ncrun.compose import typed_dataset_wins
from ncrun.config import RunConfig, resolve
from ncrun.errors import UserError


class CheckedSweeper(BasicSweeper):
    """BasicSweeper whose check of a batch includes the project's own validation of every job.

    preflight: the task's own further check of a run, where the task function has one as an attribute.
    """

    preflight: Callable[[RunConfig], None] | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.preflight = getattr(task_function, "preflight", None)

    @staticmethod
    def split_arguments(overrides: list[Override], max_batch_size: int | None) -> list[list[list[str]]]:
        batches = BasicSweeper.split_arguments(overrides, max_batch_size)
        return [[typed_dataset_wins(job) for job in batch] for batch in batches]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        assert self.config is not None
        assert self.hydra_context is not None
        directories: dict[str, str] = {}
        runs = []
        for overrides in batch:
            composed = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
            run = resolve(composed)
            runs.append(run)
            for key in ("jobs", "together"):
                if getattr(run, key) != getattr(runs[0], key):
                    raise UserError(f"{key}: says how the whole sweep is trained, and takes one value")
            if self.preflight is not None:
                self.preflight(run)
            directory, job = str(run.directory()), " ".join(overrides)
            if directory in directories:
                raise UserError(
                    f"run_dir={directory}: jobs '{directories[directory]}' and '{job}' of this sweep would share it;"
                    " leave run_dir out or make it a template such as 'out/${head.depth}'"
                )
            directories[directory] = job
        setattr(self.launcher, "runs", runs)  # noqa: B010  the project's own launcher trains a whole sweep from them


_NODE: dict[str, Any] = {
    "_target_": "hydra_plugins.ncrun_sweeper.CheckedSweeper",
    "max_batch_size": None,
    "params": None,
}
ConfigStore.instance().store(group="hydra/sweeper", name="ncrun", node=_NODE, provider="ncrun")
