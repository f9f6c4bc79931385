"""From a setting to its predicted geometry: which theorem applies, and how far its claim goes."""

from dataclasses import replace

from ncrun.theory import cross_entropy, relu_features, relu_head, squared_loss
from ncrun.theory.geometry import Geometry
from ncrun.theory.setting import Setting


def predict(setting: Setting) -> Geometry:
    """The geometry that theory predicts for a setting; claim "none", with the reason as its note, where there is
    none."""
    geometry = _predict(setting)
    if geometry.is_lower_bound and not setting.free_features:
        note = (
            "the features are a linear image of the inputs: the optimum is a lower bound that this model cannot attain"
        )
        return replace(geometry, note=note)
    return geometry


def _predict(setting: Setting) -> Geometry:
    if any(decay == 0 for decay in (*setting.weight_decays, setting.feature_decay)):
        return Geometry(setting, "none", "", note="a decay is zero: the objective then has no minimiser to predict")
    exact = setting.decay_mode == "features"
    if setting.head == "relu":
        return relu_head.predict_relu_head(setting) if exact else relu_head.predict_relu_head_limit(setting)
    if setting.loss == "ce" and setting.feature_sign == "nonnegative":
        return relu_features.predict_relu_features(setting) if exact else relu_features.predict_limit(setting)
    if setting.loss == "ce":
        return cross_entropy.predict_cross_entropy(setting) if exact else cross_entropy.predict_limit(setting)
    return squared_loss.predict_squared_loss(setting) if exact else squared_loss.predict_limit(setting)
