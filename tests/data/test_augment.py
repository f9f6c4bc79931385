"""Augmentation against one image at a time, and what a run with it records."""

from pathlib import Path

import pytest
import torch
from conftest import TINY, Command, Refused, rows
from torch.nn import functional

from ncrun.data.augment import augmented


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def images() -> torch.Tensor:
    return torch.arange(1.0, 1 + 40 * 2 * 16 * 8).view(40, 2, 16, 8)


def test_crop_moves_each_image_by_itself() -> None:
    """An image of 16 x 8 moves by up to 2 and up to 1. Exact: values are only moved."""
    before = images()
    after = augmented(before, ["crop"], generator())
    moves = set()
    for image, moved in zip(before, after, strict=True):
        framed = functional.pad(image, (1, 1, 2, 2))
        fits = [
            (row, column)
            for row in range(5)
            for column in range(3)
            if torch.equal(framed[:, row : row + 16, column : column + 8], moved)
        ]
        assert len(fits) == 1
        moves.add(fits[0])
    assert {row for row, _ in moves} == set(range(5))
    assert {column for _, column in moves} == set(range(3))


def test_flip_mirrors_about_every_other_image() -> None:
    before = images()
    after = augmented(before, ["flip"], generator())
    mirrored = [torch.equal(moved, image.flip(2)) for image, moved in zip(before, after, strict=True)]
    kept = [torch.equal(moved, image) for image, moved in zip(before, after, strict=True)]
    assert all(a != b for a, b in zip(mirrored, kept, strict=True))
    assert 8 <= sum(mirrored) <= 32  # of 40 at one half: five standard deviations would be 4 to 36


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("batch_size", ["7", "full"])
def test_a_run_differs_by_it_and_measures_the_images_as_they_are(batch_size: str, ncrun: Command) -> None:
    typed = ["train", *TINY, "epochs=2", f"batch_size={batch_size}", "optimizer.lr=1e-2"]
    for name, more in {"plain": [], "augmented": ["augment=[crop,flip]"], "again": ["augment=[crop,flip]"]}.items():
        assert ncrun(*typed, *more, f"run_dir={name}").status == 0
    plain, moved, again = (rows(Path(name)) for name in ("plain", "augmented", "again"))
    assert moved[0]["loss"] == plain[0]["loss"]  # before any step
    assert moved[-1]["loss"] != plain[-1]["loss"]
    assert [row["loss"] for row in moved] == [row["loss"] for row in again]


def test_refusals(refused: Refused) -> None:
    assert "crop, flip" in refused("train", *TINY, "augment=[blur]")
    assert "model=ufm has no data set" in refused("train", "model=ufm", "counts=[4,2]", "augment=[flip]")
