"""Cross-entropy with one linear layer on free features, any class counts: a convex program, solved with a certificate.

Source: Hong & Ling 2023, arXiv 2309.09725, for the plain loss with or without a bias. The program is that of
convex_problem.py with the nuclear norm of X = Z diag(sqrt n), where column k of Z holds the logits of class k; g*(A) is
the largest singular value. Weights, smoothing, adjustment and a decayed bias only change the losses and the bias' part.

Method: the bias is minimised out, and A at p_k = softmax(z_k + b) is then the gradient of the loss at X. X is optimal
iff it is the soft-thresholding of the singular values of Y = X - step * A. Newton's method on this equation in Y (its
"normal map") settles the rank and converges in about ten steps: the loss is strictly convex up to shifts of the logits.
The linear systems are solved by conjugate gradients. A step that does not lower the objective is shortened, and in the
end replaced by a proximal gradient step.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ncrun.losses import CrossEntropy
from ncrun.theory.class_losses import cross_entropy
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.prediction import Array
from ncrun.theory.spectrum import full_svd

LARGEST_MOVE = 10.0  # per Newton step, in logits: exponentials leave their quadratic model within a few units
CG_TOLERANCE = 1e-2  # each Newton step gains this factor; a better one costs more than another step
SHORTENINGS = 6
MOST_STALLED = 10  # steps that neither lower the objective nor raise the bound: what is left is rounding
ROUNDING = 1e-14  # an objective counts as not raised if it rises by less than this, relatively


@dataclass(frozen=True)
class Solution:
    """logits: (K, K), column k those of class k without the bias; bias: (K,), of sum zero, all zero without a bias.

    objective is the value at this point. lower_bound is one that no point can undercut (up to rounding, 1e-15 of it).
    """

    logits: Array
    bias: Array
    objective: float
    lower_bound: float
    iterations: int

    @property
    def duality_gap(self) -> float:
        return self.objective - self.lower_bound


@dataclass(frozen=True)
class _Problem(ConvexProblem):
    """step: any positive number; the conditioning of the systems rests on it."""

    step: float = 1.0

    @property
    def cross_entropy(self) -> CrossEntropy:
        assert isinstance(self.loss, CrossEntropy)
        return self.loss

    def probabilities(self, errors: Array) -> Array:
        """(K, K), column k is p_k."""
        smoothing, K = self.cross_entropy.label_smoothing, len(errors)
        return np.asarray(errors + (1 - smoothing) * np.eye(K) + smoothing / K)


@dataclass(frozen=True)
class _Point:
    """Y = left diag(values) right_t and what follows from its soft-thresholding X.

    errors: (K, K), column k is p_k - q_k. residual: zero iff X is optimal.
    """

    Y: Array
    left: Array
    values: Array
    right_t: Array
    X: Array
    bias: Array
    errors: Array
    residual: Array
    objective: float


def solve(
    problem: ConvexProblem, tolerance: float = 1e-11, start: Array | None = None, max_iterations: int = 100
) -> Solution:
    """The optimum up to a duality gap of tolerance * objective, or what max_iterations reached of it.

    problem: one of cross-entropy. start: (K, K) logits to begin with, if they are better than a guess.
    """
    assert problem.strength > 0
    assert min(problem.counts) > 0
    # About the probability that a class gives away at the optimum.
    pulls = problem.strength * problem.root / problem.shares
    problem = _Problem(problem.loss, problem.counts, float(problem.strength), problem.bias, problem.bias_decay)
    pulls = pulls + problem.cross_entropy.label_smoothing
    curvature = float((np.minimum(pulls, 1) * problem.shares / problem.counts).mean())  # about that at the optimum
    problem = replace(problem, step=1 / curvature)
    point = _first_point(problem, _balanced_start(pulls))
    if start is not None:
        point = min(point, _first_point(problem, start), key=lambda candidate: candidate.objective)
    lower_bound, iterations = 0.0, 0
    gap, stalled = math.inf, 0
    while True:
        lower_bound = max(lower_bound, problem.lower_bound(point.errors, _largest_singular_value))
        before, gap = gap, point.objective - lower_bound
        stalled = 0 if gap < before - ROUNDING * point.objective else stalled + 1
        if gap <= tolerance * point.objective or iterations == max_iterations or stalled == MOST_STALLED:
            break
        following = _improve(problem, point)
        if following is None:
            break
        point, iterations = following, iterations + 1
    centred = point.bias - point.bias.mean()
    return Solution(point.X / problem.root, centred, point.objective, lower_bound, iterations)


def _largest_singular_value(A: Array) -> float:
    return float(np.linalg.norm(A, 2))


def _balanced_start(pulls: Array) -> Array:
    """(K, K): the logits of balanced classes, each class with the scale that its own count would give to all."""
    K = len(pulls)
    return np.asarray(np.log(np.maximum(K / pulls - K + 1, 1)) * (np.eye(K) - 1 / K))


def _first_point(problem: _Problem, logits: Array) -> _Point:
    """One proximal gradient step away from the given logits."""
    # The loss does not notice either shift, and both lower the nuclear norm.
    logits = logits - logits.mean(axis=0)
    if problem.bias:
        logits = logits - (logits @ problem.counts / problem.counts.sum())[:, None]
    favoured = np.log(problem.shares) - np.array(problem.cross_entropy.offsets or 0.0)
    _, errors, bias = _fit_bias(problem, logits, (favoured - favoured.mean()) * problem.bias)
    return _point(problem, logits * problem.root - problem.step * problem.slopes(errors), bias)


def _improve(problem: _Problem, point: _Point) -> _Point | None:
    """The next point: a Newton step, shortened as needed, else a proximal gradient step; None if neither gets lower."""
    direction, move = _newton_direction(problem, point)
    fraction = min(1.0, LARGEST_MOVE / max(move, 1e-300))
    acceptable = point.objective * (1 + ROUNDING)
    for _ in range(SHORTENINGS):
        trial = _point(problem, point.Y + fraction * direction, point.bias)
        if trial.objective <= acceptable:
            return trial
        fraction /= 3
    cautious = problem
    for _ in range(60):
        trial = _point(cautious, point.X - cautious.step * problem.slopes(point.errors), point.bias)
        if trial.objective <= acceptable:
            return _point(problem, trial.X + problem.step / cautious.step * (trial.Y - trial.X), trial.bias)
        cautious = replace(cautious, step=cautious.step / 3)
    return None


def _point(problem: _Problem, Y: Array, bias: Array) -> _Point:
    """bias: (K,), where to start the search for the best one."""
    left, values, right_t = full_svd(Y)
    kept = np.maximum(values - problem.step * problem.strength, 0)
    X = np.asarray((left * kept) @ right_t)
    loss, errors, bias = _fit_bias(problem, X / problem.root, bias)
    residual = problem.slopes(errors) + (Y - X) / problem.step
    return _Point(Y, left, values, right_t, X, bias, errors, residual, loss + problem.strength * float(kept.sum()))


def _fit_bias(problem: _Problem, logits: Array, bias: Array) -> tuple[float, Array, Array]:
    """The loss with the bias' penalty, its (K, K) errors p_k - q_k and the (K,) bias that minimises it; without a bias,
    the given one."""
    loss = problem.cross_entropy
    losses, errors = cross_entropy(loss, logits + bias[:, None])
    for _ in range(50 if problem.bias else 0):
        change = -_inverse_bias_curvature(problem, errors) @ problem.bias_slope(errors, bias)
        move = float(np.ptp(change))
        if not move > 1e-13:  # rounding of the logits
            break
        # Along a line the curvature grows at most like exp(move * t): this length lowers the loss in any case.
        bias = bias + change * (np.log1p(move) / move)
        losses, errors = cross_entropy(loss, logits + bias[:, None])
    return float(problem.shares @ losses) + problem.bias_penalty(bias), errors, bias


def _inverse_bias_curvature(problem: _Problem, errors: Array) -> Array:
    """(K, K): the inverse of sum_k w_k n_k/N (diag p_k - p_k p_k^T) + lam_b on vectors of sum zero."""
    K = len(errors)
    p = problem.probabilities(errors)
    mixed = (p * problem.shares) @ p.T
    np.fill_diagonal(mixed, 0)
    root = np.sqrt(np.maximum(mixed.sum(axis=1) + problem.bias_decay, 1e-300))
    constant = root / np.linalg.norm(root)
    # A Laplacian scaled to a unit diagonal: rare classes do not spoil its condition. Far from the optimum classes can
    # lose touch with each other; the 1e-14 keeps it invertible there.
    laplacian = (1 + 1e-14) * np.eye(K) - mixed / np.outer(root, root) + np.outer(constant, constant)
    inverse = np.linalg.inv(laplacian) / np.outer(root, root)
    if problem.bias_decay:
        # What was added for the constants is taken back: the result has the sum zero.
        lifted = inverse @ root**2
        inverse = inverse - np.outer(lifted, inverse.sum(axis=0)) / lifted.sum()
    return np.asarray(inverse)


def _newton_direction(problem: _Problem, point: _Point) -> tuple[Array, float]:
    """The change of Y to the zero of the linearised residual, and the largest change of a logit difference with it.

    In the singular bases the derivative of the soft-thresholding multiplies the symmetric and the antisymmetric part
    of a change of Y elementwise, by factors in [0, 1]; R below multiplies by their square roots. The equation
    step * R curvature R u + (1 - factors) u = -step * R residual is then symmetric, and R u is the change of X.
    """
    symmetric, antisymmetric = _thresholding_factors(point.values, problem.step * problem.strength)
    roots = np.sqrt(symmetric), np.sqrt(antisymmetric)
    curvature = _curvature(problem, point.errors)

    def to_change(u: Array) -> Array:
        return np.asarray(point.left @ _by_parts(*roots, u) @ point.right_t)

    def from_gradient(gradient: Array) -> Array:
        return _by_parts(*roots, point.left.T @ gradient @ point.right_t.T)

    def system(u: Array) -> Array:
        kept = problem.step * from_gradient(curvature(to_change(u))[0])
        return kept + _by_parts(1 - symmetric, 1 - antisymmetric, u)

    change = to_change(_conjugate_gradients(system, -problem.step * from_gradient(point.residual)))
    force, move = curvature(change)
    return change - problem.step * (point.residual + force), move


def _thresholding_factors(values: Array, threshold: float) -> tuple[Array, Array]:
    """(K, K) each: divided differences (f(y_i) -+ f(y_j)) / (y_i -+ y_j) of f(y) = max(y - threshold, 0)."""
    kept = np.maximum(values - threshold, 0)
    alive = kept > 0
    apart = alive[:, None] != alive
    between = np.abs(values[:, None] - values)
    one_sided = (kept[:, None] + kept) / np.where(apart, between, 1)
    symmetric = np.where(apart, one_sided, np.outer(alive, alive).astype(float))
    return symmetric, (kept[:, None] + kept) / np.maximum(values[:, None] + values, 1e-300)


def _by_parts(symmetric: Array, antisymmetric: Array, u: Array) -> Array:
    """The symmetric part of u times one symmetric matrix plus its antisymmetric part times another, elementwise."""
    return np.asarray((symmetric + antisymmetric) / 2 * u + (symmetric - antisymmetric) / 2 * u.T)


def _curvature(problem: _Problem, errors: Array) -> Callable[[Array], tuple[Array, float]]:
    """From a change of X to that of the loss' gradient, and the largest change of a difference between two logits."""
    p = problem.probabilities(errors)
    inverse = _inverse_bias_curvature(problem, errors) if problem.bias else None

    def change_of_p(scores: Array) -> Array:
        relative = scores - np.diag(scores)  # without this, p_kk near 1 would cost digits
        return np.asarray(p * (relative - (p * relative).sum(axis=0)))

    def apply(X: Array) -> tuple[Array, float]:
        scores = X / problem.root
        if inverse is not None:
            scores = scores - (inverse @ (change_of_p(scores) @ problem.shares))[:, None]
        return problem.slopes(change_of_p(scores)), float(np.ptp(scores, axis=0).max())

    return apply


def _conjugate_gradients(system: Callable[[Array], Array], target: Array) -> Array:
    """The u with system(u) = target, to CG_TOLERANCE. system: linear, symmetric, positive."""
    solution, rest = np.zeros_like(target), target
    search, square = rest, float((rest * rest).sum())
    enough = CG_TOLERANCE**2 * square
    for _ in range(400):
        if square <= enough:
            break
        image = system(search)
        steepness = float((search * image).sum())
        if steepness <= 1e-14 * float((search * search).sum()):  # logits so far out that the loss is linear to rounding
            break
        length = square / steepness
        solution, rest = solution + length * search, rest - length * image
        before, square = square, float((rest * rest).sum())
        search = rest + square / before * search
    return solution
