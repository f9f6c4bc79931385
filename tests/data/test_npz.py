"""A user's own data in an .npz file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Refused, RunOf
from own_files import arrays, loaded, standardised, with_test, write_npz

from ncrun.data.moments import channel_moments
from ncrun.data.sources.npz import Npz
from ncrun.errors import UserError


def planes(images: np.ndarray) -> np.ndarray:
    """(N, H, W), (N, H, W, C) or (N, d) as (N, C, H, W)."""
    if images.ndim == 2:
        return images[:, :, None, None]
    return images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 1), (5, 4), (6,)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">f8", "float16"])
def test_npz_is_normalised_by_its_training_split(
    shape: tuple[int, ...], dtype: str, run_of: RunOf, tmp_path: Path
) -> None:
    """1e-12: float64 sums of a few hundred numbers near 1. Every fifth sample of each class is for testing."""
    content = arrays(shape, dtype)
    run = run_of(*write_npz(tmp_path, content))
    images, labels = planes(content["train_images"]), content["train_labels"]
    place = np.array([int((labels[:i] == k).sum()) for i, k in enumerate(labels)])  # among those of its class
    is_test = place % 5 == 4
    assert list(run.data.counts) == [8, 6, 4]
    assert run.data.image_shape == images.shape[1:]
    data = loaded(run)
    for made, made_labels, chosen in (
        (data.train_images, data.train_labels, ~is_test),
        (data.test_images, data.test_labels, is_test),
    ):
        assert made.shape[1:] == images.shape[1:]
        assert np.allclose(made, standardised(images[chosen], images[~is_test]), rtol=0, atol=1e-12)
        assert made_labels.tolist() == labels[chosen].tolist()


def test_npz_with_a_test_split(run_of: RunOf, tmp_path: Path) -> None:
    """The test images are normalised as the training images are, and the mean is that of all training images even where
    a subset is trained on."""
    content = with_test()
    train, test = planes(content["train_images"]), planes(content["test_images"])
    data = loaded(run_of(*write_npz(tmp_path, content), "counts=[1,2,3]", "subset=first"))
    first = np.sort(np.concatenate([np.flatnonzero(content["train_labels"] == k)[: k + 1] for k in range(3)]))
    assert data.train_labels.tolist() == content["train_labels"][first].tolist()
    assert np.allclose(data.train_images, standardised(train[first], train), rtol=0, atol=1e-12)
    assert np.allclose(data.test_images, standardised(test, train), rtol=0, atol=1e-12)
    assert data.test_labels.tolist() == content["test_labels"].tolist()


def test_constant_and_distant_channels(run_of: RunOf, tmp_path: Path) -> None:
    """A channel without spread becomes zero; one far from zero keeps its digits though training is in float32."""
    content = arrays((3,), "float64")
    content["train_images"][:, 0] = 0.1
    content["train_images"][:, 1] += 1e9
    data = loaded(run_of(*write_npz(tmp_path, content)), torch.float32)
    assert torch.equal(data.train_images[:, 0], torch.zeros(18, 1, 1))
    assert torch.equal(data.test_images[:, 0], torch.zeros(4, 1, 1))
    # 1e-6: float32. The input itself is rounded to 1e9 * 1e-16 of its deviation 3.
    assert abs(float(data.train_images[:, 1].double().std(correction=0)) - 1) < 1e-6
    assert abs(float(data.train_images[:, 1].double().mean())) < 1e-6


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_moments_of_more_than_one_block(dtype: str) -> None:
    """1e-13: float64 sums of ten thousand numbers of order 1."""
    images = np.random.default_rng(0).integers(0, 256, (2500, 2, 2, 2)).astype(dtype)
    images[:, 1] = 9
    found = channel_moments(lambda: iter(np.array_split(images, 7)), images.dtype, 255.0)
    wanted = images.astype(np.float64) / 255
    assert np.allclose(found.mean, wanted.mean(axis=(0, 2, 3)), rtol=0, atol=1e-13)
    assert np.allclose(found.std, [wanted[:, 0].std(), 1], rtol=0, atol=1e-13)


def test_npz_sizes_channels_and_choices(run_of: RunOf, tmp_path: Path) -> None:
    """Everything that chooses samples works as on the known sets."""
    grey = write_npz(tmp_path, arrays((5, 5), sizes=(20, 20, 40, 30)))
    run = run_of(*grey, "dataset.size=8", "dataset.channels=3", "classes=[3,1]", "imbalance=0.5", "random_labels=1")
    assert (run.data.image_shape, list(run.data.counts), run.problem.num_classes) == ((3, 8, 8), [16, 8], 2)
    data = loaded(run)
    assert data.train_images.shape == (24, 3, 8, 8)
    assert torch.bincount(data.train_labels).tolist() == [16, 8]
    assert torch.bincount(data.test_labels).tolist() == [6, 4]
    drawn = [list(run_of(*grey, "imbalance=0.25", "class_order=seed", f"seed={seed}").data.counts) for seed in range(6)]
    assert {tuple(sorted(counts)) for counts in drawn} == {(4, 6, 10, 16)}
    assert len({tuple(counts) for counts in drawn}) > 1
    hashes = {loaded(run_of(*grey, "counts=[4,4,4,4]", *more)).index_hash for more in (("subset=first",), ("seed=1",))}
    assert len(hashes) == 2


def bad(**changes) -> dict:
    """Arrays with a test split, of which some are changed; None takes one away."""
    return {name: array for name, array in with_test(**changes).items() if array is not None}


LABELS = arrays()["train_labels"]

BAD_ARRAYS = [
    (bad(train_images=None), "no array train_images", "found train_labels, test_images, test_labels"),
    (bad(train_labels=None), "no array train_labels", "found train_images"),
    ({"x": LABELS, "y": LABELS}, "no array train_images", "found x, y"),
    ({}, "no array train_images", "found none"),
    (bad(test_images=None), "has only test_labels", "belong together"),
    (bad(test_labels=None), "has only test_images", "belong together"),
    (bad(train_images=np.zeros((22, 3, 5, 4), "uint8")), "train_images: expected the shape", "found (22, 3, 5, 4)"),
    (bad(train_images=np.zeros((22, 5, 4, 2), "uint8")), "C = 1 or 3", "found (22, 5, 4, 2)"),
    (bad(train_images=np.zeros(22, "uint8")), "train_images: expected the shape", "found (22,)"),
    (bad(train_images=np.zeros((22, 0, 4), "uint8")), "train_images: expected the shape", "found (22, 0, 4)"),
    (
        bad(train_images=np.zeros((22, 1, 5, 4, 3), "uint8")),
        "train_images: expected the shape",
        "found (22, 1, 5, 4, 3)",
    ),
    (bad(train_images=np.zeros((22, 5, 4, 3), "int64")), "train_images: expected uint8", "found int64"),
    (bad(train_images=np.zeros((22, 5, 4, 3), "complex64")), "train_images: expected uint8", "found complex64"),
    (bad(train_images=np.array([{}] * 22, dtype=object)), "train_images: expected uint8", "found object"),
    (bad(train_labels=LABELS[:-1]), "train_labels: expected the shape (22,)", "found (21,)"),
    (bad(train_labels=LABELS[:, None]), "train_labels: expected the shape (22,)", "found (22, 1)"),
    (bad(train_labels=LABELS * 1.0), "train_labels: expected integers", "found float64"),
    (bad(train_labels=LABELS > 0), "train_labels: expected integers", "found bool"),
    (bad(train_labels=np.array(["a"] * 22)), "train_labels: expected integers", "found <U1"),
    (bad(train_labels=LABELS + 1), "train_labels: must be 0 to K-1 without gaps", "found labels up to 3, but no 0"),
    (bad(train_labels=LABELS * 2), "train_labels: must be 0 to K-1 without gaps", "found labels up to 4, but no 1"),
    (bad(train_labels=LABELS - 1), "train_labels: must be 0 to K-1", "found -1"),
    (bad(train_labels=LABELS * 0), "train_labels:", "at least two classes"),
    (bad(test_images=np.zeros((6, 4, 5, 3), "uint8")), "test_images: expected images of shape (5, 4, 3)", "(4, 5, 3)"),
    (bad(test_images=np.zeros((6, 5, 4, 3), "float32")), "test_images: are float32", "train_images uint8"),
    (bad(test_images=np.zeros((0, 5, 4, 3), "uint8"), test_labels=LABELS[:0]), "test_images: expected", "(0, 5, 4, 3)"),
    (bad(test_labels=np.array([0, 1, 2, 3, 0, 1])), "test_labels: class 3 is not in train_labels", "0 to 2"),
    (bad(test_labels=np.array([0, 1, 2, -1, 0, 1])), "test_labels: class -1 is not in train_labels", "0 to 2"),
]


@pytest.mark.parametrize(("content", "start", "end"), BAD_ARRAYS)
def test_bad_arrays(content: dict, start: str, end: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", **content)
    with pytest.raises(UserError) as told:
        assert Npz(path=str(tmp_path / "own.npz")).facts
    line = str(told.value)
    assert line.startswith(f"dataset.path={tmp_path / 'own.npz'}: ")
    assert start in line
    assert end in line
    assert "\n" not in line


def test_bad_arrays_are_told_by_every_command(refused: Refused, tmp_path: Path) -> None:
    """From headers and labels, so that theory refuses them, too; in a sweep before the first job starts."""
    typed = write_npz(tmp_path, bad(train_labels=LABELS * 2))
    lines = {refused(*command, *typed) for command in (("theory",), ("train",), ("train", "-m", "seed=0,1"))}
    assert lines == {f"{typed[1]}: train_labels: must be 0 to K-1 without gaps; found labels up to 4, but no 1"}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_npz_with_a_number_that_is_not_finite(split: str, value: float, refused: Refused, tmp_path: Path) -> None:
    content = with_test(train_images=arrays(dtype="float32")["train_images"], test_images=np.zeros((6, 5, 4, 3), "f4"))
    content[f"{split}_images"][3, 1, 2, 0] = value
    assert f"{split}_images: sample 3 has a number that is not finite" in refused(
        "train", *write_npz(tmp_path, content), "epochs=1"
    )


def test_npz_test_split_without_one_of_the_classes(refused: Refused, tmp_path: Path) -> None:
    """Measured class by class, so each needs a sample; in a sweep before the first job starts."""
    typed = write_npz(tmp_path, bad(test_labels=np.array([0, 1, 0, 1, 0, 1])))
    for sweep in ((), ("-m", "seed=0,1")):
        assert refused("train", *sweep, *typed).startswith("dataset=npz: its files hold no test sample of class 2")
    small = write_npz(tmp_path, arrays(sizes=(9, 4)), "small.npz")
    assert "no test sample of class 1 (without a test split, every 5th" in refused("train", *small)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "npy", "header"])
def test_damaged_npz(damage: str, tmp_path: Path, refused: Refused) -> None:
    typed = write_npz(tmp_path, with_test())
    path = tmp_path / "own.npz"
    whole = path.read_bytes()
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, LABELS)
    else:
        start = whole.index(b"train_images.npy") + 16
        start += 128 + 20 + 20 if damage == "flipped" else 20 + 2
        flipped = whole[:start] + bytes([whole[start] ^ 1]) + whole[start + 1 :]
        path.write_bytes({"cut": whole[:-50], "text": b"1,2,3\n"}.get(damage, flipped))
    line = refused("train", *typed, "epochs=1")
    assert line.startswith(f"{typed[1]}: ")
    assert "damaged" in line


@pytest.mark.parametrize(
    ("typed", "start", "part"),
    [
        ("dataset.size=8", "dataset.size=8:", "vectors of 6 numbers"),
        ("dataset.channels=3", "dataset.channels=3:", "vectors of 6 numbers"),
        ("model=resnet18", "model=resnet18: needs images", "mlp takes them"),
    ],
)
def test_vectors_are_no_images(typed: str, start: str, part: str, refused: Refused, tmp_path: Path) -> None:
    line = refused("train", *write_npz(tmp_path, arrays((6,), "float32")), typed)
    assert line.startswith(start)
    assert part in line
