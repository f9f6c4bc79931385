"""Cross-entropy with one linear layer on free features, any class counts: a convex program, solved with a certificate.

Source: Hong & Ling 2023, arXiv 2309.09725, for the plain loss with or without a bias. The program is that of
convex_problem.py with the nuclear norm of X = Z diag(sqrt n), where column k of Z holds the logits of class k; g*(A) is
the largest singular value. Weights, smoothing, adjustment and a decayed bias only change the losses and the bias' part.

Classes of equal count and weight are exchangeable, so everything below is a matter of their kinds (exchangeable.py):
matrices are packed, (G+1, G), and a thousand classes of two kinds cost no more than two classes.

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
from ncrun.theory.class_losses import cross_entropy_of_kinds, dual_values_of_kinds
from ncrun.theory.convex_problem import ConvexProblem
from ncrun.theory.exchangeable import Entries, Kinds
from ncrun.theory.prediction import Array
from ncrun.theory.spectra import full_svd

LARGEST_MOVE = 10.0  # per Newton step, in logits: exponentials leave their quadratic model within a few units
CG_TOLERANCE = 1e-2  # each Newton step gains this factor; a better one costs more than another step
SHORTENINGS = 6
MANY_KINDS = 100  # of more, first those are solved for whose counts and weights are alike to about NEARLY
NEARLY, START_TOLERANCE = 0.1, 1e-6
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
class _Problem:
    """The problem of G kinds of classes. loss: with the offsets of the kinds, without its weights. shares, root: (G,),
    w_k n_k/N and sqrt n_k of one class. step: any positive number; the conditioning of the systems rests on it."""

    loss: CrossEntropy
    kinds: Kinds
    shares: Array
    root: Array
    strength: float
    bias: bool
    bias_decay: float
    step: float

    @classmethod
    def of(cls, problem: ConvexProblem) -> "_Problem":
        assert isinstance(problem.loss, CrossEntropy)
        kinds = Kinds.of(np.column_stack((problem.counts, problem.shares)))
        offsets = tuple(np.asarray(problem.loss.offsets)[kinds.members]) if problem.loss.offsets else ()
        loss = replace(problem.loss, weights=(), offsets=offsets)
        shares, root = problem.shares[kinds.members], problem.root[kinds.members]
        posed = cls(loss, kinds, shares, root, float(problem.strength), problem.bias, problem.bias_decay, 1.0)
        # About what they are at the optimum.
        curvatures = np.minimum(posed.pulls, 1) * shares / root**2
        return replace(posed, step=float(kinds.sizes.sum() / (kinds.sizes @ curvatures)))

    @property
    def pulls(self) -> Array:
        """(G,): about the probability that a class leaves to the others at the optimum."""
        return np.asarray(self.strength * self.root / self.shares + self.loss.label_smoothing)

    def losses(self, logits: Entries, bias: Array) -> tuple[Array, Entries]:
        return cross_entropy_of_kinds(self.loss, Entries(logits.off + bias[:, None], logits.own + bias), self.kinds)

    def logits(self, X: Array) -> Entries:
        found = self.kinds.unpacked(X)
        return Entries(found.off / self.root, found.own / self.root)

    def slopes(self, errors: Entries) -> Array:
        """A, packed: the derivative of the data term by X."""
        weights = self.shares / self.root
        return self.kinds.packed(Entries(errors.off * weights, errors.own * weights))

    def totals(self, errors: Entries) -> Array:
        """(G,): sum_k w_k n_k/N e_k, summed over the classes of each kind."""
        return np.asarray(self.kinds.sums(errors) @ (self.kinds.sizes * self.shares))

    def probabilities(self, errors: Entries) -> Entries:
        smoothed = self.loss.label_smoothing / len(self.kinds.of_class)
        return Entries(errors.off + smoothed, errors.own + smoothed + (1 - self.loss.label_smoothing))


@dataclass(frozen=True)
class _Point:
    """Y, whose block is left diag(values) right_t, and what follows from its soft-thresholding X.

    errors: of class k p_k - q_k. residual: zero iff X is optimal. Y, X, residual: packed.
    """

    Y: Array
    left: Array
    values: Array
    right_t: Array
    X: Array
    bias: Array
    errors: Entries
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
    posed = _Problem.of(problem)
    kinds = posed.kinds
    if start is None and len(kinds.sizes) > MANY_KINDS:
        start = _start_from_alike(problem)
    point = _first_point(posed, _balanced_start(posed))
    if start is not None:
        point = min(point, _first_point(posed, kinds.entries(start)), key=lambda candidate: candidate.objective)
    lower_bound, iterations = 0.0, 0
    gap, stalled = math.inf, 0
    while True:
        lower_bound = max(lower_bound, _lower_bound(posed, point.errors))
        before, gap = gap, point.objective - lower_bound
        stalled = 0 if gap < before - ROUNDING * point.objective else stalled + 1
        if gap <= tolerance * point.objective or iterations == max_iterations or stalled == MOST_STALLED:
            break
        following = _improve(posed, point)
        if following is None:
            break
        point, iterations = following, iterations + 1
    bias = point.bias[kinds.of_class]
    return Solution(kinds.matrix(posed.logits(point.X)), bias - bias.mean(), point.objective, lower_bound, iterations)


def _start_from_alike(problem: ConvexProblem) -> Array:
    """(K, K): the logits of the problem in which counts and weights that are nearly alike are the same, which has few
    kinds of classes and is solved at once: half of the steps are saved."""
    counts, weights = (np.exp(np.round(np.log(each) / NEARLY) * NEARLY) for each in (problem.counts, problem.weights))
    assert isinstance(problem.loss, CrossEntropy)
    loss = replace(problem.loss, weights=tuple(weights))
    return solve(replace(problem, loss=loss, counts=counts), START_TOLERANCE).logits


def _lower_bound(problem: _Problem, errors: Entries) -> float:
    """What no point can undercut, from the slopes at one: convex_problem.py."""
    kinds, each = problem.kinds, problem.kinds.sizes * problem.shares
    if problem.bias and not problem.bias_decay:
        # What rounding has left of a sum that has to be zero.
        left = problem.totals(errors) / kinds.sizes / each.sum()
        errors = Entries(errors.off - left[:, None], errors.own - left)
    A = problem.slopes(errors)
    apart = np.abs(A[-1]) / np.where(kinds.sizes > 1, kinds.rest, 1)
    largest = max(float(np.linalg.norm(A[:-1], 2)), float(apart.max()))
    # Smaller slopes along the same line are feasible: probabilities nearer to the labels.
    share = min(1.0, problem.strength / max(largest, 1e-300))
    feasible = Entries(errors.off * share, errors.own * share)
    bound = float(each @ dual_values_of_kinds(problem.loss, feasible, kinds))
    if problem.bias and problem.bias_decay:
        bound -= float(problem.totals(feasible) ** 2 @ (1 / kinds.sizes)) / (2 * problem.bias_decay)
    return max(bound, 0.0)


def _balanced_start(problem: _Problem) -> Entries:
    """The logits of balanced classes, each class with the scale that its own count would give to all."""
    K = len(problem.kinds.of_class)
    gains = np.log(np.maximum(K / problem.pulls - K + 1, 1))
    return Entries(np.tile(-gains / K, (len(gains), 1)), gains * (1 - 1 / K))


def _first_point(problem: _Problem, logits: Entries) -> _Point:
    """One proximal gradient step away from the given logits."""
    kinds = problem.kinds
    K, each = len(kinds.of_class), kinds.sizes * problem.root**2
    # The loss does not notice either shift, and both lower the nuclear norm.
    logits = _shifted(logits, -kinds.sums(logits).sum(axis=0) / K, axis=0)
    if problem.bias:
        logits = _shifted(logits, -kinds.sums(logits) @ each / kinds.sizes / each.sum(), axis=1)
    favoured = np.log(problem.shares) - np.array(problem.loss.offsets or 0.0)
    _, errors, bias = _fit_bias(problem, logits, (favoured - favoured @ kinds.sizes / K) * problem.bias)
    X = kinds.packed(Entries(logits.off * problem.root, logits.own * problem.root))
    return _point(problem, X - problem.step * problem.slopes(errors), bias)


def _shifted(logits: Entries, by: Array, axis: int) -> Entries:
    """by: (G,), what is added to all entries of a column (axis 0) or of a row (axis 1)."""
    return Entries(logits.off + (by if axis == 0 else by[:, None]), logits.own + by)


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
    """bias: (G,), where to start the search for the best one."""
    rest, threshold = problem.kinds.rest, problem.step * problem.strength
    left, values, right_t = full_svd(Y[:-1])
    kept = np.maximum(values - threshold, 0)
    apart = np.sign(Y[-1]) * np.maximum(np.abs(Y[-1]) - threshold * rest, 0)
    X = np.vstack(((left * kept) @ right_t, apart))
    loss, errors, bias = _fit_bias(problem, problem.logits(X), bias)
    residual = problem.slopes(errors) + (Y - X) / problem.step
    nuclear = float(kept.sum() + rest @ np.abs(apart))
    return _Point(Y, left, values, right_t, X, bias, errors, residual, loss + problem.strength * nuclear)


def _fit_bias(problem: _Problem, logits: Entries, bias: Array) -> tuple[float, Entries, Array]:
    """The loss with the bias' penalty, its errors p_k - q_k and the (G,) bias that minimises it; without a bias, the
    given one."""
    sizes, decay = problem.kinds.sizes, problem.bias_decay
    losses, errors = problem.losses(logits, bias)
    for _ in range(50 if problem.bias else 0):
        slope = problem.totals(errors) + decay * sizes * bias
        change = -_inverse_bias_curvature(problem, errors) @ slope
        move = float(np.ptp(change))
        if not move > 1e-13:  # rounding of the logits
            break
        # Along a line the curvature grows at most like exp(move * t): this length lowers the loss in any case.
        bias = bias + change * (np.log1p(move) / move)
        losses, errors = problem.losses(logits, bias)
    return float((sizes * problem.shares) @ losses + decay / 2 * sizes @ bias**2), errors, bias


def _inverse_bias_curvature(problem: _Problem, errors: Entries) -> Array:
    """(G, G): the inverse of sum_k w_k n_k/N (diag p_k - p_k p_k^T) + lam_b, from sums over the kinds' classes whose
    own sum is zero to the kinds' biases, whose sum over all classes is zero."""
    sizes = problem.kinds.sizes
    p = problem.kinds.sums(problem.probabilities(errors))
    mixed = (p * (sizes * problem.shares)) @ p.T
    np.fill_diagonal(mixed, 0)
    root = np.sqrt(np.maximum(mixed.sum(axis=1) + problem.bias_decay * sizes, 1e-300))
    constant = root / np.linalg.norm(root)
    # A Laplacian scaled to a unit diagonal: rare classes do not spoil its condition. Far from the optimum classes can
    # lose touch with each other; the 1e-14 keeps it invertible there.
    laplacian = (1 + 1e-14) * np.eye(len(root)) - mixed / np.outer(root, root) + np.outer(constant, constant)
    inverse = np.linalg.inv(laplacian) / np.outer(root, root)
    if problem.bias_decay:
        # What was added for the constants is taken back: the result has the sum zero.
        lifted = inverse @ root**2
        inverse = inverse - np.outer(lifted, sizes @ inverse) / (sizes @ lifted)
    return np.asarray(inverse)


def _newton_direction(problem: _Problem, point: _Point) -> tuple[Array, float]:
    """The change of Y to the zero of the linearised residual, and the largest change of a logit difference with it.

    In the singular bases the derivative of the soft-thresholding multiplies the symmetric and the antisymmetric part
    of a change of Y's block elementwise, by factors in [0, 1], and the row below it by 0 or 1; R below multiplies by
    their square roots. The equation  step * R curvature R u + (1 - factors) u = -step * R residual  is then symmetric,
    and R u is the change of X.
    """
    threshold = problem.step * problem.strength
    symmetric, antisymmetric = _thresholding_factors(point.values, threshold)
    alive = (np.abs(point.Y[-1]) > threshold * problem.kinds.rest).astype(float)
    roots = np.sqrt(symmetric), np.sqrt(antisymmetric)
    curvature = _curvature(problem, point.errors)

    def to_change(u: Array) -> Array:
        return np.vstack((point.left @ _by_parts(*roots, u[:-1]) @ point.right_t, alive * u[-1]))

    def from_gradient(gradient: Array) -> Array:
        block = _by_parts(*roots, point.left.T @ gradient[:-1] @ point.right_t.T)
        return np.vstack((block, alive * gradient[-1]))

    def system(u: Array) -> Array:
        kept = problem.step * from_gradient(curvature(to_change(u))[0])
        kept[:-1] += _by_parts(1 - symmetric, 1 - antisymmetric, u[:-1])
        kept[-1] += (1 - alive) * u[-1]
        return kept

    change = to_change(_conjugate_gradients(system, -problem.step * from_gradient(point.residual)))
    force, move = curvature(change)
    return change - problem.step * (point.residual + force), move


def _thresholding_factors(values: Array, threshold: float) -> tuple[Array, Array]:
    """(G, G) each: divided differences (f(y_i) -+ f(y_j)) / (y_i -+ y_j) of f(y) = max(y - threshold, 0)."""
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


def _curvature(problem: _Problem, errors: Entries) -> Callable[[Array], tuple[Array, float]]:
    """From a change of X to that of the loss' gradient, and the largest change of a difference between two logits."""
    kinds, p = problem.kinds, problem.probabilities(errors)
    inverse = _inverse_bias_curvature(problem, errors) if problem.bias else None
    there_are = kinds.others > 0

    def change_of_p(scores: Entries) -> Entries:
        relative = scores.off - scores.own  # without this, p_kk near 1 would cost digits
        mean = (kinds.others * p.off * relative).sum(axis=0)
        return Entries(p.off * (relative - mean), -p.own * mean)

    def apply(X: Array) -> tuple[Array, float]:
        scores = problem.logits(X)
        if inverse is not None:
            scores = _shifted(scores, -inverse @ problem.totals(change_of_p(scores)), axis=1)
        relative = np.where(there_are, scores.off - scores.own, 0)
        move = np.maximum(relative.max(axis=0), 0) - np.minimum(relative.min(axis=0), 0)
        return problem.slopes(change_of_p(scores)), float(move.max())

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
