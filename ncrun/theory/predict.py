"""From a setting to its predicted geometry: which theorem applies, and how far its claim goes."""

from ncrun.theory.geometry import Geometry
from ncrun.theory.setting import Setting
from ncrun.theory.squared_loss import predict_limit, predict_squared_loss


def predict(setting: Setting) -> Geometry:
    """The geometry that theory predicts for a setting; claim "none", with the reason as its note, where there is
    none."""
    if any(decay == 0 for decay in (*setting.weight_decays, setting.feature_decay)):
        return Geometry(setting, "none", "", note="a decay is zero: the objective then has no minimiser to predict")
    if setting.loss == "ce":
        return Geometry(setting, "none", "", note="no prediction for cross-entropy yet: only target-free metrics")
    if setting.decay_mode == "parameters":
        if setting.feature_sign == "nonnegative" and setting.bias:
            return Geometry(setting, "none", "", note="features after a ReLU with a bias: no theorem")
        return predict_limit(setting)
    return predict_squared_loss(setting)
