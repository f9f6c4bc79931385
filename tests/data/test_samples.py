"""Which samples a run takes, under which labels, and in which order."""

import hashlib

import numpy as np
import pytest
import torch
from conftest import RunOf

from ncrun.data.batches import batch_slices, epoch_order
from ncrun.data.splits import of_classes
from ncrun.data.subset import choose_indices, indices_hash, shuffled_labels
from ncrun.data.tensors import load

CPU = torch.device("cpu")


def test_subset_first_is_the_sets_own_order() -> None:
    labels = np.array([1, 0, 0, 1, 2, 0, 1, 2])
    assert choose_indices(labels, [2, 1, 2], "first", seed=5).tolist() == [0, 1, 2, 4, 7]


def test_subset_seed_depends_on_the_seed_alone() -> None:
    labels = np.repeat(np.arange(4), 50)
    counts = [20, 10, 5, 1]
    chosen = choose_indices(labels, counts, "seed", seed=1)
    assert np.bincount(labels[chosen]).tolist() == counts
    assert len(set(chosen.tolist())) == sum(counts)
    assert np.array_equal(chosen, choose_indices(labels, counts, "seed", seed=1))
    assert not np.array_equal(chosen, choose_indices(labels, counts, "seed", seed=2))
    assert not np.array_equal(chosen, choose_indices(labels, counts, "first", seed=1))


def test_index_hash_is_the_same_on_every_machine() -> None:
    """SHA-256 of the bytes 01 00.. 02 00.. 03 00.., whatever the integers' type and byte order."""
    written = b"".join(bytes([i, 0, 0, 0, 0, 0, 0, 0]) for i in (1, 2, 3))
    for kind in ("<i8", ">i8", "<i4"):
        assert indices_hash(np.array([1, 2, 3], dtype=kind)) == hashlib.sha256(written).hexdigest()


def test_seeded_digits_subset_is_stable_between_versions(run_of: RunOf) -> None:
    """The hash of a whole run's choice, so that a change in drawing cannot go unseen."""
    run, reseeded = (run_of(f"counts={[20] * 10}", f"seed={seed}") for seed in (0, 1))
    data = load(run.data, CPU, torch.float32)
    again = load(run.data, CPU, torch.float64)
    other = load(reseeded.data, CPU, torch.float32)
    assert data.index_hash == again.index_hash != other.index_hash
    assert data.index_hash.startswith("271ad06b22574dff")


@pytest.mark.parametrize(
    ("N", "batch_size", "lengths"),
    [
        (10, 5, [5, 5]),
        (10, 4, [4, 4, 2]),
        (10, 3, [3, 3, 4]),  # a last batch of one joins the one before
        (11, 10, [11]),
        (10, 10, [10]),
        (3, 1, [1, 1, 1]),  # asked for
        (1, 1, [1]),
    ],
)
def test_batch_slices_cover_every_sample_once(N: int, batch_size: int, lengths: list[int]) -> None:
    slices = batch_slices(N, batch_size)
    assert [part.stop - part.start for part in slices] == lengths
    assert [i for part in slices for i in range(N)[part]] == list(range(N))


def test_epoch_order_is_a_permutation_that_changes() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = epoch_order(50, generator), epoch_order(50, generator)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)


LABELS = np.repeat(np.arange(4), [400, 300, 200, 100])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_shuffled_labels_keep_their_counts(share: float) -> None:
    dealt = shuffled_labels(LABELS, share, seed=3)
    assert np.bincount(dealt).tolist() == [400, 300, 200, 100]
    assert (dealt != LABELS).sum() <= share * len(LABELS)
    assert np.array_equal(LABELS, np.repeat(np.arange(4), [400, 300, 200, 100]))  # in a copy


def test_no_share_of_random_labels_is_the_labels() -> None:
    assert np.array_equal(shuffled_labels(LABELS, 0.0, seed=0), LABELS)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_shuffled_labels_change_as_often_as_chance_says(share: float) -> None:
    """A dealt label is another class' with probability 1 - sum of squared shares = 0.7. 0.08: four standard deviations
    of 500 independent labels, sqrt(0.7 * 0.3 / 500) = 0.02; a permutation's are smaller."""
    changed = (shuffled_labels(LABELS, share, seed=0) != LABELS).mean()
    assert abs(changed / share - 0.7) < 0.08


def test_shuffled_labels_depend_on_the_seed_alone() -> None:
    first = shuffled_labels(LABELS, 0.5, seed=1)
    assert np.array_equal(first, shuffled_labels(LABELS, 0.5, seed=1))
    assert not np.array_equal(first, shuffled_labels(LABELS, 0.5, seed=2))


def test_random_labels_are_the_training_splits_only(run_of: RunOf) -> None:
    run, dealt = (run_of(f"counts={[30] * 10}", f"random_labels={share}") for share in (0, 1))
    clean, random = (load(r.data, CPU, torch.float32) for r in (run, dealt))
    assert torch.equal(clean.train_images, random.train_images)
    assert clean.index_hash == random.index_hash
    assert torch.bincount(random.train_labels).tolist() == [30] * 10
    # 1 - sum of squared shares = 0.9; 0.07 is four standard deviations of 300 independent labels
    assert abs(float((clean.train_labels != random.train_labels).double().mean()) - 0.9) < 0.07
    assert torch.equal(clean.test_labels, random.test_labels)


def test_chosen_classes_are_labelled_by_their_place() -> None:
    labels = np.array([0, 1, 2, 3, 2, 0])
    rows, placed = of_classes(labels, [2, 0])
    assert (rows.tolist(), placed.tolist()) == ([0, 2, 4, 5], [1, 0, 0, 1])
    assert [each.tolist() for each in of_classes(labels, None)] == [list(range(6)), labels.tolist()]
    assert of_classes(labels, [0, 9])[1].tolist() == [0, 0]  # a class that this split does not have
    assert of_classes(labels[:0], [0, 9])[1].tolist() == []
