"""The keys of hydra/launcher=slurm, which say how a sweep is submitted; none of them belongs to a run."""

from dataclasses import dataclass, field, fields
from typing import Any

from ncrun.errors import UserError


def _key(meaning: str, default: Any) -> Any:
    if isinstance(default, list | dict):
        return field(default_factory=type(default), metadata={"meaning": meaning})
    return field(default=default, metadata={"meaning": meaning})


@dataclass
class SlurmSettings:
    """Mutable, as Hydra wants it."""

    partition: str | None = _key("where it is queued; left out: the cluster's default", None)
    account: str | None = _key("who is charged", None)
    qos: str | None = _key("quality of service", None)
    constraint: str | None = _key("features that a node must have", None)
    gpus_per_node: int | None = _key("GPUs of each task; left out: none", None)
    cpus_per_task: int = _key("cores of each task", 1)
    mem_gb: float | None = _key("memory of each task; left out: the cluster's default", None)
    timeout_min: int = _key("minutes that a task may take at a time; what is not done then goes on by itself", 60)
    signal_delay_s: int = _key("seconds before its time is up at which a task writes its checkpoint", 90)
    runs_per_task: int = _key("so many runs in each task, one after the other, or with jobs=N side by side", 1)
    array_parallelism: int = _key("tasks at a time", 256)
    wait: bool = _key("stay until all tasks have ended, and return the highest exit status", False)
    name: str | None = _key("what squeue shows; left out: the experiment, or data set and model", None)
    folder: str = _key("where logs go, on a disk that the nodes see", "slurm")
    setup: list[str] = _key("lines of shell before each task, such as ['module load cuda']", [])
    additional: dict[str, str] = _key("other options of sbatch, such as additional.reservation=mine", {})


def check_slurm(given: SlurmSettings) -> None:
    """Raises UserError for numbers that no task could live by."""
    for key in ("cpus_per_task", "timeout_min", "signal_delay_s", "runs_per_task", "array_parallelism"):
        if getattr(given, key) < 1:
            raise UserError(f"hydra.launcher.{key}={getattr(given, key)}: must be at least 1")
    if given.gpus_per_node is not None and given.gpus_per_node < 0:
        raise UserError(f"hydra.launcher.gpus_per_node={given.gpus_per_node}: must be at least 0")
    if given.mem_gb is not None and given.mem_gb <= 0:
        raise UserError(f"hydra.launcher.mem_gb={given.mem_gb:g}: must be more than 0")
    if given.signal_delay_s > given.timeout_min * 30:
        raise UserError(
            f"hydra.launcher.signal_delay_s={given.signal_delay_s}: is more than half of"
            f" timeout_min={given.timeout_min}, so that a task would stop before it gets anywhere"
        )
    if not (given.folder and given.folder.isprintable()):
        raise UserError("hydra.launcher.folder=: is empty; leave the key out for its default")


KEYS = tuple(each.name for each in fields(SlurmSettings))
