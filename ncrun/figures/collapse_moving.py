"""The animation of collapse-seen: every snapshot of a run, without interpolation."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ncrun.errors import UserError
from ncrun.figures import panels, wording
from ncrun.figures.collapse_seen import SPLITS, View, draw_moment, legend, title_of, view_of
from ncrun.records.files import write_aside
from ncrun.records.read import Record

# Milliseconds of a snapshot, of the first one, and of the last one.
EACH, FIRST, LAST = 160, 800, 3000
DPI = 130
LARGE = 2.0


def collapse_moving(records: Sequence[Record], path: Path, classes: str | None = None) -> None:
    """Writes a GIF of a run: training samples beside test samples, on the predicted frame. classes: as for view_of.

    Every frame is a snapshot; nothing is interpolated. Raises UserError for several runs, and OSError.
    """
    if len(records) > 1:
        raise UserError(f"an animation shows one run, not {len(records)}; give one")
    view = view_of(records[0], classes)
    splits = ("train", "test") if len(view.snapshots.test_labels) else ("train",)
    figure, axes = panels.grid(1, len(splits), height=2.75)
    panels.legend_above(figure, legend([view]))
    figure.supxlabel(_words(view), fontsize="small", color="0.3")
    figure.set_dpi(DPI)
    last = len(view.snapshots) - 1
    frames = [_frame(figure, axes[0], view, index, splits) for index in range(last + 1)]
    durations = [EACH] * (last + 1)
    durations[0], durations[-1] = FIRST, LAST
    buffer = BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda file: file.write(buffer.getbuffer()))


def _frame(figure: Figure, axes: Sequence[Any], view: View, index: int, splits: Sequence[str]) -> Image.Image:
    _draw(figure, axes, view, index, splits)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])  # type: ignore[no-untyped-call]


def _draw(figure: Figure, axes: Sequence[Any], view: View, index: int, splits: Sequence[str]) -> None:
    when = title_of(view, index).replace("\n", ", ")
    for ax, split in zip(axes, splits, strict=True):
        ax.clear()
        draw_moment(ax, view, index, split, LARGE)
        ax.set_title(f"{SPLITS[split]} samples" + (f", {when}" if split == "train" else ""))
    if figure.get_layout_engine() is not None:  # all frames have the layout of the first one
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def _words(view: View) -> str:
    """Data and network, in as many words as fit below."""
    data, _, rest = wording.setting_words(view.record).partition("; ")
    return f"{data}; {rest.partition(', ')[0]}" if rest else data
