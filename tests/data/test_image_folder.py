"""A user's own data in folders of images."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Refused, RunOf
from own_files import NAMES, folder, loaded, standardised, write_images
from PIL import Image
from resampling import resampling

from ncrun.data.sources.image_folder import ImageFolder
from ncrun.errors import UserError


@pytest.mark.parametrize("for_testing", ["test", "val"])
@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1)])
def test_folder_of_two_splits(for_testing: str, mode: str, channels: int, tmp_path: Path, run_of: RunOf) -> None:
    """1e-12: float64 sums of some hundred numbers near 1."""
    train = write_images(tmp_path / "train", mode=mode)
    test = write_images(tmp_path / for_testing, (2, 1, 3), mode)
    run = run_of(*folder(tmp_path, channels=channels))
    assert (list(run.data.counts), run.data.source.facts.class_names, run.data.image_shape) == (
        [7, 6, 5],
        NAMES,
        (channels, 6, 6),
    )
    data = loaded(run)
    assert np.allclose(data.train_images, standardised(train, train), rtol=0, atol=1e-12)
    assert np.allclose(data.test_images, standardised(test, train), rtol=0, atol=1e-12)
    assert data.train_labels.tolist() == [0] * 7 + [1] * 6 + [2] * 5
    assert data.test_labels.tolist() == [0, 0, 1, 2, 2, 2]


def test_test_wins_over_val(tmp_path: Path, run_of: RunOf) -> None:
    for name, sizes in (("train", (3, 3, 3)), ("val", (1, 1, 1)), ("test", (2, 2, 2))):
        write_images(tmp_path / name, sizes)
    assert loaded(run_of(*folder(tmp_path))).test_labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_folder_without_a_test_split(tmp_path: Path, run_of: RunOf) -> None:
    """As for digits, every fifth image of each class is kept for testing; here the 5th of each."""
    images = write_images(tmp_path / "own")
    (tmp_path / "own" / ".cache").mkdir()
    (tmp_path / "own" / "readme.txt").write_text("no class")
    (tmp_path / "own" / "bear" / "notes.txt").write_text("no image")
    (tmp_path / "own" / "bear" / ".0.png").write_text("no image either")
    run = run_of(*folder(tmp_path / "own"), "counts=[2,2,2]", "subset=first")
    assert run.data.source.facts.class_sizes == (6, 5, 4)
    is_test = np.isin(np.arange(18), [4, 7 + 4, 13 + 4])
    data = loaded(run)
    first = images[~is_test][[0, 1, 6, 7, 11, 12]]
    assert np.allclose(data.train_images, standardised(first, images[~is_test]), rtol=0, atol=1e-12)
    assert np.allclose(data.test_images, standardised(images[is_test], images[~is_test]), rtol=0, atol=1e-12)


def test_classes_and_order_are_torchvisions(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder as Theirs

    for k, name in enumerate(("b", "a", "Z", "10", "9", "c/deep", "c/also")):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(3):
            for root in ("train", "test"):
                (tmp_path / root / name).mkdir(parents=True, exist_ok=True)
                file = tmp_path / root / name / f"{[10, 9, 'x'][i]}.{['png', 'BMP', 'jpg'][i]}"
                Image.new("L", (4, 4), 30 * k + 5 * i).save(file)
    ours, theirs = ImageFolder(path=str(tmp_path), size=4, channels=1), Theirs(str(tmp_path / "train"))
    assert ours.facts.class_names == tuple(theirs.classes)
    train, _ = ours.read(Path())
    assert train.labels.tolist() == theirs.targets
    assert train.images[:, 0].tolist() == [np.asarray(image.convert("L")).tolist() for image, _ in theirs]


@pytest.mark.parametrize(("height", "width", "size"), [(6, 9, 4), (5, 5, 8), (12, 3, 6)])
def test_images_of_other_sizes_are_resized(height: int, width: int, size: int, tmp_path: Path) -> None:
    """Against a triangle filter in float64. 1.01 grey levels: rounded to whole ones after the rows and the columns."""
    images = write_images(tmp_path, shape=(height, width))
    train, _ = ImageFolder(path=str(tmp_path), size=size, channels=3).read(Path())
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
    train, test = ImageFolder(path=str(tmp_path), size=4, channels=channels).read(Path())
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
        ("one class", ["train/ needs at least two classes, each a folder of images", "found only apple/"]),
        ("no folder", ["needs at least two classes, each a folder of images", "found none"]),
        ("empty class", ["train/ class folder crab/ holds no image", ".png"]),
        ("class for testing only", ["train/ has no folder crab/, but test/ has one"]),
        ("class for training only", ["test/ has no folder crab/, but train/ has one"]),
        ("no test folder", ["has train/ but neither test/ nor val/", "dataset.path="]),
        ("text", ["train/crab/2.png cannot be read (damaged, or not an image)"]),
        ("empty file", ["train/crab/2.png cannot be read (damaged, or not an image)"]),
        ("cut", ["train/crab/2.png cannot be read (damaged, or not an image)"]),
        ("flipped", ["train/crab/2.png cannot be read (damaged, or not an image)"]),
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
        ImageFolder(path=str(root), size=6, channels=3).read(Path())
    assert str(told.value).startswith(f"dataset.path={root}: ")
    for part in parts:
        assert part in str(told.value)


def test_damaged_image_is_told_before_any_job_starts(tmp_path: Path, refused: Refused) -> None:
    root = tmp_path / "own"
    write_images(root)
    (root / "bear" / "3.png").write_bytes(b"")
    for sweep in ((), ("-m", "seed=0,1")):
        line = refused("train", *sweep, *folder(root))
        assert line == f"dataset.path={root}: bear/3.png cannot be read (damaged, or not an image)"


def test_a_file_is_no_folder(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "own.png").write_bytes(b"")
    assert "is a file, not a folder" in refused("theory", *folder(tmp_path / "own.png"))
