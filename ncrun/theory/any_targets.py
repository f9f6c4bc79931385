"""The global optimum of the squared loss on any targets with a linear head of M layers: the spectral formula again.

Source: for M = 1, Andriopoulos et al. 2024 (The Prevalence of Neural Collapse in Neural Multivariate Regression); for
deeper heads and bottlenecks the proof of ncrun.theory.squared_loss, which only uses the singular values of the label
matrix (docs/proofs.md, section 1).

Let t be the singular values of the targets Y, (q, N), minus their mean if there is a bias. Each is shrunk separately: z
    = argmin (z - t)^2 / (2N) + (M+1)/2 * Lambda^(1/(M+1)) z^(2/(M+1)), Lambda = lam_H * prod_m lam_W_m,
and the outputs are W H = U diag(z) V^T where Y = U diag(t) V^T. Only the min(q, all widths) largest survive.
"""

from dataclasses import replace

import numpy as np

from ncrun.problem import Problem
from ncrun.theory.directions import Directions
from ncrun.theory.prediction import Array, Prediction
from ncrun.theory.products import mean_decay
from ncrun.theory.spectrum import balanced_powers, shared_penalty, ties
from ncrun.theory.squared_loss import (
    existence_border,
    global_border,
    kept_fraction,
    limit_powers,
    shrinkage_strength,
)
from ncrun.theory.theorem import FREE, NONNEGATIVE, POSED_ON_TARGETS, Theorem, kind

SOURCE = "the spectral form of Dang et al. 2023 on any targets; one layer: Andriopoulos et al. 2024"
LIMIT_SOURCE = f"limit of vanishing decay of {SOURCE}, carried over to plain weight decay"


def target_spectrum(problem: Problem) -> tuple[Array, Array]:
    """Axes (q, r) and singular values (r,), the largest first, of the targets, centred if there is a bias. Those that
    are rounding relative to the largest are dropped."""
    assert problem.targets is not None
    variances, axes = np.linalg.eigh(problem.targets.moment(problem.bias))
    variances, axes = variances[::-1], axes[:, ::-1]
    there = variances > len(variances) * np.finfo(float).eps * max(variances[0], 0.0)
    return axes[:, there], np.sqrt(problem.num_samples * variances[there])


def optimum(problem: Problem) -> Prediction:
    """The optimum of the objective with decays on a linear head and the features."""
    axes, values = target_spectrum(problem)
    N, M = problem.num_samples, problem.depth
    rank = min(problem.num_outputs, *problem.widths)
    inside = np.arange(len(values)) < rank
    kappa = shrinkage_strength(values, N, M, mean_decay(problem))
    kept = np.where(inside, kept_fraction(kappa, M), 0.0)
    z = kept * values
    objective = ((z - values) ** 2).sum() / (2 * N) + (M + 1) / 2 * shared_penalty(problem, z).sum()
    found = Prediction(problem, "proven", SOURCE, objective=float(objective))
    if ties(values, rank) and kept[rank - 1] > 0:
        return replace(
            found,
            note="several directions are equally strong, and it is not determined which of them a narrow layer keeps",
        )
    collapse = np.where(inside, global_border(M) / kappa, 0.0)
    weights, features = balanced_powers(problem, z)
    directions = Directions(
        axes,
        values,
        kept,
        tuple(weights),
        tuple(features),
        decay_to_collapse=collapse,
        decay_to_vanish=collapse * (existence_border(M) / global_border(M)) if M > 1 else None,
    )
    return replace(found, directions=directions, bias=_bias(problem))


def limit(problem: Problem) -> Prediction:
    """The limit at vanishing decay, up to scale, with all directions kept: W W^T ~ Sigma^(M/(M+1)), Sigma the targets'
    covariance."""
    axes, values = target_spectrum(problem)
    rank = min(problem.num_outputs, *problem.widths)
    inside = np.arange(len(values)) < rank
    directions = None
    if len(values) and not ties(values, rank):
        weights, features = limit_powers(np.where(inside, values / values[0], 0.0), problem.depth)
        never = np.where(inside, np.inf, 0.0)
        directions = Directions(axes, values, inside.astype(float), tuple(weights), tuple(features), never, None)
    note = "plain weight decay has no exact theorem: the target is the limit at vanishing decay, up to scale"
    return Prediction(problem, "transferred", LIMIT_SOURCE, directions=directions, scale_free=True, note=note)


def _bound(problem: Problem) -> Prediction:
    """Features after a ReLU: the optimum of free features, as a bound."""
    free = optimum(replace(problem, feature_sign="free"))
    note = "targets on features after a ReLU: no theorem; the objective is the optimum of free features, a lower bound"
    return Prediction(problem, "none", SOURCE, objective=free.objective, note=note)


def _bias(problem: Problem) -> Array:
    assert problem.targets is not None
    return np.array(problem.targets.mean) if problem.bias else np.zeros(problem.num_outputs)


THEOREMS = (
    Theorem("targets", kind("mse", "linear", "features", FREE), optimum, posed=POSED_ON_TARGETS),
    Theorem(
        "targets-bound",
        kind("mse", "linear", "features", NONNEGATIVE),
        _bound,
        bound_only=True,
        posed=POSED_ON_TARGETS,
    ),
    Theorem("targets-limit", kind("mse", "linear", "parameters", FREE), limit, posed=POSED_ON_TARGETS),
)
