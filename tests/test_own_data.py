"""A user's own data: folders of images and .npz files, tiny ones, written here in their original formats."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Command, Compose, Refused, contents, rows
from PIL import Image
from test_data import resampling

from ncrun.config import RunConfig
from ncrun.data.load import load_run_data
from ncrun.data.own import own_data
from ncrun.data.splits import channel_moments
from ncrun.errors import UserError

CPU = torch.device("cpu")
TINY = ("model.depth=1", "model.width=8", "epochs=1", "threads=1")
NAMES = ("apple", "bear", "crab")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    """A process looks at a data set once, and all these tests are one process."""
    own_data.cache_clear()


def load(run: RunConfig, dtype: torch.dtype = torch.float64):
    return load_run_data(run, Path("unused"), CPU, dtype)


def standardised(images: np.ndarray, training: np.ndarray) -> np.ndarray:
    """(N, C, H, W) minus the training images' mean over their deviation, in numpy's own float64 formulas."""
    training = training.astype(np.float64)
    mean, std = (f(axis=(0, 2, 3), keepdims=True) for f in (training.mean, training.std))
    return (images.astype(np.float64) - mean) / std


# ---------------------------------------------------------------- .npz files


def arrays(shape: tuple[int, ...] = (5, 4, 3), dtype: str = "uint8", sizes: tuple[int, ...] = (10, 7, 5)) -> dict:
    """train_images and train_labels, classes mixed; shape: of one sample."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = (
        rng.integers(0, 256, (len(labels), *shape)) if dtype == "uint8" else rng.normal(7, 3, (len(labels), *shape))
    )
    return {"train_images": images.astype(dtype), "train_labels": labels}


def with_test(**changes) -> dict:
    """The same and a test split of two of each class."""
    test = arrays(sizes=(2, 2, 2))
    return arrays() | {"test_images": test["train_images"], "test_labels": test["train_labels"]} | changes


@pytest.fixture
def npz(tmp_path: Path):
    """npz(arrays): the overrides for a file of them."""

    def write(content: dict, name: str = "own.npz") -> tuple[str, str]:
        np.savez(tmp_path / name, **content)
        return "dataset=npz", f"dataset.path={tmp_path / name}"

    return write


def planes(images: np.ndarray) -> np.ndarray:
    """(N, H, W), (N, H, W, C) or (N, d) as (N, C, H, W)."""
    if images.ndim == 2:
        return images[:, :, None, None]
    return images[:, None] if images.ndim == 3 else np.moveaxis(images, 3, 1)


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 1), (5, 4), (6,)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">f8", "float16"])
def test_npz_is_normalised_by_its_training_split(shape: tuple[int, ...], dtype: str, npz, run_config: Compose) -> None:
    """1e-12: float64 sums of a few hundred numbers near 1. Every fifth sample of each class is for testing."""
    content = arrays(shape, dtype)
    run = run_config(*npz(content))
    images, labels = planes(content["train_images"]), content["train_labels"]
    place = np.array([int((labels[:i] == k).sum()) for i, k in enumerate(labels)])  # among those of its class
    is_test = place % 5 == 4
    assert run.class_counts() == [8, 6, 4]
    assert run.image_shape == images.shape[1:]
    data = load(run)
    for made, made_labels, chosen in (
        (data.train_images, data.train_labels, ~is_test),
        (data.test_images, data.test_labels, is_test),
    ):
        assert made.shape[1:] == images.shape[1:]
        assert np.allclose(made, standardised(images[chosen], images[~is_test]), rtol=0, atol=1e-12)
        assert made_labels.tolist() == labels[chosen].tolist()


def test_npz_with_a_test_split(npz, run_config: Compose) -> None:
    """The test images are normalised as the training images are, and the mean is that of all training images even where
    a subset is trained on."""
    content = with_test()
    train, test = planes(content["train_images"]), planes(content["test_images"])
    data = load(run_config(*npz(content), "counts=[1,2,3]", "subset=first"))
    first = np.sort(np.concatenate([np.flatnonzero(content["train_labels"] == k)[: k + 1] for k in range(3)]))
    assert data.train_labels.tolist() == content["train_labels"][first].tolist()
    assert np.allclose(data.train_images, standardised(train[first], train), rtol=0, atol=1e-12)
    assert np.allclose(data.test_images, standardised(test, train), rtol=0, atol=1e-12)
    assert data.test_labels.tolist() == content["test_labels"].tolist()


def test_constant_and_distant_channels(npz, run_config: Compose) -> None:
    """A channel without spread becomes zero; one far from zero keeps its digits though training is in float32."""
    content = arrays((3,), "float64")
    content["train_images"][:, 0] = 0.1
    content["train_images"][:, 1] += 1e9
    data = load(run_config(*npz(content)), torch.float32)
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
    mean, std = channel_moments(images, 255.0)
    wanted = images.astype(np.float64) / 255
    assert np.allclose(mean, wanted.mean(axis=(0, 2, 3)), rtol=0, atol=1e-13)
    assert np.allclose(std, [wanted[:, 0].std(), 1], rtol=0, atol=1e-13)


def test_npz_sizes_channels_and_choices(npz, run_config: Compose) -> None:
    """Everything that chooses samples works as on the known sets."""
    grey = npz(arrays((5, 5), sizes=(20, 20, 40, 30)))
    run = run_config(*grey, "dataset.size=8", "dataset.channels=3", "classes=[3,1]", "imbalance=0.5", "random_labels=1")
    assert (run.image_shape, run.class_counts(), run.num_classes) == ((3, 8, 8), [16, 8], 2)
    data = load(run)
    assert data.train_images.shape == (24, 3, 8, 8)
    assert torch.bincount(data.train_labels).tolist() == [16, 8]
    assert torch.bincount(data.test_labels).tolist() == [6, 4]
    drawn = [
        run_config(*grey, "imbalance=0.25", "class_order=seed", f"seed={seed}").class_counts() for seed in range(6)
    ]
    assert {tuple(sorted(counts)) for counts in drawn} == {(4, 6, 10, 16)}
    assert len({tuple(counts) for counts in drawn}) > 1
    hashes = {
        load(run_config(*grey, "counts=[4,4,4,4]", *more)).index_hash for more in (("subset=first",), ("seed=1",))
    }
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
    (bad(test_images=None), "has test_labels alone", "belong together"),
    (bad(test_labels=None), "has test_images alone", "belong together"),
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
    (bad(train_labels=LABELS + 1), "train_labels: must be 0 to K-1 without gaps", "found up to 3 but no 0"),
    (bad(train_labels=LABELS * 2), "train_labels: must be 0 to K-1 without gaps", "found up to 4 but no 1"),
    (bad(train_labels=LABELS - 1), "train_labels: must be 0 to K-1", "found -1"),
    (bad(train_labels=LABELS * 0), "train_labels:", "two or more classes"),
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
        assert own_data("npz", tmp_path / "own.npz", None, None).facts
    line = str(told.value)
    assert line.startswith(f"dataset.path={tmp_path / 'own.npz'}: ")
    assert start in line
    assert end in line
    assert "\n" not in line


def test_bad_arrays_are_told_by_every_command(npz, refused: Refused) -> None:
    """From headers and labels, so that theory refuses them, too; in a sweep before the first job starts."""
    typed = npz(bad(train_labels=LABELS * 2))
    lines = {refused(*command, *typed) for command in (("theory",), ("train",), ("train", "-m", "seed=0,1"))}
    assert lines == {f"{typed[1]}: train_labels: must be 0 to K-1 without gaps, found up to 4 but no 1"}


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_npz_with_a_number_that_is_not_finite(split: str, value: float, npz, refused: Refused) -> None:
    content = with_test(train_images=arrays(dtype="float32")["train_images"], test_images=np.zeros((6, 5, 4, 3), "f4"))
    content[f"{split}_images"][3, 1, 2, 0] = value
    assert f"{split}_images: sample 3 holds a number that is not finite" in refused("train", *npz(content), "epochs=1")


def test_npz_test_split_without_one_of_the_classes(npz, refused: Refused) -> None:
    """Measured class by class, so each needs a sample; in a sweep before the first job starts."""
    typed = npz(bad(test_labels=np.array([0, 1, 0, 1, 0, 1])))
    for sweep in ((), ("-m", "seed=0,1")):
        assert refused("train", *sweep, *typed).startswith("dataset=npz: its files hold no test sample of class 2")
    small = npz(arrays(sizes=(9, 4)), "small.npz")
    assert "no test sample of class 1 (without a test split, every 5th" in refused("train", *small)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "npy", "header"])
def test_damaged_npz(damage: str, tmp_path: Path, npz, refused: Refused) -> None:
    typed = npz(with_test())
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
    ("typed", "parts"),
    [
        ("dataset=npz", ["dataset=npz:", "dataset.path=FILE.npz"]),
        ("dataset=image_folder", ["dataset=image_folder:", "dataset.path=DIR"]),
        ("dataset=npz dataset.path=", ["dataset=npz:", "dataset.path=FILE.npz"]),
        ("dataset=npz dataset.path=none.npz", ["dataset.path=", "none.npz: no such file"]),
        ("dataset=npz dataset.path=.", ["dataset.path=", "is a folder"]),
        ("dataset=image_folder dataset.path=none", ["dataset.path=", "none: no such folder"]),
        ("dataset=image_folder dataset.path=none dataset.size=null", ["dataset.size=null:", "give one"]),
        ("dataset=image_folder dataset.path=none dataset.size=0", ["dataset.size=0:", "at least 1"]),
        ("dataset=image_folder dataset.path=none dataset.channels=2", ["dataset.channels=2:", "1 (grey) or 3 (RGB)"]),
        ("dataset=image_folder dataset.path=none dataset.channels=null", ["dataset.channels=None:", "1 (grey)"]),
        ("dataset.path=x", ["dataset.path:", "the chosen dataset has no such key"]),
        ("dataset=npy", ["dataset=npy:", "image_folder", "did you mean 'npz'?"]),
        ("model=ufm counts=[2,2] dataset=npz dataset.path=x", ["dataset: has no effect", "no data set"]),
    ],
)
def test_bad_keys(typed: str, parts: list[str], refused: Refused) -> None:
    line = refused("theory", *typed.split())
    assert line.startswith(parts[0])
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("typed", "start", "part"),
    [
        ("dataset.size=8", "dataset.size=8:", "vectors of 6 numbers"),
        ("dataset.channels=3", "dataset.channels=3:", "vectors of 6 numbers"),
        ("model=resnet18", "model=resnet18: needs images", "mlp takes them"),
    ],
)
def test_vectors_are_no_images(typed: str, start: str, part: str, npz, refused: Refused) -> None:
    line = refused("train", *npz(arrays((6,), "float32")), typed)
    assert line.startswith(start)
    assert part in line


# ---------------------------------------------------------------- folders of images


def write_images(root: Path, sizes: tuple[int, ...] = (7, 6, 5), mode: str = "RGB", shape: tuple[int, int] = (6, 6)):
    """NAMES[k]/0.png ..; returns (N, C, H, W) in the order of classes and names."""
    rng = np.random.default_rng(len(root.name))
    channels = len(Image.new(mode, (1, 1)).getbands())
    made = []
    for name, size in zip(NAMES, sizes, strict=False):
        (root / name).mkdir(parents=True)
        for i in range(size):
            pixels = rng.integers(0, 256, (*shape, channels), dtype=np.uint8)
            Image.fromarray(pixels.squeeze() if channels == 1 else pixels, mode=None).save(root / name / f"{i}.png")
            made.append(pixels.transpose(2, 0, 1))
    return np.stack(made)


def folder(root: Path, size: int = 6, channels: int = 3) -> tuple[str, ...]:
    return "dataset=image_folder", f"dataset.path={root}", f"dataset.size={size}", f"dataset.channels={channels}"


@pytest.mark.parametrize("for_testing", ["test", "val"])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_folder_of_two_splits(for_testing: str, mode: str, channels: int, tmp_path: Path, run_config: Compose) -> None:
    """1e-12: float64 sums of some hundred numbers near 1."""
    train = write_images(tmp_path / "train", mode=mode)
    test = write_images(tmp_path / for_testing, (2, 1, 3), mode)
    run = run_config(*folder(tmp_path, channels=channels))
    assert (run.class_counts(), run.facts.class_names, run.image_shape) == ([7, 6, 5], NAMES, (channels, 6, 6))
    data = load(run)
    assert np.allclose(data.train_images, standardised(train, train), rtol=0, atol=1e-12)
    assert np.allclose(data.test_images, standardised(test, train), rtol=0, atol=1e-12)
    assert data.train_labels.tolist() == [0] * 7 + [1] * 6 + [2] * 5
    assert data.test_labels.tolist() == [0, 0, 1, 2, 2, 2]


def test_test_wins_over_val(tmp_path: Path, run_config: Compose) -> None:
    for name, sizes in (("train", (3, 3, 3)), ("val", (1, 1, 1)), ("test", (2, 2, 2))):
        write_images(tmp_path / name, sizes)
    assert load(run_config(*folder(tmp_path))).test_labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_folder_without_a_test_split(tmp_path: Path, run_config: Compose) -> None:
    """As for digits, every fifth image of each class is kept for testing; here the 5th of each."""
    images = write_images(tmp_path / "own")
    (tmp_path / "own" / ".cache").mkdir()
    (tmp_path / "own" / "readme.txt").write_text("no class")
    (tmp_path / "own" / "bear" / "notes.txt").write_text("no image")
    (tmp_path / "own" / "bear" / ".0.png").write_text("no image either")
    run = run_config(*folder(tmp_path / "own"), "counts=[2,2,2]", "subset=first")
    assert run.class_sizes == (6, 5, 4)
    is_test = np.isin(np.arange(18), [4, 7 + 4, 13 + 4])
    data = load(run)
    first = images[~is_test][[0, 1, 6, 7, 11, 12]]
    assert np.allclose(data.train_images, standardised(first, images[~is_test]), rtol=0, atol=1e-12)
    assert np.allclose(data.test_images, standardised(images[is_test], images[~is_test]), rtol=0, atol=1e-12)


def test_classes_and_order_are_torchvisions(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for k, name in enumerate(("b", "a", "Z", "10", "9", "c/deep", "c/also")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(3):
            for root in ("train", "test"):
                (tmp_path / root / name).mkdir(parents=True, exist_ok=True)
                file = tmp_path / root / name / f"{[10, 9, 'x'][i]}.{['png', 'BMP', 'jpg'][i]}"
                Image.new("L", (4, 4), 30 * k + 5 * i).save(file)
    ours, theirs = own_data("image_folder", tmp_path, 4, 1), ImageFolder(tmp_path / "train")
    assert ours.facts.class_names == tuple(theirs.classes)
    train, _ = ours.read()
    assert train.labels.tolist() == theirs.targets
    assert train.images[:, 0].tolist() == [np.asarray(image.convert("L")).tolist() for image, _ in theirs]


@pytest.mark.parametrize(("height", "width", "size"), [(6, 9, 4), (5, 5, 8), (12, 3, 6)])
def test_images_of_other_sizes_are_resized(height: int, width: int, size: int, tmp_path: Path) -> None:
    """Against a triangle filter in float64. 1.01 grey levels: rounded to whole ones after the rows and the columns."""
    images = write_images(tmp_path, shape=(height, width))
    train, _ = own_data("image_folder", tmp_path, size, 3).read()
    wanted = resampling(height, size) @ images[[0, 1, 2, 3]].astype(np.float64) @ resampling(width, size).T
    assert train.images.shape == (15, 3, size, size)
    assert abs(train.images[:4] - wanted).max() < 1.01


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_images_of_every_mode(mode: str, channels: int, tmp_path: Path) -> None:
    """A full red, green or blue, whatever it is stored as, is read as that colour or its luminance."""
    colours = {"apple": (255, 0, 0), "bear": (0, 255, 0), "crab": (0, 0, 255)}
    for name, colour in colours.items():
        (tmp_path / name).mkdir()
        image = Image.new("RGB", (4, 4), colour).convert("L" if mode == "LA" else mode, dither=Image.Dither.NONE)
        for i in range(5):
            keeps = {"transparency": bytes(range(9))} if mode == "P" else {}
            suffix = "tif" if mode == "CMYK" else "png"
            image.convert(mode).save(tmp_path / name / f"{i}.{suffix}", **keeps)
    train, test = own_data("image_folder", tmp_path, 4, channels).read()
    assert len(test.labels) == 3
    for k, colour in enumerate(colours.values()):
        luminance = np.dot([0.299, 0.587, 0.114], colour)
        seen = train.images[train.labels == k].reshape(4, channels, 16)
        if mode == "1":
            assert set(seen.ravel().tolist()) == {255 if luminance > 127 else 0}
        elif channels == 1 or mode in ("L", "LA"):
            assert np.allclose(seen, luminance, atol=1)
        else:
            assert np.array_equal(seen, np.broadcast_to(np.array(colour)[:, None], seen.shape))


def spoil(root: Path, how: str) -> None:
    """One thing wrong with a folder of train/ and test/."""
    crab = root / "train" / "crab"
    if how == "one class":
        for name in ("bear", "crab"):
            shutil.rmtree(root / "train" / name)
    elif how == "empty class":
        for file in crab.iterdir():
            file.unlink()
        (crab / "notes.txt").write_text("no image")
    elif how == "class for testing only":
        shutil.rmtree(crab)
    elif how == "class for training only":
        shutil.rmtree(root / "test" / "crab")
    elif how == "no test folder":
        shutil.rmtree(root / "test")
    elif how == "text":
        (crab / "2.png").write_text("no image")
    elif how == "empty file":
        (crab / "2.png").write_bytes(b"")
    elif how == "cut":
        (crab / "2.png").write_bytes((crab / "2.png").read_bytes()[:-40])
    elif how == "flipped":
        content = (crab / "2.png").read_bytes()
        (crab / "2.png").write_bytes(content[:60] + bytes([content[60] ^ 255]) + content[61:])
    elif how == "16 bits":
        Image.fromarray(np.full((6, 6), 40_000, dtype=np.uint16)).save(crab / "2.png")
    elif how == "floats":
        (crab / "2.png").unlink()
        Image.fromarray(np.full((6, 6), 0.5, dtype=np.float32)).save(crab / "2.tif")
    elif how == "link to nowhere":
        (crab / "2.png").unlink()
        (crab / "2.png").symlink_to(root / "gone.png")
    elif how == "no folder":
        shutil.rmtree(root / "train")
        shutil.rmtree(root / "test")


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("one class", ["train/ needs a folder of images for each of two or more classes", "found only apple/"]),
        ("no folder", ["needs a folder of images for each of two or more classes", "found none"]),
        ("empty class", ["train/ class folder crab/ holds no image", ".png"]),
        ("class for testing only", ["train/ has no folder crab/, which test/ has"]),
        ("class for training only", ["test/ has no folder crab/, which train/ has"]),
        ("no test folder", ["has train/ but neither test/ nor val/", "dataset.path="]),
        ("text", ["train/crab/2.png cannot be read (damaged, or no image)"]),
        ("empty file", ["train/crab/2.png cannot be read (damaged, or no image)"]),
        ("cut", ["train/crab/2.png cannot be read (damaged, or no image)"]),
        ("flipped", ["train/crab/2.png cannot be read (damaged, or no image)"]),
        ("16 bits", ["train/crab/2.png has more than 8 bits per channel"]),
        ("floats", ["train/crab/2.tif has more than 8 bits per channel"]),
        ("link to nowhere", ["train/crab/2.png cannot be read (No such file or directory)"]),
    ],
)
def test_bad_folder(how: str, parts: list[str], tmp_path: Path) -> None:
    root = tmp_path / "own"
    write_images(root / "train", shape=(12, 12))
    write_images(root / "test", shape=(12, 12))
    spoil(root, how)
    with pytest.raises(UserError) as told:
        own_data("image_folder", root, 6, 3).read()
    assert str(told.value).startswith(f"dataset.path={root}: ")
    for part in parts:
        assert part in str(told.value)


def test_damaged_image_is_told_before_any_job_starts(tmp_path: Path, refused: Refused) -> None:
    root = tmp_path / "own"
    write_images(root)
    (root / "bear" / "3.png").write_bytes(b"")
    for sweep in ((), ("-m", "seed=0,1")):
        line = refused("train", *sweep, *folder(root))
        assert line == f"dataset.path={root}: bear/3.png cannot be read (damaged, or no image)"


def test_a_file_is_no_folder(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "own.png").write_bytes(b"")
    assert "is a file, not a folder" in refused("theory", *folder(tmp_path / "own.png"))


# ---------------------------------------------------------------- whole commands


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["npz", "image_folder"])
def test_train_on_own_data(kind: str, tmp_path: Path, ncrun: Command, npz) -> None:
    """A measured epoch, what the manifest says of the data, and no second training of the same."""
    if kind == "npz":
        typed, title, names = npz(with_test(), "toys.npz"), "npz toys.npz", None
    else:
        write_images(tmp_path / "toys", (10, 7, 6))
        typed, title, names = folder(tmp_path / "toys"), "image_folder toys", list(NAMES)
    result = ncrun("train", *typed, *TINY)
    assert result.status == 0, result.err
    (directory,) = Path("runs").iterdir()
    assert directory.name.startswith(f"{kind}-mlp-M1-")
    manifest = json.loads((directory / "manifest.json").read_text())
    assert (manifest["dataset"], manifest["class_names"], manifest["state"]) == (title, names, "done")
    assert manifest["class_counts"] == ([10, 7, 5] if kind == "npz" else [8, 6, 5])
    assert len(manifest["data_hash"]) == 64
    last = rows(directory)[-1]
    assert last["epoch"] == 1
    assert 0 <= last["test_accuracy"] <= 1
    assert 0 <= last["nc3"] < 2
    assert len(last["class.test_accuracy"]) == 3
    assert "finished already" in ncrun("train", *typed, *TINY).out


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("kind", ["npz", "image_folder"])
def test_changed_data_is_another_run(kind: str, tmp_path: Path, ncrun: Command, refused: Refused, npz) -> None:
    content = with_test()
    if kind == "npz":
        typed = npz(content)
    else:
        write_images(tmp_path / "own")
        typed = folder(tmp_path / "own")
    assert ncrun("train", *typed, *TINY, "run_dir=here").status == 0
    if kind == "npz":
        content["train_images"][0, 0, 0, 0] ^= 1
        npz(content)
    else:
        file = tmp_path / "own" / "bear" / "1.png"
        Image.fromarray(np.asarray(Image.open(file)) ^ 1).save(file)
    own_data.cache_clear()  # as a new process would
    assert "holds another run" in refused("train", *typed, *TINY, "run_dir=here")


@pytest.mark.parametrize("kind", ["npz", "image_folder"])
def test_identity_is_the_content_and_not_its_place(kind: str, tmp_path: Path, run_config: Compose, npz) -> None:
    if kind == "npz":
        first = run_config(*npz(with_test()))
        moved = run_config(*npz(with_test(), "other.npz"))
        changed = run_config(*npz(with_test(test_labels=np.array([0, 1, 2, 1, 1, 0])), "changed.npz"))
    else:
        for name in ("first", "moved", "changed"):
            write_images(tmp_path / name / "train")
            write_images(tmp_path / name / "test")
        os.utime(tmp_path / "moved" / "train" / "bear" / "1.png", (0, 0))
        bear, crab = (tmp_path / "changed" / "test" / name / "0.png" for name in ("bear", "crab"))
        (tmp_path / "swap").write_bytes(bear.read_bytes())
        bear.write_bytes(crab.read_bytes())
        crab.write_bytes((tmp_path / "swap").read_bytes())
        first, moved, changed = (run_config(*folder(tmp_path / name)) for name in ("first", "moved", "changed"))
    assert first.identity() == moved.identity() != changed.identity()
    assert first.identity() != run_config(*npz(arrays((5, 4, 3)), "without.npz")).identity()


def test_theory_of_own_data_needs_no_torch(tmp_path: Path, npz) -> None:
    """From labels and names alone: images that are damaged do not matter yet. The counts are those of the files."""
    write_images(tmp_path / "own")
    (tmp_path / "own" / "bear" / "1.png").write_bytes(b"")
    code = (
        "import sys\nfor name in ('torch', 'torchvision'): sys.modules[name] = None\n"
        "from ncrun.cli import run\nsys.exit(run(sys.argv[1:]))"
    )
    for typed, counts in ((npz(with_test()), [10, 7, 5]), (folder(tmp_path / "own"), [6, 5, 4])):
        command = [sys.executable, "-c", code, "theory", *typed, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert [k["count"] for k in json.loads(done.stdout)["classes"]] == counts


def test_own_data_in_an_experiment(npz, run_config: Compose, workdir: Path) -> None:
    """A typed data set wins over the one that an experiment's scale names."""
    typed = npz(arrays((6, 6), sizes=(60, 50, 60)))
    run = run_config(*typed, "experiment=dang2023/mlp-balanced", "scale=paper")
    assert (run.dataset.name, run.class_counts()) == ("npz", [48, 40, 48])
    assert contents(workdir / "runs") == {}
