"""What a run shows while it trains: a live line of numbers in a terminal, nothing elsewhere."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SHOWN = {
    "loss": "loss",
    "train_accuracy": "acc",
    "nc1": "nc1",
    "nc2_w": "nc2w",
    "nc2_h": "nc2h",
    "nc3": "nc3",
    "gap": "gap",
}


class Display:
    """A progress bar over epochs with the latest metrics. wanted: auto (only in a terminal), True or False."""

    def __init__(self, title: str, epochs: int, wanted: str | bool) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn(title),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            disable=not (console.is_terminal if wanted == "auto" else wanted),
        )
        self._task = self._progress.add_task(title, total=epochs, numbers="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def __call__(self, epoch: int, row: dict[str, Any] | None) -> None:
        self._progress.update(self._task, completed=epoch)
        if row is not None:
            numbers = " ".join(f"{short} {row[key]:.3g}" for key, short in SHOWN.items() if row.get(key) is not None)
            self._progress.update(self._task, numbers=numbers)
