"""From a setting to its predicted geometry: which theorem applies, and how far its claim goes."""

from dataclasses import replace

from ncrun.problem import Problem
from ncrun.theory import cross_entropy, relu_features, relu_head, squared_loss
from ncrun.theory.geometry import Geometry


def predict(problem: Problem) -> Geometry:
    """The geometry that theory predicts for a setting; claim "none", with the reason as its note, where there is
    none."""
    geometry = _predict(problem)
    if geometry.is_lower_bound and not problem.free_features:
        note = (
            "the features are a linear image of the inputs: the optimum is a lower bound that this model cannot attain"
        )
        return replace(geometry, note=note)
    return geometry


def _predict(problem: Problem) -> Geometry:
    if any(decay == 0 for decay in (*problem.weight_decays, problem.feature_decay)):
        return Geometry(problem, "none", "", note="a decay is zero: the objective then has no minimiser to predict")
    exact = problem.decay_mode == "features"
    if problem.head == "relu":
        return relu_head.predict_relu_head(problem) if exact else relu_head.predict_relu_head_limit(problem)
    if problem.loss == "ce" and problem.feature_sign == "nonnegative":
        return relu_features.predict_relu_features(problem) if exact else relu_features.predict_limit(problem)
    if problem.loss == "ce":
        return cross_entropy.predict_cross_entropy(problem) if exact else cross_entropy.predict_limit(problem)
    return squared_loss.predict_squared_loss(problem) if exact else squared_loss.predict_limit(problem)
