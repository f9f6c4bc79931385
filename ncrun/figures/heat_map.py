"""A matrix over the classes as a heat map: zero is light, and negative entries are marked."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Colours, and their smallest and largest number.
Scale = tuple[Colormap, float, float]
# From negative to positive; matrices without negative entries use the second half.
COLOURS = "PuOr_r"
# Entries below minus this share of the largest are negative beyond rounding: a dash marks them, because in grey they
# look positive.
NEGATIVE = 0.02
# With more classes numbers and dashes would not be readable.
NUMBERED_CLASSES = 30
# In points, the longest dash, and all dashes of a row together.
LONGEST_DASH, DASHES = 4.0, 32.0
# The most class names along a side.
TICKS = 5


def scale_of(*matrices: Array) -> Scale:
    """Of matrices on one scale: sequential without negative entries."""
    extent = max(float(np.abs(matrix).max()) for matrix in matrices) or 1.0
    if min(float(matrix.min()) for matrix in matrices) >= -NEGATIVE * extent:
        return ListedColormap(colormaps[COLOURS](np.linspace(0.5, 1, 256))), 0.0, extent
    return colormaps[COLOURS], -extent, extent


def cells(ax: Axes, matrix: Array, scale: Scale) -> AxesImage:
    """The matrix alone, what is negative with a dash in it."""
    colours, low, high = scale
    image = ax.imshow(matrix, cmap=colours, vmin=low, vmax=high)
    if low < 0 and len(matrix) <= NUMBERED_CLASSES:
        size = min(LONGEST_DASH, DASHES / len(matrix))
        is_dark = matrix < -high / 2
        for colour, chosen in (("white", is_dark), ("0.25", ~is_dark & (matrix < -NEGATIVE * high))):
            rows, columns = np.nonzero(chosen)
            ax.plot(columns, rows, "_", color=colour, markersize=size, markeredgewidth=0.8)
    ax.grid(False)
    return image


def draw(ax: Axes, matrix: Array, scale: Scale, counts: Sequence[float]) -> AxesImage:
    """The matrix with its colour bar and the classes along its sides, named by their counts if these differ."""
    image = cells(ax, matrix, scale)
    K, low = len(counts), scale[1]
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
    """The labels of both sides."""
    return "class count" if len(set(counts)) > 1 else "class"
