"""Shapes that somebody could think of, for the search over free features to start from."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def root_mean_square(x: Array) -> float:
    return float(np.sqrt(np.mean(x**2)))


def split(product: Array, widths: list[int], rng: np.random.Generator) -> list[Array]:
    """Factors, the rightmost first, whose product this is: equal shares of its singular values, `widths` between."""
    rank = min(*product.shape, *widths)
    left, values, right_t = np.linalg.svd(product, full_matrices=False)
    values = np.where(values > 1e-12 * values[0], values, 0.0)  # a root would blow rounding errors up
    share = np.sqrt(values[:rank] ** (2 / (len(widths) + 1)))
    axes = [right_t[:rank].T]
    axes += [np.linalg.qr(rng.standard_normal((width, rank)))[0] for width in widths]
    axes += [left[:, :rank]]
    return [(out * share) @ into.T for out, into in zip(axes[1:], axes[:-1], strict=True)]


def subsets(counts: Array, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """The largest 1..K classes, all of them first, and three random choices."""
    K = len(counts)
    order = np.argsort(-counts, kind="stable")
    drawn = [rng.permutation(K)[: int(rng.integers(1, K + 1))] for _ in range(3)]
    return [order[:size] for size in range(K, 0, -1)] + drawn


def partitions(K: int, largest: int | None = None) -> list[list[int]]:
    """Every way to write K as a sum of group sizes, in descending order."""
    if K == 0:
        return [[]]
    return [
        [size, *others] for size in range(min(K, largest or K), 0, -1) for others in partitions(K - size, min(size, K))
    ]


def simplices(groups: list[int]) -> Array:
    """(K, K): a simplex inside each group and zeros across; a class on its own keeps its diagonal entry."""
    blocks = np.zeros((sum(groups), sum(groups)))
    for start, size in zip(np.cumsum([0, *groups]), groups, strict=False):
        blocks[start : start + size, start : start + size] = np.eye(size) - (1 / size if size > 1 else 0)
    return blocks


def circle(K: int) -> Array:
    """(K, K): the classes at equal angles in a plane."""
    return np.asarray(np.cos(2 * np.pi * np.subtract.outer(np.arange(K), np.arange(K)) / K))


def flat(K: int, rank: int, rng: np.random.Generator) -> Array:
    """(K, K): inner products of random points in few dimensions; a bias may tell inner points from outer ones."""
    points = rng.standard_normal((rank, K))
    return np.asarray(points.T @ points)


def relu_starts(K: int, widths: tuple[int, ...], rng: np.random.Generator) -> list[list[Array]]:
    """[H, W_1, .., W_L] of a ReLU head, one column per class: separate chains, low rank, random low rank."""

    def embed(matrices: list[Array]) -> list[Array]:
        """Pad with silent neurons up to the widths."""
        sides = [K, *widths, K]
        return [
            np.pad(matrix, ((0, rows - matrix.shape[0]), (0, columns - matrix.shape[1])))
            for matrix, rows, columns in zip(matrices, sides[1:], sides[:-1], strict=True)
        ]

    def low_rank(hidden: Array) -> list[Array]:
        """hidden: (r, K), non-negative; its affine image is the last hidden layer, where every class has a neuron."""
        last = hidden.T @ hidden
        last = last - np.sort(last, axis=1)[:, -2:-1]  # every other class just below its neuron's threshold
        expand = last @ np.linalg.pinv(hidden)
        first = split(hidden, [widths[0]], rng)
        return embed([*first, *[np.eye(len(hidden))] * (len(widths) - 3), expand, np.eye(K)])

    alive = [np.isin(np.arange(K), classes).astype(float) for classes in subsets(np.ones(K), rng)]
    starts = [embed([np.diag(mask)] * (len(widths) + 1)) for mask in alive]
    for rank in (2, 3):
        sides = [K, *widths, K]
        pairs = list(zip(sides[1:], sides[:-1], strict=True))
        starts += [[rng.standard_normal((a, rank)) @ rng.standard_normal((rank, b)) for a, b in pairs]]
    if K > 3 and len(widths) > 2:
        angles = np.subtract.outer(np.arange(3) / 3, np.arange(K) / K)
        starts.append(low_rank(1 + np.cos(2 * np.pi * angles)))
        corners = next(r for r in range(3, K + 1) if r * (r - 1) // 2 >= K)
        edges = [(a, b) for a in range(corners) for b in range(a)][:K]
        starts.append(low_rank(np.array([[float(v in edge) for edge in edges] for v in range(corners)])))
    return starts
