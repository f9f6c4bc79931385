"""The starts of the search: exact configurations of any widths; `widened` then adds spare neurons and noise."""

import itertools

import numpy as np
from relu_head_values import Array, Factors, Head


def widened(rng: np.random.Generator, factors: Factors, width: int, noise: float) -> Factors:
    """At least `width` neurons in every layer, and noise of a share of each factor's root mean square."""
    sizes = [factors[0].shape[1], *(max(width, len(factor)) for factor in factors[:-1]), len(factors[-1])]
    result = []
    for factor, columns, rows in zip(factors, sizes[:-1], sizes[1:], strict=True):
        wide = rng.standard_normal((rows, columns)) * (noise * np.sqrt(np.mean(factor**2)))
        wide[: factor.shape[0], : factor.shape[1]] += factor
        result.append(wide)
    return result


def collapsed(head: Head) -> Factors:
    """Deep neural collapse."""
    classes, depth = head
    return [np.eye(classes)] * (depth + 1)


def random_start(rng: np.random.Generator, head: Head, widest: int) -> Factors:
    """Independent normal entries, at a random scale, in layers as wide as there are classes up to `widest`."""
    classes, depth = head
    width = int(rng.integers(classes, widest + 1))
    sizes = [classes, *[width] * depth, classes]
    scale = rng.choice([0.5, 1.0, 2.0])
    return [
        scale * rng.standard_normal((rows, columns)) / np.sqrt(columns) for columns, rows in itertools.pairwise(sizes)
    ]


def random_code(rng: np.random.Generator, classes: int) -> Array:
    """A code of few non-negative numbers for each class, (r, K), columns of sum 1: edges of a graph, a circle,
    noise."""
    kind = rng.choice(["edges", "circle", "noise"])
    code: Array
    if kind == "edges":
        fewest = next(r for r in itertools.count(3) if r * (r - 1) // 2 >= classes)
        nodes = int(rng.integers(fewest, classes + 2))
        edges = list(itertools.combinations(range(nodes), 2))
        code = np.zeros((nodes, classes))
        for k, edge in enumerate(rng.permutation(len(edges))[:classes]):
            code[list(edges[edge]), k] = 1
    elif kind == "circle":
        angles = 2 * np.pi * (np.arange(classes) / classes + np.array([[0], [1], [2]]) / 3)
        code = 1 + rng.uniform(0.5, 1) * np.cos(angles)
    else:
        code = rng.random((int(rng.integers(2, classes + 1)), classes)) ** rng.choice([1, 3])
    return np.asarray(code / np.maximum(code.sum(axis=0), 1e-6))


def code_start(rng: np.random.Generator, head: Head) -> Factors:
    """A code in the hidden layers 1..m, a threshold that reads it, then deep neural collapse."""
    classes, depth = head
    code = random_code(rng, classes)
    last = int(rng.integers(1, depth))
    left, values, right = np.linalg.svd(code, full_matrices=False)  # code = W_1 H
    middle = [np.eye(len(code))] * (last - 1)
    gram = code.T @ code
    readout: Array = code.T - np.max(gram - 9 * np.eye(classes), axis=1, keepdims=True)
    if last == depth - 1:
        readout = np.linalg.pinv(code).astype(np.float64)
    after = [np.eye(classes)] * (depth - last - 1)
    root = np.sqrt(values)
    return [root[:, None] * right, left.astype(np.float64) * root, *middle, readout, *after]


def direct_sum(one: Factors, other: Factors) -> Factors:
    """Both heads as blocks of one, with disjoint classes."""
    result = []
    for a, b in zip(one, other, strict=True):
        block = np.zeros((a.shape[0] + b.shape[0], a.shape[1] + b.shape[1]))
        block[: a.shape[0], : a.shape[1]], block[a.shape[0] :, a.shape[1] :] = a, b
        result.append(block)
    return result
