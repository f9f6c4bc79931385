"""The samples of a data set that a run uses. Torch-free."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncrun.data.request import DataRequest
from ncrun.data.splits import HELD_OUT, of_classes
from ncrun.errors import UserError


@dataclass(frozen=True)
class Chosen:
    """train_rows, test_rows: numbers of samples in their splits. train_labels, test_labels: their labels in the run, or
    (N, q) targets. index_hash identifies the chosen training samples."""

    train_rows: NDArray[np.int64]
    train_labels: NDArray[Any]
    test_rows: NDArray[np.int64]
    test_labels: NDArray[Any]
    index_hash: str


def chosen(request: DataRequest, train: NDArray[Any], test: NDArray[Any]) -> Chosen:
    """train, test: the labels or targets of the whole splits. Raises UserError if they have too few samples of a
    class."""
    if train.ndim == 2:
        indices, of_test = np.arange(len(train)), np.arange(len(test))  # with targets all
        train_rows, test_labels = indices, test
        labels = train
    else:
        refuse_too_few(request, sizes(train), sizes(test))
        (rows, placed), (of_test, test_labels) = (of_classes(each, request.classes) for each in (train, test))
        indices = choose_indices(placed, request.counts, request.subset, request.seed)
        train_rows, labels = rows[indices], placed[indices]
    dealt = shuffled_labels(labels, request.random_labels, request.seed)
    return Chosen(train_rows, dealt, of_test, test_labels, indices_hash(indices))


def sizes(labels: NDArray[np.int64]) -> tuple[int, ...]:
    """Samples of each class."""
    return tuple(np.bincount(labels).tolist())


def refuse_too_few(request: DataRequest, train_sizes: Sequence[int], test_sizes: Sequence[int]) -> None:
    """Raises UserError if the files hold fewer samples of a class than the run uses, or no test sample of
    it."""
    name = request.source.name
    for k, count in zip(request.chosen, request.counts, strict=True):
        train_size, test_size = (sizes[k] if k < len(sizes) else 0 for sizes in (train_sizes, test_sizes))
        if train_size < count:
            raise UserError(f"dataset={name}: its files hold {train_size} training samples of class {k}, not {count}")
        if test_size == 0:
            held_out = f" (without a test split, every {HELD_OUT}th sample of a class is a test sample)"
            hint = "" if request.source.has_test_split else held_out
            raise UserError(f"dataset={name}: its files hold no test sample of class {k}{hint}")


def choose_indices(labels: NDArray[np.int64], counts: Sequence[int], subset: str, seed: int) -> NDArray[np.int64]:
    """Sorted indices of counts[k] samples of each class k.

    subset "first" takes the first ones in the data set's order, as the papers' code does; "seed" draws them without
    replacement; only the seed decides.
    """
    rng = np.random.default_rng([seed, 2])
    chosen = []
    for k, count in enumerate(counts):
        members = np.flatnonzero(labels == k)
        chosen.append(members[:count] if subset == "first" else rng.choice(members, size=count, replace=False))
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def shuffled_labels(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """The labels, of which a random share is permuted; only the seed decides.

    A permutation rather than independent draws, so that every class keeps its count, on which the theory depends.
    """
    rng = np.random.default_rng([seed, 3])
    chosen = np.sort(rng.permutation(len(labels))[: round(share * len(labels))])
    dealt = labels.copy()
    dealt[chosen] = rng.permutation(labels[chosen])
    return dealt


def indices_hash(indices: NDArray[np.int64]) -> str:
    """SHA-256 of the indices as little-endian 64-bit integers: two runs with equal hashes saw the same samples."""
    return hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
