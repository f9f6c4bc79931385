"""Snapshots: what they keep is what the features are, of the right samples, at the right epochs."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, Command, Refused, rows

from ncrun import load
from ncrun.records.snapshots import Snapshots, parsed
from ncrun.training.schedule import snapshot_epochs
from ncrun.training.snapshots import MOST_CLASSES, chosen_samples, kept_classes

pytestmark = pytest.mark.usefixtures("undrawn")
# Of a deviation in float16, in units of the largest: half of its last digit below 1.
ROUNDING = 2.0**-12


def kept(folder: str) -> Snapshots:
    return parsed(Path(folder, "snapshots.npz").read_bytes())


@pytest.mark.parametrize(
    "typed",
    [
        "head.depth=2",  # raw means
        "head.bias=true loss=ce",  # centred ones
        "head.depth=3 head.relu=true head.width=11 loss=mse",  # at the last layer's input
    ],
)
def test_coordinates_against_the_features_themselves(typed: str, ncrun: Command, workdir: Path) -> None:
    """Their inner products with the class means are those of the features, in float64 and from the checkpoint."""
    unequal = "counts=[9,8,7,6,5,4,3,2,2,2]"
    assert ncrun("train", *TINY, unequal, *typed.split(), "run_dir=run").status == 0
    found, loaded = kept("run"), load("run")
    assert found.epochs.tolist() == [0, 1, 2]
    network = loaded.network()
    weights = [weight.detach().double().numpy() for weight in network.head.weights]
    of_split = {}
    for split in ("train", "test"):
        features, labels = loaded.features(split=split)
        points, y = np.asarray(features, dtype=float), np.asarray(labels)
        for weight in weights[:-1] if "relu" in typed else ():
            points = np.maximum(points @ weight.T, 0)
        of_split[split] = points, y
    points, y = of_split["train"]
    row = weights[-1] if "relu" in typed else np.linalg.multi_dot([*weights[::-1], np.eye(weights[0].shape[1])])
    middle = points.mean(axis=0) if "bias" in typed else 0.0
    means = np.stack([points[y == k].mean(axis=0) for k in range(10)]) - middle
    size = float(np.abs(means).max())
    # Of features in float32, which another process need not find to the last bit.
    np.testing.assert_allclose(found.means[-1] @ found.means[-1].T, means @ means.T, atol=1e-5 * size**2)
    np.testing.assert_allclose(found.rows[-1] @ found.means[-1].T, row @ means.T, atol=1e-5 * size * np.abs(row).max())
    for split, (points, y) in of_split.items():
        labels = found.train_labels if split == "train" else found.test_labels
        expected = np.concatenate([points[y == k][: (labels == k).sum()] for k in range(10)]) - middle
        largest = ROUNDING * found.units[-1] * np.abs(found.means[-1]).sum(axis=1).max() + 1e-5 * size**2
        np.testing.assert_allclose(found.points(split, -1) @ found.means[-1].T, expected @ means.T, atol=2 * largest)
        assert (labels == 9).sum() == (2 if split == "train" else min(50, (y == 9).sum()))


def test_free_features_end_with_a_snapshot_and_targets_have_none(ncrun: Command, workdir: Path) -> None:
    assert ncrun("train", "model=ufm", "counts=[5,3,2]", "snapshots=4", "run_dir=run").status == 0
    assert kept("run").epochs[-1] == rows(Path("run"))[-1]["epoch"]
    assert kept("run").test.size == 0
    assert ncrun("train", "dataset=diabetes", "epochs=2", "run_dir=targets").status == 0
    assert not Path("targets/snapshots.npz").exists()
    assert ncrun("train", *TINY, "snapshots=false", "run_dir=without").status == 0
    assert not Path("without/snapshots.npz").exists()


def test_bad_values(refused: Refused) -> None:
    assert "auto, false or a whole number" in refused("train", "snapshots=some")
    assert "snapshots=1" in refused("train", "snapshots=1")
    assert "runs with path=[...] store none" in refused(
        "train", "model=ufm", "counts=[4,2]", "path=[1,2]", "snapshots=8"
    )


def test_samples_are_balanced_and_small_classes_whole() -> None:
    counts = [700, 300, 40, 5]
    labels = np.repeat(np.arange(4), counts)
    found = [len(each) for each in chosen_samples(labels, np.arange(4), 500)]
    assert found == [227, 227, 40, 5]
    assert [len(each) for each in chosen_samples(labels, np.arange(4), 2000)] == counts
    assert kept_classes(counts).tolist() == [0, 1, 2, 3]
    many = kept_classes(range(100, 0, -1))
    assert (len(many), many[0], many[-1]) == (MOST_CLASSES, 0, 99)


def test_epochs_are_measured_ones_and_log_spaced() -> None:
    assert snapshot_epochs(0, {0, 1}) == set()
    every = sorted(snapshot_epochs(16, set(range(3001))))
    assert (every[0], every[-1]) == (0, 3000)
    assert 12 <= len(every) <= 16
    ratios = [b / a for a, b in itertools.pairwise(every[5:])]
    assert max(ratios) / min(ratios) < 1.2
    assert snapshot_epochs(16, {0, 10, 20}) == {0, 10, 20}
