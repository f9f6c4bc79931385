"""K x K matrices in tiles: the same numbers as in one piece, and no K x K array on the way."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest

import ncrun
from ncrun.metrics import scan, tiles
from ncrun.metrics.distance import shape_distance
from ncrun.metrics.tiles import Product
from ncrun.stated import stated
from ncrun.theory import Prediction, predict, prediction
from ncrun.theory.report import as_json, as_table

K = 11


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("width", [4, 30])  # a bottleneck that leaves a choice, and none
def test_tiles_change_no_number(bias: bool, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row or two at a time, and without the table of the classes' means: what is in one piece by default."""
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.repeat(np.arange(K), [9] * 6 + [4] * 5))
    weights = rng.normal(size=(K, width))
    features = weights[labels] + 0.4 * rng.normal(size=(len(labels), width))

    def row() -> dict[str, object]:
        offset = np.linspace(0, 1, K) if bias else None
        settings = {"decay_weight": 1e-3, "decay_feature": 1e-4, "nonnegative_features": False}
        found = ncrun.measure(features, labels, weights, offset, test=(features[::-1], labels[::-1]), **settings)
        return found.metrics | {"theory": {key: v for key, v in found.theory.items() if isinstance(v, float)}}

    whole = row()
    monkeypatch.setattr(tiles, "TILE_NUMBERS", 2 * K)
    monkeypatch.setattr(prediction, "PIECE", 2 * K)
    monkeypatch.setattr(scan, "TABLE_NUMBERS", 0)
    for key, value in row().items():
        expected = whole[key]
        if value is None or expected is None:
            assert value is expected, key
        else:
            assert value == pytest.approx(expected, rel=1e-10, abs=1e-12), key


def test_distance_of_factors_of_any_size() -> None:
    """Against the definition; the second matrix' squares would overflow, and its first tile is zero."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    other = rng.normal(size=(6, 6))
    other[:2] = 0
    product = left @ right.T
    expected = np.linalg.norm(product / np.linalg.norm(product) - other / np.linalg.norm(other))
    assert shape_distance(Product(left, right), 2.0**900 * other) == pytest.approx(expected, rel=1e-13)
    assert shape_distance(Product(left, 0 * right), other) is None


COUNTS = {
    "of two counts": [300] * 4000 + [30] * 6000,
    "of all counts, without a bias": list(range(50, 10_050)),
}


@pytest.mark.parametrize("case", COUNTS)
def test_ten_thousand_classes_without_a_whole_matrix(case: str) -> None:
    """A K x K array would take 800 MB."""
    tracemalloc.start()
    try:
        found = _squared_loss(COUNTS[case], 10_000, "without" not in case)
        assert found.claim == "proven"
        assert found.mean_rank == 9_999
        assert as_json(found)["logits"] is None
        assert len(as_table(found).splitlines()) > 10_000
        assert tracemalloc.get_traced_memory()[1] < 2e8
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("width", [40, 13])
def test_kinds_and_whole_matrices_are_one(width: int) -> None:
    """The prediction from kinds of classes, against the singular values of the whole label matrix."""
    counts = np.array([7] * 4 + [30] * 9 + [100] + [3] * 6, dtype=float)
    found = _squared_loss(counts.tolist(), width, True)
    q, root = np.sqrt(counts / counts.sum()), np.sqrt(counts)
    left, values, right = np.linalg.svd(np.diag(root) @ (np.eye(20) - np.outer(q, q)))
    values[width:] = 0
    z = np.maximum(values - counts.sum() * (1e-3 * 1e-5) ** 0.5, 0)  # one layer: soft thresholding
    assert found.tie is None
    assert found.logits == pytest.approx((left * z) @ right / root, abs=1e-12)
    assert found.layers[0].weight_gram == pytest.approx((left * z) @ left.T * (1e-5 / 1e-3) ** 0.5, abs=1e-12)
    means = (right.T / root[:, None] * z) @ right / root
    assert found.layers[0].feature_gram == pytest.approx(means * (1e-3 / 1e-5) ** 0.5, abs=1e-12)


def _squared_loss(counts: list[float], width: int, bias: bool) -> Prediction:
    weight, feature = (1e-3, 1e-5) if len(counts) < 100 else (1e-6, 1e-10)
    problem = stated(
        counts=counts,
        loss="mse",
        depth=1,
        bias=bias,
        feature_sign="free",
        decay_weight=weight,
        decay_feature=feature,
        widths=[width],
    )
    return predict(problem)


def test_a_mapped_file_is_read_without_a_warning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels, weights = np.arange(30) % 3, rng.normal(size=(3, 4)).astype(np.float32)
    np.save(tmp_path / "features.npy", weights[labels] + rng.normal(size=(30, 4)).astype(np.float32))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ncrun.measure(mapped, labels, weights, nonnegative_features=False)
    assert found.metrics == ncrun.measure(np.array(mapped), labels, weights, nonnegative_features=False).metrics
