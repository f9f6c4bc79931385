"""Every closed form beside squared loss on linear heads: golden values, and values of explicit configurations."""

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from free_features import KINDS
from numpy.typing import NDArray

from ncrun.theory import Problem, predict
from ncrun.theory.group_structures import (
    Block,
    best_gain,
    best_structures,
    best_with_bias,
    circle_block,
    collapse_penalty,
    simplex_block,
)
from ncrun.theory.relu_head import graph_family
from ncrun.theory.report import as_json, as_table
from ncrun.theory.seli import seli
from ncrun.theory.squared_loss import existence_border, global_border

Array = NDArray[np.float64]


def free(loss: str, counts: list[float], decay: float | tuple[float, float], depth: int = 1, **more: object) -> Problem:
    """Wide free features; decay: one for all, or (weights, features)."""
    weight, feature = decay if isinstance(decay, tuple) else (decay, decay)
    fields: dict[str, object] = {"widths": (64,) * depth, "bias": False} | more
    return Problem(loss=loss, counts=tuple(counts), weight_decays=(weight,) * depth, feature_decay=feature, **fields)  # type: ignore[arg-type]


# --- Dang et al. 2024: cross-entropy, non-negative features


def test_relu_features_golden_values() -> None:
    geometry = predict(free("ce", [50, 30, 2, 1], (2e-2, 5e-3), feature_sign="nonnegative"))
    assert geometry.claim == "proven"
    # Printed to nine and five digits, from an independent optimisation of the problem.
    assert geometry.objective == pytest.approx(0.504730573, abs=5e-10)
    np.testing.assert_allclose(geometry.margins(), [3.27759, 2.98870, 1.06553, 0.16009], atol=5e-6)
    np.testing.assert_allclose(
        np.diag(geometry.layers[0].feature_gram), [0.80284, 0.94511, 1.30501, 0.27728], atol=5e-6
    )


def test_relu_features_collapsed_classes_share_a_row() -> None:
    geometry = predict(free("ce", [60, 40, 1, 1], (3e-2, 5e-3), feature_sign="nonnegative"))
    assert geometry.objective == pytest.approx(0.608435951, abs=5e-10)
    np.testing.assert_allclose(geometry.margins(), [2.91665, 2.67675, 0, 0], atol=5e-6)
    gram = geometry.layers[0].weight_gram
    assert geometry.collapsed() == [False, False, True, True]
    assert gram[2, 2] == pytest.approx(1.1644, abs=5e-5)
    np.testing.assert_allclose(gram[2], gram[3], rtol=1e-12)  # the same expression up to rounding
    assert geometry.merged_with() == [[], [], [3], [2]]


def test_relu_features_factors_reach_the_objective() -> None:
    """The predicted Gram matrices as explicit factors: the objective recomputed from scratch."""
    counts, weight, feature = np.array([60.0, 25.0, 7.0, 3.0, 1.0]), 8e-3, 6e-3
    geometry = predict(free("ce", counts.tolist(), (weight, feature), feature_sign="nonnegative"))
    N, K = counts.sum(), len(counts)
    H = np.sqrt(geometry.layers[0].feature_gram)  # orthogonal, so a diagonal of lengths
    W = (
        math.sqrt(feature / (K * (K - 1) * weight))
        * (K * np.sqrt(counts) * H - (np.sqrt(counts) * H).sum(axis=1)[:, None]).T
    )
    scores = W @ H
    data = counts @ (np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)) / N
    value = data + weight / 2 * (W**2).sum() + feature / 2 * counts @ (H**2).sum(axis=0)
    assert value == pytest.approx(geometry.objective, rel=1e-13)  # sums of a few dozen terms
    np.testing.assert_allclose(W @ W.T, geometry.layers[0].weight_gram, atol=1e-12)
    assert geometry.data_term() == pytest.approx(data, rel=1e-12)


def test_relu_features_published_ratios() -> None:
    """Dang et al. 2024, CIFAR-10 with 1000 .. 5000 samples, at the released code's effective decays."""
    counts = [1000.0 * (1 + k // 2) for k in range(10)]
    geometry = predict(free("ce", counts, (2e-4, 2e-5 / 118), feature_sign="nonnegative"))
    np.testing.assert_allclose(geometry.margins()[::2], [7.443, 7.792, 7.995, 8.139, 8.251], atol=1e-3)  # 3 digits
    features, weights = np.diag(geometry.layers[0].feature_gram), np.diag(geometry.layers[0].weight_gram)
    np.testing.assert_allclose(features[::2], [7.67, 5.68, 4.76, 4.19, 3.80], atol=5e-3)
    np.testing.assert_allclose(weights[::2], [7.08, 9.86, 12.05, 13.94, 15.62], atol=1e-2)


# --- cross-entropy, linear heads, balanced


def test_one_layer_has_a_closed_form() -> None:
    K, n, decay = 7, 30.0, 4e-3
    geometry = predict(free("ce", [n] * K, decay))
    gain = math.log(1 / (math.sqrt(n) * decay) - (K - 1))
    expected = math.log(1 + (K - 1) * math.exp(-gain)) + decay * (K - 1) * gain * math.sqrt(n)
    assert geometry.claim == "proven"
    assert geometry.objective == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(geometry.logits, gain * (np.eye(K) - 1 / K), atol=1e-12)
    assert geometry.decay_to_collapse is not None
    np.testing.assert_allclose(geometry.decay_to_collapse, 1 / (K * math.sqrt(n) * decay), rtol=1e-12)


@pytest.mark.parametrize(
    ("depth", "simplex", "pairs"), [(1, 0.0711, 0.0768), (2, 0.0279, 0.0246), (3, 0.0182, 0.0144), (6, 0.0121, 0.0083)]
)
def test_ten_classes_golden_values(depth: int, simplex: float, pairs: float) -> None:
    penalty = np.array([(depth + 1) / 2 * 1e-4])
    found = best_gain(simplex_block(10, 10), 10, 100, penalty, depth)[1][0]
    in_pairs = 5 * best_gain(simplex_block(2, 10), 10, 100, penalty, depth)[1][0]
    assert (found, in_pairs) == (pytest.approx(simplex, abs=6e-5), pytest.approx(pairs, abs=6e-5))  # as printed
    geometry = predict(free("ce", [100] * 10, 1e-4, depth))
    assert geometry.claim == ("proven" if depth == 1 else "refuted")
    if depth > 1:
        assert geometry.best_known is not None
        assert geometry.best_known.objective <= in_pairs * (1 + 1e-12)


def test_circle_golden_value() -> None:
    value = best_gain(circle_block(10, 10), 10, 100, np.array([3.5e-4]), 6)[1][0]
    assert value == pytest.approx(0.0067, abs=6e-5)


@pytest.mark.parametrize(
    ("K", "n", "decay", "depth", "claim", "best"),
    [
        (4, 20, 2e-2, 2, "refuted", 0.631356),
        (4, 20, 1e-3, 2, "open", None),
        (5, 20, 1e-3, 2, "refuted", 0.062508),
        (3, 20, 1e-3, 3, "open", None),
        (2, 20, 1e-3, 4, "proven", None),
        (5, 20, 0.5, 3, "proven", None),  # zero
    ],
)
def test_claims_by_classes_depth_and_decay(
    K: int, n: float, decay: float, depth: int, claim: str, best: float | None
) -> None:
    geometry = predict(free("ce", [n] * K, decay, depth))
    assert geometry.claim == claim
    if best is None:
        assert geometry.best_known is None
    else:
        assert geometry.best_known is not None
        assert geometry.best_known.objective == pytest.approx(best, abs=1e-6)
        assert geometry.best_known in geometry.references


def block_logits(block: Block, gain: float) -> Array:
    """The logits inside one group."""
    g = block.size
    if block.kind == "circle":
        angles = 2 * np.pi * np.arange(g) / g
        return gain * np.cos(angles[:, None] - angles)
    return gain * (np.eye(g) - (1 / g if g > 1 else 0))


def objective_of(logits: Array, bias: Array, n: float, penalty: float, depth: int) -> float:
    """From the logits alone: cross-entropy, and the Schatten penalty of their singular values."""
    scores = logits + bias[:, None]
    data = np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)
    singular = np.linalg.svd(logits * math.sqrt(n), compute_uv=False)
    singular = singular[singular > 1e-9 * singular.max()]
    return float(data.mean() + penalty * (singular ** (2 / (depth + 1))).sum())


@pytest.mark.parametrize(("K", "depth"), [(3, 2), (5, 2), (6, 3), (10, 2), (11, 4), (12, 6)])
def test_structures_have_the_value_of_their_logits(K: int, depth: int) -> None:
    n, penalty = 50.0, (depth + 1) / 2 * 2e-3
    (structure,) = best_structures(K, n, np.array([penalty]), depth)
    logits, start = np.zeros((K, K)), 0
    for kind, size in structure.blocks:
        block = circle_block(size, K) if kind == "circle" else simplex_block(size, K)
        gain = float(best_gain(block, K, n, np.array([penalty]), depth)[0][0])
        part = slice(start, start + size)
        logits[part, part] = block_logits(block, gain)
        start += size
    assert start == K
    # The singular values of exactly equal blocks come out equal to 1e-15; their roots carry that on.
    assert objective_of(logits, np.zeros(K), n, penalty, depth) == pytest.approx(structure.value, rel=1e-10)


def test_structure_is_never_above_the_simplex_or_zero() -> None:
    penalties = np.geomspace(1e-6, 1, 25)
    for depth in (1, 2, 4):
        whole = best_gain(simplex_block(6, 6), 6, 10, penalties, depth)[1]
        best = np.array([structure.value for structure in best_structures(6, 10, penalties, depth)])
        assert (best <= whole * (1 + 1e-12)).all()
        assert (best <= math.log(6) * (1 + 1e-12)).all()
        if depth == 1:  # there the simplex is proven
            np.testing.assert_allclose(best, whole, rtol=1e-12)


def test_a_bias_serves_a_class_alone() -> None:
    """Three classes, four layers: one pair of opposed classes and the bias for the third beat the simplex. The values
    are those of an independent multi-start optimisation."""
    geometry = predict(free("ce", [20, 20, 20], 5e-3, 4, bias=True))
    assert geometry.claim == "refuted"
    assert geometry.best_known is not None
    assert geometry.best_known.objective == pytest.approx(0.083783, abs=1e-6)
    structure = best_with_bias(3, 20, 5 / 2 * 5e-3, 4)
    # The same from explicit logits: minimise over the gain and the bias on a fine grid.
    values = [
        objective_of(
            np.diag([g / 2, g / 2, 0]) - np.array([[0, g / 2, 0], [g / 2, 0, 0], [0, 0, 0]]),
            np.array([0, 0, c]),
            20,
            5 / 2 * 5e-3,
            4,
        )
        for g in np.linspace(8, 32, 121)
        for c in np.linspace(0, 16, 81)
    ]
    # Half a grid step of 0.2 off the minimum in either direction costs less than 1e-3 relative.
    assert min(values) == pytest.approx(structure.value, rel=1e-3)
    assert min(values) >= structure.value * (1 - 1e-9)


def test_collapse_penalty_is_where_the_simplex_equals_zero() -> None:
    for depth in (2, 3, 6):
        block = simplex_block(5, 5)
        border = collapse_penalty(block, 5, 20, depth)
        # Just below, the value is below log K; just above, giving up is best. 1e-6 is wide of the search's 1e-8.
        below, above = best_gain(block, 5, 20, border * np.array([1 - 1e-6, 1 + 1e-6]), depth)[0]
        assert below > 0.1
        assert above == 0


# --- cross-entropy, one layer, unequal counts


def test_merging_classes_are_said_to_merge() -> None:
    """Five classes of 300 and five of 100: the small ones merge once N s >= 10, here at a decay of 1/200."""
    for decay, merged in ((0.00499, False), (0.00501, True)):
        geometry = predict(free("ce", [300] * 5 + [100] * 5, decay))
        assert geometry.claim == "certified"
        assert geometry.duality_gap is not None
        assert abs(geometry.duality_gap) < 1e-11
        assert geometry.collapsed()[5:] == [merged] * 5
        assert geometry.collapsed()[:5] == [False] * 5
    assert geometry.merged_with()[5] == [6, 7, 8, 9]


def test_certified_geometry_is_that_of_its_factors() -> None:
    """W and H built from the Gram matrices give the logits and the objective back."""
    counts, decays = np.array([80.0, 30.0, 30.0, 5.0]), (6e-3, 2e-3)
    geometry = predict(free("ce", counts.tolist(), decays, bias=True))
    assert geometry.logits is not None
    assert geometry.bias is not None
    layer, N = geometry.layers[0], counts.sum()
    scores = geometry.logits + geometry.bias[:, None]
    data = counts @ (np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)) / N
    penalty = decays[0] / 2 * np.trace(layer.weight_gram) + decays[1] / 2 * counts @ np.diag(layer.feature_gram)
    assert data + penalty == pytest.approx(geometry.objective, rel=1e-12)
    # Z = W H with shared singular vectors: Z D Z^T = (W W^T)^2 lam_W / lam_H. The program's logits are good to 1e-6.
    product = (geometry.logits * counts) @ geometry.logits.T
    np.testing.assert_allclose(
        product, layer.weight_gram @ layer.weight_gram * decays[0] / decays[1], rtol=1e-6, atol=1e-6
    )
    # With a bias the sample-weighted mean of the features is zero.
    assert counts @ layer.feature_gram @ counts == pytest.approx(0, abs=1e-6 * N**2 * np.trace(layer.feature_gram))


def test_seli_step_imbalance() -> None:
    """Closed-form norm ratios and cosines of Thrampoulidis et al. 2022 for K = 4, ratio 10, to their printed digits."""
    shape = seli(np.array([100.0, 100.0, 10.0, 10.0]))
    w, h = np.diag(shape.weight_gram), np.diag(shape.feature_gram)
    assert w[0] / w[2] == pytest.approx(1.9952, abs=5e-5)
    assert h[0] / h[2] == pytest.approx(0.43639, abs=5e-6)

    def cosine(gram: Array, i: int, j: int) -> float:
        return float(gram[i, j] / math.sqrt(gram[i, i] * gram[j, j]))

    assert [cosine(shape.weight_gram, *ij) for ij in ((0, 1), (2, 3), (0, 2))] == pytest.approx(
        [-0.4590, 0.0794, -0.3821], abs=5e-5
    )
    assert [cosine(shape.feature_gram, *ij) for ij in ((0, 1), (2, 3), (0, 2))] == pytest.approx(
        [-0.1946, -0.6485, -0.2660], abs=5e-5
    )


def test_seli_is_approached_as_decay_vanishes() -> None:
    """Slowly: distances .182, .109, .063, .039 at lam N = 1, .1, 1e-3, 1e-6."""
    counts = [100.0, 100.0, 10.0, 10.0]
    target = seli(np.array(counts)).weight_gram
    distances = []
    for scaled in (1, 0.1, 1e-3, 1e-6):
        gram = predict(free("ce", counts, scaled / sum(counts))).layers[0].weight_gram
        distances.append(np.linalg.norm(gram / np.linalg.norm(gram) - target / np.linalg.norm(target)))
    assert distances == pytest.approx([0.182, 0.109, 0.063, 0.039], abs=6e-4)  # as printed
    references = predict(free("ce", counts, 1e-3)).references
    assert [(r.kind, r.objective) for r in references] == [("limit", None)]


# --- ReLU heads


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
    geometry = predict(free("mse", [50, 50], 5e-4, depth, head="relu"))
    assert geometry.claim == "proven"
    assert geometry.objective == pytest.approx(value, abs=5e-7)
    assert geometry.logits is not None
    np.testing.assert_allclose(geometry.logits, gain * np.eye(2), atol=5e-7)
    assert geometry.decay_to_collapse is not None
    assert 5e-4 * geometry.decay_to_collapse[0] == pytest.approx(largest, abs=5e-5)
    # tau = lam W_L W_L^T = n lam H..: every factor has the same share, K tau / 2.
    share = 5e-4 * geometry.layers[0].weight_gram[0, 0]
    fit = (1 - geometry.logits[0, 0]) ** 2 / 2
    assert fit + (depth + 1) * 2 * share / 2 == pytest.approx(geometry.objective, rel=1e-12)
    assert geometry.input_grams[0] is None
    assert all(gram is not None for gram in geometry.input_grams[1:])


def test_local_minimum_survives_the_border() -> None:
    """Lambda ratio 1.69 for L = 2 and 4.0 for L = 3; as ratios of a common decay 1.19 and 1.41."""
    for depth, ratio in ((2, 1.69), (3, 4.0)):
        assert (existence_border(depth) / global_border(depth)) ** (depth + 1) == pytest.approx(ratio, abs=5e-3)


@pytest.mark.parametrize(
    ("n", "chains", "graph"), [(10, 0.15640, 0.14116), (50, 0.21462, 0.19383), (100, 0.24580, 0.22206)]
)
def test_strongly_regular_graph_golden_values(n: float, chains: float, graph: float) -> None:
    geometry = predict(free("mse", [n] * 10, 4e-3, 4, head="relu"))
    assert geometry.claim == "refuted"
    assert geometry.objective == pytest.approx(chains, abs=5e-6)
    found = {r.name: r.objective for r in geometry.references}
    assert found["strongly regular graph on 10 classes"] == pytest.approx(graph, abs=5e-6)
    assert geometry.best_known is not None
    assert geometry.best_known.objective <= min(found.values())


@pytest.mark.parametrize(
    ("r", "depth", "quotient"), [(4, 3, 1.244), (4, 4, 0.829), (5, 4, 0.595), (5, 6, 0.149), (7, 5, 0.126)]
)
def test_strongly_regular_graph_cost(r: int, depth: int, quotient: float) -> None:
    family = graph_family(r * (r - 1) // 2, depth)
    assert family is not None
    assert family.cost / family.size ** (depth + 1) == pytest.approx(quotient, abs=6e-4)


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
    assert np.prod([(factor**2).sum() for factor in factors]) == pytest.approx(family.cost, rel=1e-12)
    assert [len(factor) for factor in factors[:-1]] == list(family.widths)


def test_narrow_heads_know_no_wide_configuration() -> None:
    """A stored configuration needs its neurons: with hardly any there, none may be quoted."""
    wide = predict(free("mse", [50] * 3, 4e-3, 5, head="relu"))
    narrow = predict(free("mse", [50] * 3, 4e-3, 5, head="relu", widths=(3,) * 5))
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


# --- what is printed

SETTINGS = {
    "ce one layer": free("ce", [40] * 4, 5e-3),
    "ce certified": free("ce", [40, 20, 20, 3], 5e-3, bias=True),
    "ce deep": free("ce", [40] * 6, 1e-3, 3),
    "ce deep imbalanced": free("ce", [40, 20, 3], 1e-3, 3),
    "relu features": free("ce", [40, 20, 3], 5e-3, feature_sign="nonnegative"),
    "relu features, bias": free("ce", [40, 20, 3], 5e-3, feature_sign="nonnegative", bias=True),
    "relu head": free("mse", [40] * 5, 5e-4, 4, head="relu"),
    "relu head, unequal": free("mse", [40, 4], 2e-2, 4, head="relu"),
    "mse collapsed": free("mse", [40, 20, 1], 2e-2, 2),
    "plain decay, ce": free("ce", [40] * 4, 5e-3, decay_mode="parameters"),
    "plain decay, relu head": free("mse", [40] * 4, 5e-3, 3, head="relu", decay_mode="parameters"),
    "plain decay, relu features": free("ce", [40, 9, 3], 5e-3, feature_sign="nonnegative", decay_mode="parameters"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_prints(name: str) -> None:
    geometry = predict(SETTINGS[name])
    content = json.loads(json.dumps(as_json(geometry), allow_nan=False))
    contract = {"objective", "classes", "bias", "weight_gram", "feature_gram", "logits", "claim", "best_known"}
    contract |= {"references", "source"}
    assert contract <= set(content)
    assert all(set(reference) == {"name", "objective", "source", "kind"} for reference in content["references"])
    assert (content["best_known"] is not None) == (content["claim"] == "refuted")
    table = as_table(geometry)
    assert f"claim: {geometry.claim}" in table
    assert "nan" not in table


def test_thresholds_in_words() -> None:
    def words(problem: Problem) -> str:
        return str(as_json(predict(problem))["threshold"])

    # n = 1 collapses at lam_W lam_H = n (K-1)/K / N^2, here at lam_W = .75 / (83^2 * 5e-3) = .0218
    assert words(free("ce", [50, 30, 2, 1], (2e-2, 5e-3), feature_sign="nonnegative")).startswith(
        "class 3 collapses if weight decay exceeds 0.0218 at this feature decay"
    )
    collapsed = free("ce", [50, 30, 2, 1], (3e-2, 5e-3), feature_sign="nonnegative")
    assert words(collapsed).startswith("class 2 collapses if weight decay exceeds 0.0435")
    everything = free("mse", [50, 50], (0.06, 0.05), 3, head="relu")
    assert words(everything).startswith("all classes stay collapsed unless weight decay falls below 0.0516")
    assert as_json(predict(everything))["metastable"] == [0, 1]


def test_threshold_in_words_is_the_threshold() -> None:
    """Setting the decay to just below and above the printed one keeps and loses the class."""
    for problem in (free("mse", [60, 30, 4], (1e-3, 2e-3), 3), free("ce", [60, 30, 4], (1e-3, 2e-3), bias=True)):
        words = str(as_json(predict(problem))["threshold"])
        assert words.startswith("class 2 collapses if weight decay exceeds ")
        printed = float(words.split("exceeds ")[1].split()[0])
        kept = []
        for decay in (printed * 0.99, printed * 1.01):  # three digits are printed
            moved = free(problem.loss, list(problem.counts), (decay, 2e-3), problem.depth, bias=problem.bias)
            kept.append(not predict(moved).collapsed()[2])
        assert kept == [True, False]


def test_deeper_heads_need_less_decay_to_collapse_everything() -> None:
    """For balanced squared loss the border in the common decay falls with depth, as in the table above."""
    borders = [predict(free("mse", [50, 50], 5e-4, depth, head="relu")).decay_to_collapse[0] for depth in range(2, 8)]  # type: ignore[index]
    assert all(later < earlier for earlier, later in pairwise(borders))


def test_claims_hold_against_numerical_search() -> None:
    """Four random settings of every kind; `make verify` takes forty. The script fails where a proven or certified value
    is not the best found, or where a refuted one is."""
    script = Path(__file__).parents[1] / "scripts" / "verify_theory.py"
    command = [sys.executable, str(script), "--settings", "4", "--seed", "11"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(kind in done.stdout for kind in KINDS)
