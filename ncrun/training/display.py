"""The live display of a training: a bar and the latest numbers in a terminal, nothing elsewhere."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from ncrun.metrics import METRICS


class Display:
    """A progress bar over epochs above the latest metrics. wanted: auto (only in a terminal), True or False."""

    def __init__(self, title: str, epochs: int, wanted: str | bool) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._title = title
        self._task = self._bar.add_task(title, total=epochs)
        self._epoch, self._row = 0, dict[str, Any]()
        shown = console.is_terminal if wanted == "auto" else wanted
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4) if shown else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, epoch: int, row: dict[str, Any] | None) -> None:
        # The bar is updated only when it is drawn: its bookkeeping takes longer than a step of free features.
        self._epoch = epoch
        self._row = row or self._row

    def _render(self) -> Group:
        self._bar.update(self._task, completed=self._epoch)
        present = {
            each.live: self._row[each.key] for each in METRICS if each.live and self._row.get(each.key) is not None
        }
        table = Table(box=None, padding=(0, 2, 0, 0))
        for label in present:
            table.add_column(label, justify="right", min_width=7)
        table.add_row(*(f"{value:.3g}" for value in present.values()))
        return Group(self._title, self._bar, table)
