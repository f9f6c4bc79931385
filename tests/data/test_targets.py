"""Targets of numbers instead of classes: a user's own, and scikit-learn's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Refused, RunOf
from own_files import loaded, write_npz
from sklearn.datasets import load_diabetes, load_linnerud

from ncrun.data.sources.npz import Npz
from ncrun.errors import UserError
from ncrun.targets import Targets


def arrays(targets: Any, d: int = 4) -> dict[str, Any]:
    """Vectors of d numbers for these targets."""
    images = np.random.default_rng(0).normal(3, 2, (len(targets), d))
    return {"train_images": images, "train_targets": np.asarray(targets)}


TWENTY = np.random.default_rng(1).standard_normal(20)


@pytest.mark.parametrize(
    "targets",
    [
        TWENTY,
        TWENTY.astype(">f4").reshape(10, 2),
        (TWENTY > 0).reshape(10, 2),  # several labels at once
        (TWENTY > 0).astype(np.uint8),
        np.exp(TWENTY.reshape(10, 2)) / np.exp(TWENTY.reshape(10, 2)).sum(axis=1, keepdims=True),  # soft labels
    ],
)
def test_own_targets_are_taken_as_they_are(targets: np.ndarray, run_of: RunOf, tmp_path: Path) -> None:
    """Every fifth sample is kept for testing; theory gets the moments of the others."""
    run = run_of(*write_npz(tmp_path, arrays(targets)))
    expected = targets.reshape(len(targets), -1).astype(float)
    is_test = np.arange(len(targets)) % 5 == 4
    data = loaded(run)
    assert data.train_labels.tolist() == expected[~is_test].tolist()
    assert data.test_labels is not None
    assert data.test_labels.tolist() == expected[is_test].tolist()
    assert len(data.train_images) == run.data.num_samples == (~is_test).sum()
    assert (run.problem.counts, run.problem.targets) == ((), Targets.of(expected[~is_test]))
    assert data.train_images.mean(dim=0).abs().max() < 1e-12


def test_own_test_split_and_shuffled_targets(run_of: RunOf, tmp_path: Path) -> None:
    content = arrays(TWENTY) | {"test_images": np.ones((3, 4)), "test_targets": np.arange(3.0)}
    data = loaded(run_of(*write_npz(tmp_path, content), "random_labels=1"))
    assert data.test_labels is not None
    assert data.test_labels[:, 0].tolist() == [0, 1, 2]
    shuffled = data.train_labels[:, 0].tolist()
    assert shuffled != TWENTY.tolist()
    assert sorted(shuffled) == sorted(TWENTY.tolist())


@pytest.mark.parametrize(("name", "load"), [("diabetes", load_diabetes), ("linnerud", load_linnerud)])
def test_bundled_sets_are_standardised_by_their_training_split(name: str, load: Any, run_of: RunOf) -> None:
    """To 1e-12: float64 sums of a few hundred numbers near 1."""
    run = run_of(f"dataset={name}")
    bundle = load()
    is_test = np.arange(len(bundle.data)) % 5 == 4
    data = loaded(run)
    for made, values in ((data.train_images.flatten(1), bundle.data), (data.train_labels, bundle.target)):
        training = values.reshape(len(values), -1)[~is_test]
        assert np.allclose(made, (training - training.mean(axis=0)) / training.std(axis=0), rtol=0, atol=1e-12)
    training = bundle.target.reshape(len(bundle.target), -1)[~is_test]
    tested = bundle.target.reshape(len(bundle.target), -1)[is_test]
    assert np.allclose(data.test_labels, (tested - training.mean(axis=0)) / training.std(axis=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"train_targets": np.where(np.arange(20) == 7, np.nan, TWENTY)},
            "train_targets: sample 7 has a number that",
        ),
        ({"train_targets": np.where(np.arange(20) == 3, np.inf, TWENTY)}, "sample 3 has a number that is not finite"),
        ({"train_targets": TWENTY * 1e101}, "larger than 1e+100"),
        ({"train_targets": TWENTY[:19]}, "expected the shape (20,) or (20, q), a row for each image, found (19,)"),
        ({"train_targets": TWENTY.reshape(20, 1, 1)}, "a row for each image, found (20, 1, 1)"),
        ({"train_targets": np.zeros((20, 501))}, "1 to 500 numbers for each image, found 501"),
        ({"train_targets": np.zeros((20, 0))}, "1 to 500 numbers for each image, found 0"),
        ({"train_targets": np.array(["a"] * 20)}, "expected numbers of up to 64 bits"),
        ({"train_targets": TWENTY.astype(complex)}, "expected numbers of up to 64 bits, found complex128"),
        ({"train_labels": np.arange(20)}, "has train_labels and train_targets"),
        ({"test_images": np.ones((3, 4))}, "has only test_images; test_images and test_targets belong together"),
        ({"test_images": np.ones((3, 4)), "test_targets": np.ones((3, 2))}, "have 2 numbers for each image"),
        ({"test_images": np.ones((3, 4)), "test_targets": [1, np.nan, 1]}, "test_targets: sample 1 has a number"),
    ],
)
def test_unsound_targets_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_npz(tmp_path, arrays(TWENTY) | changes)
    with pytest.raises(UserError, match=r"^dataset\.path=") as raised:
        assert Npz(path=str(tmp_path / "own.npz")).facts
    assert words in str(raised.value)


def test_floats_under_the_name_of_labels(refused: Refused, tmp_path: Path) -> None:
    content = {"train_images": np.ones((20, 3)), "train_labels": TWENTY}
    assert "the name for regression targets is train_targets" in refused("train", *write_npz(tmp_path, content))
    few = write_npz(tmp_path, arrays(TWENTY[:4]), "few.npz")
    assert "4 samples are too few to keep some for testing" in refused("train", *few)


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        ("loss=ce", "loss=ce: needs classes, but diabetes holds targets; use loss=mse"),
        ("model=ufm_relu", "loss=ce: "),
        ("model=dufm", "head.relu=True: needs classes"),
        ("taps=[linear1]", "taps=['linear1']: needs classes"),
        ("model=ufm path=[1,2]", "path=[1.0, 2.0]: needs classes"),
        ("model=ufm random_labels=0.5", "random_labels: has no effect: model=ufm uses only the targets of diabetes"),
        ("random_labels=2", "random_labels=2.0: must lie in [0, 1]"),
        ("batch_size=355", "batch_size=355: must be full or lie in 1..354"),
        ("imbalance=0.1", "imbalance: has no effect: diabetes holds targets, not classes"),
        ("counts=[5,5]", "counts: has no effect: diabetes holds targets"),
    ],
)
def test_what_is_about_classes_is_refused(typed: str, start: str, refused: Refused) -> None:
    assert refused("train", "dataset=diabetes", *typed.split()).startswith(start)
