"""Damaged .npz and idx files, and such of other arrays."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import pytest
import torch
from fuzzing import damaged, examples, replaced, within_time
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from original_files import small_idx

from ncrun.commands.measure import measure
from ncrun.data import SOURCES
from ncrun.data.sources.npz import NpzFile
from ncrun.errors import UserError

numbers, place = fuzzing.numbers, fuzzing.place
Data = st.DataObject


RNG = np.random.default_rng(0)
IMAGES = {
    "train_images": RNG.integers(0, 256, (12, 3, 4), dtype=np.uint8),
    "train_labels": np.arange(12) % 3,
    "test_images": RNG.integers(0, 256, (6, 3, 4), dtype=np.uint8),
    "test_labels": np.arange(6) % 3,
}
NETWORK = {
    "features": RNG.normal(size=(12, 4)),
    "labels": np.arange(12) % 3,
    "classifier": RNG.normal(size=(3, 4)),
    "bias": RNG.normal(size=3),
}
ANY_ARRAY = st.one_of(
    arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)),
    arrays.arrays(np.dtype(object), arrays.array_shapes(max_dims=2, max_side=3), elements=st.just(None)),
    arrays.arrays(np.float64, st.sampled_from([(12, 4), (3, 4), (12,), (3,)]), elements=st.floats()),
    arrays.arrays(np.int64, st.sampled_from([(12,), (6,)]), elements=st.integers(-1, 4)),
    arrays.arrays(np.float32, (12, 3, 4), elements=st.floats(width=32)),
)


def packed(content: dict[str, Any], compressed: bool = False) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **content)
    return buffer.getvalue()


def check_npz(path: Path) -> list[np.ndarray] | None:
    """Both splits as the file has them; None if it was refused."""
    try:
        file = NpzFile(path)
        facts, digest = file.facts, file.digest
        train, test = file.read()
    except UserError as error:
        assert str(error).startswith(f"dataset.path={path}: ")  # noqa: PT017 - a success is as good
        return None
    assert len(digest) == 64
    for split in (train, test):
        assert len(split.images) == len(split.labels)
        assert split.images.shape[1:] == facts.image_shape
        assert split.images.dtype == np.uint8 or np.isfinite(split.images).all()
        assert set(split.labels) <= set(range(facts.num_classes))
    assert np.bincount(train.labels).tolist() == list(facts.class_sizes)
    torch.from_numpy(train.images)
    return [train.images, train.labels, test.images, test.labels]


@examples(70)
@given(data=st.data(), compressed=st.booleans())
def test_damaged_npz_file(data: Data, compressed: bool, place: Path) -> None:
    """What is not refused holds the very arrays that were saved: zip files have a checksum of each."""
    path = place / "data.npz"
    path.write_bytes(packed(IMAGES, compressed))
    intact = check_npz(path)
    assert intact is not None
    with within_time("npz bytes"), replaced(path, data.draw(damaged(path.read_bytes()))):
        found = check_npz(path)
        if found is not None:
            assert all(np.array_equal(here, there) for here, there in zip(found, intact, strict=True))
        with contextlib.suppress(UserError):
            measure([str(path)])
            pytest.fail("measured a data set")


@examples(60)
@given(data=st.data())
def test_npz_file_of_other_arrays(data: Data, place: Path) -> None:
    content = IMAGES | {name: data.draw(ANY_ARRAY) for name in data.draw(st.sets(st.sampled_from(sorted(IMAGES))))}
    if data.draw(st.booleans()):
        del content["test_images"], content["test_labels"]
    path = place / "data.npz"
    path.write_bytes(packed(content))
    with within_time("npz arrays"):
        check_npz(path)


@examples(50)
@given(data=st.data())
def test_measured_file_of_other_arrays(data: Data, place: Path) -> None:
    """Measured numbers are finite, or null."""
    content = NETWORK | {name: data.draw(ANY_ARRAY) for name in data.draw(st.sets(st.sampled_from(sorted(NETWORK))))}
    if data.draw(st.booleans()):
        del content["bias"]
    path = place / "network.npz"
    path.write_bytes(packed(content))
    decays = data.draw(
        st.sampled_from([[], ["--decay-weight", "1e-2"], ["--decay-weight", "1e-2", "--decay-feature", "1e-2"]])
    )
    with within_time("measured npz"), contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            assert measure([str(path), "--json", "--free-features", *decays]) == 0
        except UserError:
            return
    found = json.loads(out.getvalue(), parse_constant=lambda name: pytest.fail(f"printed {name}"))
    assert sum(entry["count"] for entry in found["theory"]["classes"]) == len(content["labels"])


@examples(30)
@given(data=st.data(), compressed=st.booleans())
def test_damaged_measured_file(data: Data, compressed: bool, place: Path) -> None:
    """What is not refused has the numbers of the intact file."""

    def measured() -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert measure([str(path), "--json", "--free-features"]) == 0
        return out.getvalue()

    path = place / "network.npz"
    path.write_bytes(packed(NETWORK, compressed))
    intact = measured()
    changed = data.draw(damaged(path.read_bytes()))
    with within_time("measured npz bytes"), replaced(path, changed), contextlib.suppress(UserError):
        assert measured() == intact


@pytest.fixture(scope="module")
def idx_files(place: Path) -> Iterator[dict[str, Path]]:
    """Small EMNIST and MNIST in their own format; the sums that MNIST's files are checked against are these."""
    with pytest.MonkeyPatch.context() as patch:
        for dataset in ("emnist_letters", "mnist"):
            small_idx(place, dataset, patch)
        yield {"emnist_letters": place / "EMNIST" / "raw", "mnist": place / "MNIST" / "raw"}


@examples(30)
@given(data=st.data(), dataset=st.sampled_from(["emnist_letters", "mnist"]))
def test_damaged_idx_file(data: Data, dataset: str, idx_files: dict[str, Path], place: Path) -> None:
    """MNIST: nothing but the very bytes. EMNIST, of which no sums are published: as many images as labels, 26 classes;
    a changed pixel, or a letter in another's place, nobody can notice."""
    path = data.draw(st.sampled_from(sorted(idx_files[dataset].iterdir())))
    intact = path.read_bytes()
    content = data.draw(damaged(intact))
    with within_time("idx bytes"), replaced(path, content):
        try:
            splits = SOURCES[dataset].read(place)
        except UserError as error:
            assert "damaged" in str(error)  # noqa: PT017 - a success is as good
            return
    assert dataset == "emnist_letters" or content == intact
    for split in splits:
        assert split.images.shape == (len(split.labels), 1, 28, 28)
        assert set(split.labels) <= set(range(26))
