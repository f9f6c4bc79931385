"""A matrix over the classes as a heat map: light is zero, and where entries are negative they are marked."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]
# From negative to positive; its second half is that of matrices without a negative entry.
COLOURS = "PuOr_r"
# Entries this far below zero, in units of the largest, are no rounding: a dash marks them, which in grey look positive.
NEGATIVE = 0.02
# With more classes their numbers and dashes would not be readable.
NUMBERED_CLASSES = 30
# Of classes that are named along a side.
TICKS = 5


def scale_of(*matrices: Array) -> tuple[Colormap, float, float]:
    """Colours, and their smallest and largest number, of matrices on one scale: sequential without negative entries."""
    extent = max(float(np.abs(matrix).max()) for matrix in matrices) or 1.0
    if min(float(matrix.min()) for matrix in matrices) >= -NEGATIVE * extent:
        return ListedColormap(colormaps[COLOURS](np.linspace(0.5, 1, 256))), 0.0, extent
    return colormaps[COLOURS], -extent, extent


def draw(ax: Axes, matrix: Array, scale: tuple[Colormap, float, float], counts: Sequence[float]) -> AxesImage:
    """The matrix, with its colour bar and the classes along its sides: by their sizes where these differ."""
    colours, low, high = scale
    image = ax.imshow(matrix, cmap=colours, vmin=low, vmax=high)
    K = len(counts)
    if low < 0 and K <= NUMBERED_CLASSES:
        rows, columns = np.nonzero(matrix < -NEGATIVE * high)
        ax.plot(columns, rows, color="0.1", marker="_", linestyle="", markersize=min(3.0, 24 / K), markeredgewidth=0.6)
    ax.grid(False)
    if K <= NUMBERED_CLASSES:
        places = list(range(0, K, -(-K // TICKS)))
        names = [f"{counts[k]:g}" if len(set(counts)) > 1 else str(k) for k in places]
        ax.set_xticks(places, names, rotation=90 if max(map(len, names)) > 2 else 0)
        ax.set_yticks(places, names)
    else:
        ax.set(xticks=[], yticks=[])
    figure = ax.get_figure()
    assert figure is not None
    bar = figure.colorbar(image, ax=ax, shrink=0.7, aspect=12, pad=0.03)
    bar.locator = MaxNLocator(nbins=3, symmetric=low < 0)
    bar.update_ticks()
    return image


def class_axis(counts: Sequence[float]) -> str:
    """What stands along both sides."""
    return "class size" if len(set(counts)) > 1 else "class"
