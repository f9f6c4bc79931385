"""The keys of hydra/launcher=slurm: how a sweep is submitted. They are not part of a run."""

from dataclasses import dataclass, field, fields
from typing import Any

from ncrun.errors import UserError


def _key(meaning: str, default: Any) -> Any:
    if isinstance(default, list | dict):
        return field(default_factory=type(default), metadata={"meaning": meaning})
    return field(default=default, metadata={"meaning": meaning})


@dataclass
class SlurmSettings:
    """Mutable, as Hydra requires."""

    partition: str | None = _key("partition of the queue; default: the cluster's", None)
    account: str | None = _key("account to charge", None)
    qos: str | None = _key("quality of service", None)
    constraint: str | None = _key("features that the nodes must have", None)
    gpus_per_node: int | None = _key("GPUs for each task; default: none", None)
    cpus_per_task: int = _key("cores for each task", 1)
    mem_gb: float | None = _key("memory for each task, in GB; default: the cluster's", None)
    timeout_min: int = _key("time limit of a task in minutes; unfinished work is submitted again by itself", 60)
    signal_delay_s: int = _key("seconds before the time limit at which a task writes its checkpoint", 90)
    runs_per_task: int = _key("runs in each task, one after the other, or N at once with jobs=N", 1)
    array_parallelism: int = _key("most tasks that run at once", 256)
    wait: bool = _key("wait until all tasks have ended, and return the highest exit status", False)
    name: str | None = _key("name in squeue; default: the experiment, or data set and model", None)
    folder: str = _key("folder of the logs, on a disk that all nodes share", "slurm")
    setup: list[str] = _key("shell commands before each task, such as ['module load cuda']", [])
    additional: dict[str, str] = _key("further options of sbatch, such as additional.reservation=mine", {})


def check_slurm(given: SlurmSettings) -> None:
    """Raises UserError for numbers with which no task could run."""
    for key in ("cpus_per_task", "timeout_min", "signal_delay_s", "runs_per_task", "array_parallelism"):
        if getattr(given, key) < 1:
            raise UserError(f"hydra.launcher.{key}={getattr(given, key)}: must be at least 1")
    if given.gpus_per_node is not None and given.gpus_per_node < 0:
        raise UserError(f"hydra.launcher.gpus_per_node={given.gpus_per_node}: must be at least 0")
    if given.mem_gb is not None and given.mem_gb <= 0:
        raise UserError(f"hydra.launcher.mem_gb={given.mem_gb:g}: must be more than 0")
    if given.signal_delay_s > given.timeout_min * 30:
        raise UserError(
            f"hydra.launcher.signal_delay_s={given.signal_delay_s}: must be at most half of"
            f" timeout_min={given.timeout_min}, or a task would stop before it makes progress"
        )
    if not (given.folder and given.folder.isprintable()):
        raise UserError("hydra.launcher.folder=: is empty; do not set it, to use the default")


KEYS = tuple(each.name for each in fields(SlurmSettings))
