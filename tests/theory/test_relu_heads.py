"""Heads of ReLU layers: deep neural collapse, strongly regular graphs, and which claim holds where."""

import numpy as np
import pytest
from posed import free

from ncrun.theory import predict
from ncrun.theory.relu_head import graph_family


@pytest.mark.parametrize(
    ("depth", "value", "gain", "largest"),
    [
        (2, 0.005519, 0.996311, 0.0539),
        (3, 0.005315, 0.997337, 0.0512),
        (4, 0.005464, 0.997810, 0.0481),
        (5, 0.005756, 0.998078, 0.0449),
        (6, 0.006119, 0.998249, 0.0418),
        (7, 0.006521, 0.998367, 0.0390),
    ],
)
def test_deep_neural_collapse_golden_values(depth: int, value: float, gain: float, largest: float) -> None:
    prediction = predict(free("mse", [50, 50], 5e-4, depth, head="relu"))
    assert prediction.claim == "proven"
    assert prediction.objective == pytest.approx(value, abs=5e-7)
    assert prediction.logits is not None
    np.testing.assert_allclose(prediction.logits, gain * np.eye(2), atol=5e-7)
    assert prediction.decay_to_collapse is not None
    assert 5e-4 * prediction.decay_to_collapse[0] == pytest.approx(largest, abs=5e-5)
    # tau = lam W_L W_L^T = n lam H..: every factor has the same share, K tau / 2.
    share = 5e-4 * prediction.layers[0].weight_gram[0, 0]
    fit = (1 - prediction.logits[0, 0]) ** 2 / 2
    assert fit + (depth + 1) * 2 * share / 2 == pytest.approx(prediction.objective, rel=1e-12)
    assert prediction.input_grams[0] is None
    assert all(gram is not None for gram in prediction.input_grams[1:])


@pytest.mark.parametrize(
    ("n", "chains", "graph"), [(10, 0.15640, 0.14116), (50, 0.21462, 0.19383), (100, 0.24580, 0.22206)]
)
def test_strongly_regular_graph_golden_values(n: float, chains: float, graph: float) -> None:
    prediction = predict(free("mse", [n] * 10, 4e-3, 4, head="relu"))
    assert prediction.claim == "refuted"
    assert prediction.objective == pytest.approx(chains, abs=5e-6)
    found = {r.name: r.objective for r in prediction.references}
    assert found["strongly regular graph on 10 classes"] == pytest.approx(graph, abs=5e-6)
    assert prediction.best_known is not None
    assert prediction.best_known.objective <= min(found.values())


@pytest.mark.parametrize(
    ("r", "depth", "quotient"), [(4, 3, 1.244), (4, 4, 0.829), (5, 4, 0.595), (5, 6, 0.149), (7, 5, 0.126)]
)
def test_strongly_regular_graph_cost(r: int, depth: int, quotient: float) -> None:
    family = graph_family(r * (r - 1) // 2, depth)
    assert family is not None
    assert (family.mean_cost / family.size) ** (depth + 1) == pytest.approx(quotient, abs=6e-4)


def test_strongly_regular_graph_as_an_explicit_network() -> None:
    """r = 4, L = 4: incidence matrix, identity, +1 on an edge's vertices and -1 elsewhere; the product of the squared
    norms of its balanced factors is the claimed cost."""
    r, K, depth = 4, 6, 4
    edges = [(i, j) for i in range(r) for j in range(i + 1, r)]
    B = np.zeros((r, K))
    for k, edge in enumerate(edges):
        B[list(edge), k] = 1
    left, values, right_t = np.linalg.svd(B, full_matrices=False)
    H1, W1 = np.sqrt(values)[:, None] * right_t, left * np.sqrt(values)
    W3 = np.where(B.T == 1, 1.0, -1.0) / 2  # 1 on its own edge, 0 or below on the others
    factors = [H1, W1, np.eye(r), W3, np.eye(K)]
    signal = H1
    for weight in factors[1:-1]:
        signal = np.maximum(weight @ signal, 0)
    np.testing.assert_allclose(factors[-1] @ signal, np.eye(K), atol=1e-12)
    family = graph_family(K, depth)
    assert family is not None
    assert np.prod([(factor**2).sum() for factor in factors]) == pytest.approx(
        family.mean_cost ** (depth + 1), rel=1e-12
    )
    assert [len(factor) for factor in factors[:-1]] == list(family.widths)
    assert len(family.factors) == len(factors)
    for ours, theirs in zip(family.factors, factors, strict=True):
        np.testing.assert_allclose(ours.T @ ours, theirs.T @ theirs, atol=1e-12)  # up to a rotation of neurons


def test_narrow_heads_know_no_wide_configuration() -> None:
    """A stored configuration needs its neurons: with hardly any there, none may be quoted."""
    wide = predict(free("mse", [50] * 5, 0.02, 3, head="relu"))
    narrow = predict(free("mse", [50] * 5, 0.02, 3, head="relu", widths=(5,) * 3))
    assert wide.claim == "refuted"
    assert narrow.claim == "open"
    assert predict(free("mse", [50] * 3, 4e-3, 5, head="relu", widths=(2,) * 5)).claim == "none"


@pytest.mark.parametrize(
    ("counts", "depth", "decay", "claim"),
    [
        ([50, 10], 3, 5e-4, "open"),
        ([50, 20, 10], 2, 5e-4, "open"),
        ([50, 50, 50], 1, 5e-4, "proven"),
        ([50, 20, 10], 1, 5e-4, "proven"),
        ([50, 50, 50], 2, 5e-4, "open"),
        ([50, 50, 50], 3, 0.5, "proven"),  # zero
    ],
)
def test_claims_of_relu_heads(counts: list[float], depth: int, decay: float, claim: str) -> None:
    assert predict(free("mse", counts, decay, depth, head="relu")).claim == claim


@pytest.mark.parametrize(("classes", "depth", "gain"), [(3, 4, 0.0175), (4, 4, 0.015), (4, 5, 0.06), (5, 5, 0.129)])
def test_what_searches_of_narrow_heads_find_is_known(classes: int, depth: int, gain: float) -> None:
    """Layers as wide as there are classes, into which the best configurations do not fit. The gains are those of
    scripts/search_relu_heads.py --narrow at weak decays; two of them were found by scripts/verify_theory.py before."""
    narrow = predict(free("mse", [4] * classes, 1e-3, depth, head="relu", widths=(classes,) * depth))
    wide = predict(free("mse", [4] * classes, 1e-3, depth, head="relu"))
    assert narrow.claim == wide.claim == "refuted"
    assert narrow.best_known is not None
    assert wide.best_known is not None
    assert narrow.objective == wide.objective
    assert narrow.best_known.objective < narrow.objective * (1 - gain)
    assert wide.best_known.objective <= narrow.best_known.objective
