"""A run's tensors: the chosen samples, normalised and made the size and the channels that were asked for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RunOf
from resampling import resampling

from ncrun.data import SOURCES
from ncrun.data.tensors import load, normalise

CPU = torch.device("cpu")


def test_digits_split_equals_the_catalogue() -> None:
    train, test = SOURCES["digits"].read(Path())
    facts = SOURCES["digits"].facts
    assert tuple(np.bincount(train.labels)) == facts.class_sizes
    assert train.images.shape[1:] == test.images.shape[1:] == facts.image_shape
    assert len(train.labels) + len(test.labels) == 1797
    share = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.all(abs(share - 0.2) < 0.01)
    pixels = train.images / 16.0
    assert pixels.max() == 1
    assert abs(pixels.mean() - facts.mean[0]) < 1e-3
    assert abs(pixels.std() - facts.std[0]) < 1e-3


def test_digits_splits_share_no_sample_with_sklearns_order() -> None:
    """Every fifth sample of each class is for testing, and both splits keep the set's order."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    train, test = SOURCES["digits"].read(Path())
    zeros = bundle.images[bundle.target == 0]
    assert np.array_equal(test.images[test.labels == 0][:, 0], zeros[4::5])
    assert np.array_equal(train.images[train.labels == 0][:4, 0], zeros[:4])


def test_run_data_is_normalised_and_chosen(run_of: RunOf) -> None:
    counts = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    data = load(run_of(f"counts={counts}", "subset=first").data, CPU, torch.float64)
    assert data.train_images.dtype == torch.float64
    assert torch.bincount(data.train_labels).tolist() == counts
    train, test = SOURCES["digits"].read(Path())
    facts = SOURCES["digits"].facts
    first_zero = (torch.from_numpy(train.images[train.labels == 0][0]).double() / 16 - facts.mean[0]) / facts.std[0]
    assert torch.allclose(data.train_images[data.train_labels == 0][0], first_zero)
    whole = load(run_of().data, CPU, torch.float32)
    assert whole.train_images.shape == (1442, 1, 8, 8)
    assert abs(float(whole.train_images.mean())) < 5e-3
    assert abs(float(whole.train_images.std()) - 1) < 5e-3
    assert len(whole.test_labels) == len(test.labels)


@pytest.mark.parametrize("size", [5, 8, 32])
def test_images_are_normalised_then_resized_then_repeated(size: int) -> None:
    """1e-12: float64 sums of a few numbers. Resizing first would round to whole grey levels."""
    facts = SOURCES["mnist"].facts
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    made = normalise(images, facts, (3, size, size), CPU, torch.float64)
    assert made.shape == (3, 3, size, size)
    assert torch.equal(made[:, 0], made[:, 1])
    assert torch.equal(made[:, 0], made[:, 2])
    matrix = resampling(28, size)
    wanted = matrix @ ((images[:, 0] / 255 - facts.mean[0]) / facts.std[0]) @ matrix.T
    assert np.allclose(made[:, 0], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [3, 8, 20, 32])
def test_resizing_keeps_a_constant_image(size: int) -> None:
    """1e-12: weights that sum to 1 up to float64 rounding."""
    facts = SOURCES["cifar10"].facts
    images = np.empty((2, 3, 32, 32), dtype=np.uint8)
    images[:] = np.array([40, 90, 200])[:, None, None]
    made = normalise(images, facts, (3, size, size), CPU, torch.float64)
    for channel, level in enumerate((40, 90, 200)):
        wanted = (level / 255 - facts.mean[channel]) / facts.std[channel]
        assert made[:, channel].shape == (2, size, size)
        assert float(abs(made[:, channel] - wanted).max()) < 1e-12


@pytest.mark.parametrize("size", [16, 40, 64])
def test_resizing_keeps_the_mean_of_a_smooth_image(size: int) -> None:
    """1 of 255 levels: what the outermost pixels' cut triangles move."""
    x = np.linspace(0, np.pi, 28)
    smooth = np.tile((100 + 100 * np.outer(np.sin(x), np.sin(x))).astype(np.uint8), (1, 3, 1, 1))
    plain = SOURCES["svhn"].facts  # mean 0, deviation 1: pixels in [0, 1]
    made = normalise(smooth, plain, (3, size, size), CPU, torch.float64)
    assert abs(float(made.mean()) - smooth.mean() / 255) < 1 / 255


def test_images_left_as_they_are_are_only_normalised(run_of: RunOf) -> None:
    data = load(run_of("dataset.size=8", "dataset.channels=1").data, CPU, torch.float64)
    assert torch.equal(data.train_images, load(run_of().data, CPU, torch.float64).train_images)


def test_run_data_has_the_shape_that_the_configuration_says(run_of: RunOf) -> None:
    run = run_of(f"counts={[2] * 10}", "dataset.size=11", "dataset.channels=3")
    data = load(run.data, CPU, torch.float32)
    assert data.train_images.shape == (20, 3, 11, 11) == (20, *run.data.image_shape)
    assert data.test_images.shape == (355, 3, 11, 11)
    assert data.train_images.is_contiguous()


def test_run_data_of_chosen_classes(run_of: RunOf) -> None:
    run = run_of("classes=[7,2]", "imbalance=0.5", "imbalance_profile=step", "subset=first")
    data = load(run.data, CPU, torch.float64)
    assert torch.bincount(data.train_labels).tolist() == [142, 71] == list(run.data.counts)  # the smaller class is 2
    train, test = SOURCES["digits"].read(Path())
    facts, shape = SOURCES["digits"].facts, (1, 8, 8)
    for place, k, count in ((0, 7, 142), (1, 2, 71)):
        wanted = normalise(train.images[train.labels == k][:count], facts, shape, CPU, torch.float64)
        assert torch.equal(data.train_images[data.train_labels == place], wanted)
        wanted = normalise(test.images[test.labels == k], facts, shape, CPU, torch.float64)
        assert torch.equal(data.test_images[data.test_labels == place], wanted)
    assert set(data.test_labels.tolist()) == {0, 1}
