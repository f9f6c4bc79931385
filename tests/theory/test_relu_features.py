"""Cross-entropy on non-negative features (Dang et al. 2024): golden and published values, and explicit factors."""

import math

import numpy as np
import pytest
from posed import free

from ncrun.theory import predict


def test_relu_features_golden_values() -> None:
    prediction = predict(free("ce", [50, 30, 2, 1], (2e-2, 5e-3), feature_sign="nonnegative"))
    assert prediction.claim == "proven"
    # Printed to nine and five digits, from an independent optimisation of the problem.
    assert prediction.objective == pytest.approx(0.504730573, abs=5e-10)
    np.testing.assert_allclose(prediction.margins(), [3.27759, 2.98870, 1.06553, 0.16009], atol=5e-6)
    np.testing.assert_allclose(
        np.diag(prediction.layers[0].feature_gram), [0.80284, 0.94511, 1.30501, 0.27728], atol=5e-6
    )


def test_relu_features_collapsed_classes_share_a_row() -> None:
    prediction = predict(free("ce", [60, 40, 1, 1], (3e-2, 5e-3), feature_sign="nonnegative"))
    assert prediction.objective == pytest.approx(0.608435951, abs=5e-10)
    np.testing.assert_allclose(prediction.margins(), [2.91665, 2.67675, 0, 0], atol=5e-6)
    gram = prediction.layers[0].weight_gram
    assert prediction.collapsed() == [False, False, True, True]
    assert gram[2, 2] == pytest.approx(1.1644, abs=5e-5)
    np.testing.assert_allclose(gram[2], gram[3], rtol=1e-12)  # the same expression up to rounding
    assert prediction.merged_with() == [[], [], [3], [2]]


def test_relu_features_factors_reach_the_objective() -> None:
    """The predicted Gram matrices as explicit factors: the objective recomputed from scratch."""
    counts, weight, feature = np.array([60.0, 25.0, 7.0, 3.0, 1.0]), 8e-3, 6e-3
    prediction = predict(free("ce", counts.tolist(), (weight, feature), feature_sign="nonnegative"))
    N, K = counts.sum(), len(counts)
    H = np.sqrt(prediction.layers[0].feature_gram)  # orthogonal, so a diagonal of lengths
    W = (
        math.sqrt(feature / (K * (K - 1) * weight))
        * (K * np.sqrt(counts) * H - (np.sqrt(counts) * H).sum(axis=1)[:, None]).T
    )
    scores = W @ H
    data = counts @ (np.log(np.exp(scores).sum(axis=0)) - np.diag(scores)) / N
    value = data + weight / 2 * (W**2).sum() + feature / 2 * counts @ (H**2).sum(axis=0)
    assert value == pytest.approx(prediction.objective, rel=1e-13)  # sums of a few dozen terms
    np.testing.assert_allclose(W @ W.T, prediction.layers[0].weight_gram, atol=1e-12)
    assert prediction.data_term() == pytest.approx(data, rel=1e-12)


def test_relu_features_published_ratios() -> None:
    """Dang et al. 2024, CIFAR-10 with 1000 .. 5000 samples, at the released code's effective decays."""
    counts = [1000.0 * (1 + k // 2) for k in range(10)]
    prediction = predict(free("ce", counts, (2e-4, 2e-5 / 118), feature_sign="nonnegative"))
    np.testing.assert_allclose(prediction.margins()[::2], [7.443, 7.792, 7.995, 8.139, 8.251], atol=1e-3)  # 3 digits
    features, weights = np.diag(prediction.layers[0].feature_gram), np.diag(prediction.layers[0].weight_gram)
    np.testing.assert_allclose(features[::2], [7.67, 5.68, 4.76, 4.19, 3.80], atol=5e-3)
    np.testing.assert_allclose(weights[::2], [7.08, 9.86, 12.05, 13.94, 15.62], atol=1e-2)
