"""Cross-entropy with a linear head on free features: golden values, groups of classes, one layer on unequal counts."""

import math

import numpy as np
import pytest
from free_features import Array
from posed import free

from ncrun.theory import predict
from ncrun.theory.group_structures import (
    Block,
    best_gain,
    best_structures,
    circle_block,
    collapse_penalty,
    simplex_block,
)
from ncrun.theory.seli import seli

# --- cross-entropy, linear heads, balanced


def test_one_layer_has_a_closed_form() -> None:
    K, n, decay = 7, 30.0, 4e-3
    prediction = predict(free("ce", [n] * K, decay))
    gain = math.log(1 / (math.sqrt(n) * decay) - (K - 1))
    expected = math.log(1 + (K - 1) * math.exp(-gain)) + decay * (K - 1) * gain * math.sqrt(n)
    assert prediction.claim == "proven"
    assert prediction.objective == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(prediction.logits, gain * (np.eye(K) - 1 / K), atol=1e-12)
    assert prediction.decay_to_collapse is not None
    np.testing.assert_allclose(prediction.decay_to_collapse, 1 / (K * math.sqrt(n) * decay), rtol=1e-12)


@pytest.mark.parametrize(
    ("depth", "simplex", "pairs"), [(1, 0.0711, 0.0768), (2, 0.0279, 0.0246), (3, 0.0182, 0.0144), (6, 0.0121, 0.0083)]
)
def test_ten_classes_golden_values(depth: int, simplex: float, pairs: float) -> None:
    penalty = np.array([(depth + 1) / 2 * 1e-4])
    found = best_gain(simplex_block(10, 10), 10, 100, penalty, depth)[1][0]
    in_pairs = 5 * best_gain(simplex_block(2, 10), 10, 100, penalty, depth)[1][0]
    assert (found, in_pairs) == (pytest.approx(simplex, abs=6e-5), pytest.approx(pairs, abs=6e-5))  # as printed
    prediction = predict(free("ce", [100] * 10, 1e-4, depth))
    assert prediction.claim == ("proven" if depth == 1 else "refuted")
    if depth > 1:
        assert prediction.best_known is not None
        assert prediction.best_known.objective <= in_pairs * (1 + 1e-12)


def test_circle_golden_value() -> None:
    value = best_gain(circle_block(10, 10), 10, 100, np.array([3.5e-4]), 6)[1][0]
    assert value == pytest.approx(0.0067, abs=6e-5)


@pytest.mark.parametrize(
    ("K", "n", "decay", "depth", "claim", "best"),
    [
        (4, 20, 2e-2, 2, "refuted", 0.631356),
        (4, 20, 1e-3, 2, "open", None),
        (5, 20, 1e-3, 2, "refuted", 0.062132),
        (3, 20, 1e-3, 3, "open", None),
        (2, 20, 1e-3, 4, "proven", None),
        (5, 20, 0.5, 3, "proven", None),  # zero
    ],
)
def test_claims_by_classes_depth_and_decay(
    K: int, n: float, decay: float, depth: int, claim: str, best: float | None
) -> None:
    prediction = predict(free("ce", [n] * K, decay, depth))
    assert prediction.claim == claim
    if best is None:
        assert prediction.best_known is None
    else:
        assert prediction.best_known is not None
        assert prediction.best_known.objective == pytest.approx(best, abs=1e-6)
        assert prediction.best_known in prediction.references


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
    prediction = predict(free("ce", [20, 20, 20], 5e-3, 4, bias=True))
    assert prediction.claim == "refuted"
    assert prediction.best_known is not None
    assert prediction.best_known.objective == pytest.approx(0.083783, abs=1e-6)
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
    assert min(values) == pytest.approx(prediction.best_known.objective, rel=1e-3)
    assert min(values) >= prediction.best_known.objective * (1 - 1e-9)


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
        prediction = predict(free("ce", [300] * 5 + [100] * 5, decay))
        assert prediction.claim == "certified"
        assert prediction.duality_gap is not None
        assert abs(prediction.duality_gap) < 1e-11
        assert prediction.collapsed()[5:] == [merged] * 5
        assert prediction.collapsed()[:5] == [False] * 5
    assert prediction.merged_with()[5] == [6, 7, 8, 9]


def test_certified_geometry_is_that_of_its_factors() -> None:
    """W and H built from the Gram matrices give the logits and the objective back."""
    counts, decays = np.array([80.0, 30.0, 30.0, 5.0]), (6e-3, 2e-3)
    prediction = predict(free("ce", counts.tolist(), decays, bias=True))
    assert prediction.logits is not None
    assert prediction.bias is not None
    layer, N = prediction.layers[0], counts.sum()
    scores = prediction.logits + prediction.bias[:, None]
    data = counts @ (np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)) / N
    penalty = decays[0] / 2 * np.trace(layer.weight_gram) + decays[1] / 2 * counts @ np.diag(layer.feature_gram)
    assert data + penalty == pytest.approx(prediction.objective, rel=1e-12)
    # Z = W H with shared singular vectors: Z D Z^T = (W W^T)^2 lam_W / lam_H. The program's logits are good to 1e-6.
    product = (prediction.logits * counts) @ prediction.logits.T
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
