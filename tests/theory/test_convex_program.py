"""The convex program against closed forms, an independent optimiser of the factored problem, and its certificate."""

from typing import Any

import numpy as np
import pytest
from scipy.linalg import null_space
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from ncrun.losses import CrossEntropy
from ncrun.theory import convex_program
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.convex_program import Solution
from ncrun.theory.exchangeable import Entries, Kinds
from ncrun.theory.prediction import Array

# The solver's default relative gap is 1e-11. Rounding adds about 1e-14 to it at the smallest strengths.
GAP = 1.1e-11
# What the certificate itself can lose: sums of K^2 terms, each to 1e-16.
ROUNDING = 1e-13


def exponential_counts(K: int, ratio: float, largest: float = 1000.0) -> Array:
    return np.round(largest * ratio ** (-np.arange(K) / (K - 1)))


def step_counts(large_classes: int, small_classes: int, large: int, small: int) -> Array:
    return np.array([large] * large_classes + [small] * small_classes, dtype=float)


def strength_above_zero(counts: Array, fraction: float) -> float:
    """A strength relative to sqrt(max n) / N, which bounds every column of A and so roughly where all logits vanish."""
    return fraction * float(np.sqrt(counts.max()) / counts.sum())


def solve(counts: Array, strength: float, bias: bool, **options: Any) -> Solution:
    return convex_program.solve(ConvexProblem(CrossEntropy(), counts, strength, bias), **options)


def relative_gap(solution: Solution) -> float:
    return solution.duality_gap / solution.objective


def value(counts: Array, strength: float, logits: Array, bias: Array) -> float:
    """The program's objective, written down afresh."""
    scores = logits + bias[:, None]
    losses = logsumexp(scores, axis=0) - np.diag(scores)
    return float(counts @ losses / counts.sum() + strength * np.linalg.norm(logits * np.sqrt(counts), "nuc"))


def factored_minima(counts: Array, strength: float, bias: bool, starts: int) -> list[float]:
    """Local minima of the original problem over W, H and b with lam_W = strength / 2 and lam_H = 2 strength."""
    K, N = len(counts), counts.sum()
    decay_w, decay_h = strength / 2, 2 * strength

    def objective(flat: Array) -> tuple[float, Array]:
        W, G, b = flat[: K * K].reshape(K, K), flat[K * K : 2 * K * K].reshape(K, K), flat[2 * K * K :] * bias
        H = G / np.sqrt(counts)  # one column per class; n_k equal features weigh n_k ||h_k||^2 = ||g_k||^2
        scores = W @ H + b[:, None]
        losses = logsumexp(scores, axis=0) - np.diag(scores)
        errors = (softmax(scores, axis=0) - np.eye(K)) * counts / N
        total = losses @ counts / N + decay_w / 2 * (W**2).sum() + decay_h / 2 * (G**2).sum()
        by_W, by_G = errors @ H.T + decay_w * W, W.T @ errors / np.sqrt(counts) + decay_h * G
        return float(total), np.concatenate([by_W.ravel(), by_G.ravel(), errors.sum(axis=1) * bias])

    rng = np.random.default_rng(0)
    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 1e-16, "gtol": 1e-12, "maxcor": 30}
    minima = []
    for _ in range(starts):
        start = rng.standard_normal(2 * K * K + K)
        minima.append(float(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).fun))
    return minima


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("c", [1e-7, 1e-3, 0.05, 0.9, 1.1, 100.0])
@pytest.mark.parametrize("K", [2, 5, 40])
def test_balanced_classes_have_the_closed_form(K: int, c: float, bias: bool) -> None:
    n = 30.0
    c = c / K if c > 0.1 else c / (2 * K)  # zero from c = 1/K on
    strength = c / np.sqrt(n)
    solution = solve(np.full(K, n), strength, bias)
    alpha = np.log(max(1 / c - (K - 1), 1.0))
    objective = np.log1p((K - 1) * np.exp(-alpha)) + strength * (K - 1) * alpha * np.sqrt(n)
    # The default gap bounds the error of the value.
    assert solution.objective == pytest.approx(objective, rel=GAP)
    # The value is quadratic around the optimum: a gap of 1e-11 allows logits that are off by its root, 3e-6. The closed
    # form is the starting point, so only rounding is left.
    np.testing.assert_allclose(solution.logits, alpha * (np.eye(K) - 1 / K), rtol=0, atol=1e-9 * max(alpha, 1e-3))
    np.testing.assert_allclose(solution.bias, 0, atol=1e-9)


@pytest.mark.parametrize(("large", "small"), [(5, 5), (1, 3), (8, 2)])
def test_minority_classes_merge_at_the_threshold(large: int, small: int) -> None:
    counts = step_counts(large, small, 500, 20)
    threshold = np.sqrt(20) / counts.sum()
    for factor in (1.0, 1.001, 1.5):
        merged = solve(counts, factor * threshold, bias=False).logits[:, large:]
        # The differences of minority columns are singular directions that thresholding sets to zero: only the rounding
        # of the product of singular vectors is left, of logits up to 10.
        assert np.ptp(merged, axis=1).max() < 1e-11
    apart = solve(counts, 0.999 * threshold, bias=False).logits[:, large:]
    # The difference grows in proportion to the distance from the threshold, at a rate of a few logits.
    assert np.ptp(apart, axis=1).max() > 1e-3


def test_two_classes_with_bias_have_the_closed_form() -> None:
    # One singular value is left: A = -s u v^T, u = (1, -1)/sqrt 2 and v = (sqrt n_2, -sqrt n_1)/sqrt N. Its diagonal
    # tells which probability each class gives away.
    counts, N = np.array([300.0, 7.0]), 307.0
    strength = strength_above_zero(counts, 1e-3)
    solution = solve(counts, strength, bias=True, tolerance=1e-14)
    given_away = strength * np.sqrt(N * counts[::-1] / (2 * counts))
    scores = solution.logits + solution.bias[:, None]
    margins = np.array([scores[0, 0] - scores[1, 0], scores[1, 1] - scores[0, 1]])
    # Newton's last step leaves the root of rounding, at worst.
    np.testing.assert_allclose(margins, np.log(1 / given_away - 1), rtol=1e-8)
    assert solution.bias.sum() == pytest.approx(0, abs=1e-14)


def test_a_huge_strength_leaves_no_logits() -> None:
    counts = np.array([100.0, 30.0, 5.0, 1.0])
    shares = counts / counts.sum()
    for strength in (strength_above_zero(counts, 1.5), 1e6):
        plain, biased = solve(counts, strength, bias=False), solve(counts, strength, bias=True)
        assert not plain.logits.any()
        assert not biased.logits.any()
        # Closed forms, met to rounding.
        assert plain.objective == pytest.approx(np.log(4), rel=ROUNDING)
        assert biased.objective == pytest.approx(-float(shares @ np.log(shares)), rel=ROUNDING)
        np.testing.assert_allclose(biased.bias, np.log(shares) - np.log(shares).mean(), atol=1e-12)
        assert max(abs(plain.duality_gap), abs(biased.duality_gap)) < ROUNDING


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("counts", "fraction"),
    [
        (np.array([40.0, 3.0]), 0.03),
        (np.array([200.0, 40.0, 9.0, 1.0]), 0.02),  # a class with one sample
        (exponential_counts(6, 100), 0.01),
        (step_counts(2, 3, 100, 5), 0.1),
        (step_counts(3, 3, 100, 10), 0.5),  # the minority has merged
    ],
)
def test_the_factored_problem_has_the_same_optimum(counts: Array, fraction: float, bias: bool) -> None:
    strength = strength_above_zero(counts, fraction)
    solution = solve(counts, strength, bias)
    minima = factored_minima(counts, strength, bias, starts=3)
    # L-BFGS in float64 settles the value to about 1e-12.
    assert min(minima) == pytest.approx(solution.objective, rel=1e-9)
    assert min(minima) >= solution.lower_bound * (1 - ROUNDING)
    # The value at the returned point, computed another way.
    assert value(counts, strength, solution.logits, solution.bias) == pytest.approx(solution.objective, rel=1e-11)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("fraction", [1e-7, 1e-4, 1e-2, 0.3, 0.8])
@pytest.mark.parametrize(
    "counts",
    [
        np.array([1000.0, 1.0]),
        exponential_counts(10, 100),
        exponential_counts(20, 1000),
        step_counts(1, 9, 1000, 1),
        step_counts(34, 1, 1000, 1),  # 33 equal singular values, on which LAPACK's divide and conquer can give up
    ],
    ids=["K=2", "exp 100:1", "exp 1000:1", "step 1000:1", "rare class"],
)
def test_the_gap_closes(counts: Array, fraction: float, bias: bool) -> None:
    solution = solve(counts, strength_above_zero(counts, fraction), bias)
    assert -ROUNDING < relative_gap(solution) < GAP
    # Every Newton step gains two digits, so the last ten digits take five; the rest is the way there.
    assert solution.iterations <= 20


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("counts", [exponential_counts(100, 100), step_counts(50, 50, 1000, 10)], ids=["exp", "step"])
def test_a_hundred_classes(counts: Array, bias: bool) -> None:
    solution = solve(counts, strength_above_zero(counts, 1e-3), bias)
    assert -ROUNDING < relative_gap(solution) < GAP
    assert solution.iterations <= 20


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(0.1, (1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 5.0, 5.0))])
def test_kinds_of_classes_are_a_short_way_to_the_same_optimum(loss: CrossEntropy, bias: bool) -> None:
    """With counts that differ by 1e-9 no two classes are exchangeable any more, and all K^2 entries are solved for. The
    optimum moves by as much."""
    counts = np.array([90.0, 90.0, 35.0, 35.0, 35.0, 35.0, 8.0, 8.0, 8.0])
    decay = 0.01 * bias
    short, whole = (
        convex_program.solve(ConvexProblem(loss, each, 1e-3, bias, decay), tolerance=1e-13)
        for each in (counts, counts * (1 + 1e-9 * np.arange(9)))
    )
    assert short.objective == pytest.approx(whole.objective, rel=1e-8)
    assert short.lower_bound == pytest.approx(short.objective, rel=1.1e-13)
    np.testing.assert_allclose(short.logits, whole.logits, rtol=0, atol=1e-6)
    np.testing.assert_allclose(short.bias, whole.bias, rtol=0, atol=1e-6)


def test_a_thousand_classes_of_three_kinds_are_solved_as_three() -> None:
    """Against the same program written down for the whole matrices. 1e-11: its sum of a thousand singular values."""
    counts = np.repeat([500.0, 50.0, 5.0], [400, 400, 200])
    solution = solve(counts, 1e-5, bias=True)
    assert relative_gap(solution) < GAP
    assert value(counts, 1e-5, solution.logits, solution.bias) == pytest.approx(solution.objective, rel=1e-11)


@pytest.mark.parametrize("kinds", [[0, 0, 1, 0, 2, 1], [0, 1, 2], [0, 0, 0]])
def test_packed_matrices_keep_inner_products_and_singular_values(kinds: list[int]) -> None:
    """1e-13: rounding."""
    found = Kinds(np.array(kinds))
    rng = np.random.default_rng(0)
    G = len(found.sizes)
    indicators = np.array([(found.of_class == a) / np.sqrt(size) for a, size in enumerate(found.sizes)])
    basis = np.hstack((indicators.T, null_space(indicators)))
    both = [Entries(rng.normal(size=(G, G)), rng.normal(size=G)) for _ in range(2)]
    matrices, packed = [found.matrix(each) for each in both], [found.packed(each) for each in both]
    assert (packed[0] * packed[1]).sum() == pytest.approx((matrices[0] * matrices[1]).sum(), rel=1e-13)
    again = found.unpacked(packed[0])
    np.testing.assert_allclose(found.matrix(again), matrices[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(found.matrix(found.entries(matrices[0])), matrices[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(basis.T @ basis, np.eye(len(kinds)), rtol=0, atol=1e-13)
    block = basis.T @ matrices[0] @ basis
    np.testing.assert_allclose(block[:G, :G], packed[0][:-1], rtol=0, atol=1e-13)
    assert (block[G:, G:] ** 2).sum() == pytest.approx((packed[0][-1] ** 2).sum(), rel=1e-13, abs=1e-25)
    np.testing.assert_allclose(
        found.sums(both[0])[:, found.of_class], [matrices[0][found.of_class == a].sum(axis=0) for a in range(G)]
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("fraction", [1e-5, 0.05, 0.4])
def test_a_loose_solution_brackets_the_optimum(fraction: float, bias: bool) -> None:
    counts = exponential_counts(8, 50)
    strength = strength_above_zero(counts, fraction)
    tight = solve(counts, strength, bias).objective
    # max_iterations = 0: the bracket must hold for the starting point already, however wide it is.
    for loose in (solve(counts, strength, bias, tolerance=1e-3), solve(counts, strength, bias, max_iterations=0)):
        assert loose.lower_bound <= tight * (1 + ROUNDING)
        assert loose.objective >= tight * (1 - GAP)  # `tight` itself is above the optimum by at most its gap
    assert relative_gap(solve(counts, strength, bias, tolerance=1e-3)) <= 1e-3


@pytest.mark.parametrize("bias", [False, True])
def test_the_order_of_the_classes_does_not_matter(bias: bool) -> None:
    counts = np.array([90.0, 35.0, 35.0, 8.0, 2.0, 1.0])
    order = np.array([3, 0, 5, 2, 4, 1])
    strength = strength_above_zero(counts, 0.02)
    first, second = solve(counts, strength, bias), solve(counts[order], strength, bias)
    # Both are within a relative gap of 1e-11 of one optimum; the value being quadratic there, logits agree to its root.
    np.testing.assert_allclose(second.logits, first.logits[np.ix_(order, order)], atol=1e-5)
    np.testing.assert_allclose(second.bias, first.bias[order], atol=1e-5)
    assert second.objective == pytest.approx(first.objective, rel=GAP)


def test_classes_of_one_count_are_exchangeable() -> None:
    logits = solve(step_counts(3, 4, 200, 11), 1e-3, bias=True, tolerance=1e-13).logits
    # As above: the root of the gap.
    for block in (logits[:3, 3:], logits[3:, :3]):
        assert np.ptp(block) < 1e-6
    assert np.ptp(np.diag(logits)[:3]) < 1e-6


@pytest.mark.parametrize("fraction", [1e-6, 0.01, 0.3])
def test_the_bias_is_stationary(fraction: float) -> None:
    counts = exponential_counts(7, 200)
    solution = solve(counts, strength_above_zero(counts, fraction), bias=True)
    p = softmax(solution.logits + solution.bias[:, None], axis=0)
    # Rounding of softmax is 1e-16 of each class' share; logits of size 20 carry 4e-15 into the exponential.
    np.testing.assert_allclose((p - np.eye(7)) @ counts / counts.sum(), 0, atol=1e-14)
    assert solution.bias.sum() == pytest.approx(0, abs=1e-12)


def test_a_start_at_the_optimum_is_kept_and_a_wild_one_does_no_harm() -> None:
    counts = exponential_counts(12, 300)
    strength = strength_above_zero(counts, 0.01)
    solution = solve(counts, strength, bias=True)
    assert solve(counts, strength, bias=True, start=solution.logits).iterations <= 1
    wild = np.random.default_rng(0).standard_normal((12, 12)) * 300
    assert relative_gap(solve(counts, strength, bias=True, start=wild)) < GAP


def test_without_newton_steps_proximal_gradients_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.array([50.0, 20.0, 6.0])
    strength = strength_above_zero(counts, 0.3)
    expected = solve(counts, strength, bias=True)
    monkeypatch.setattr(convex_program, "_newton_direction", lambda _, point: (1e6 * point.Y, 1.0))  # uphill
    slow = solve(counts, strength, bias=True, max_iterations=300)
    # First-order steps gain a constant factor each: the tolerance is reached, in more steps.
    assert relative_gap(slow) < GAP
    assert slow.iterations > expected.iterations
    assert slow.objective == pytest.approx(expected.objective, rel=GAP)


def test_a_failing_decomposition_is_taken_of_the_transpose(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = exponential_counts(5, 30)
    strength = strength_above_zero(counts, 0.1)
    expected = solve(counts, strength, bias=False)
    decompose, calls = np.linalg.svd, iter(range(10**6))

    def every_other_fails(matrix: Array) -> Any:
        if next(calls) % 2 == 0:
            raise np.linalg.LinAlgError("SVD did not converge")
        return decompose(matrix)

    monkeypatch.setattr(np.linalg, "svd", every_other_fails)
    # The same steps up to rounding.
    np.testing.assert_allclose(solve(counts, strength, bias=False).logits, expected.logits, atol=1e-10)


def test_probabilities_outside_the_dual_bound_nothing() -> None:
    instance = ConvexProblem(CrossEntropy(), np.ones(2), 10.0, False)
    every_sample_wrong = np.array([[-1.0, 1.0], [1.0, -1.0]])
    assert instance.lower_bound(every_sample_wrong, np.linalg.norm) == 0
    assert instance.lower_bound(-0.5 * every_sample_wrong, np.linalg.norm) == 0  # a probability above one
