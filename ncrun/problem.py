"""What a theorem must know about a run."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Problem:
    """The problem that a network with a deep head poses to theory.

    L = data term + sum_m lam_W_m/2 ||W_m||^2 + lam_H/2 ||H||^2, with the data term 1/(2N) ||logits - Y||^2 ("mse")
    or the mean cross-entropy ("ce").

    counts: samples per class, (K,); fractions are allowed (the balanced baseline has N/K in every class).
    widths: the features' dimension d, then the head's M-1 hidden widths.
    weight_decays: lam_W_1 .. lam_W_M, W_1 being the layer that reads the features.
    feature_decay: lam_H; None when decay_mode is "parameters".
    decay_mode: "features" (the objective above) or "parameters" (plain weight decay on all parameters).
    feature_sign: "free" (after a linear layer or BatchNorm) or "nonnegative" (after a ReLU).
    head: "linear" (W_M..W_1 H) or "relu" (a ReLU between its layers: W_L relu(W_{L-1} .. relu(W_1 H)), none on H).
    free_features: False where the backbone cannot place its features at will, so that the optimum is only a bound.
    """

    loss: str
    counts: tuple[float, ...]
    widths: tuple[int, ...]
    bias: bool
    weight_decays: tuple[float, ...]
    feature_decay: float | None
    decay_mode: str = "features"
    feature_sign: str = "free"
    head: str = "linear"
    free_features: bool = True

    @property
    def depth(self) -> int:
        """M (L in a ReLU head), the number of weight matrices in the head."""
        return len(self.weight_decays)

    @property
    def num_classes(self) -> int:
        return len(self.counts)

    @property
    def is_balanced(self) -> bool:
        return min(self.counts) == max(self.counts)

    def scaled(self, factor: float) -> "Problem":
        """The same setting with all decays times a factor."""
        feature = None if self.feature_decay is None else self.feature_decay * factor
        return replace(self, weight_decays=tuple(d * factor for d in self.weight_decays), feature_decay=feature)

    def balanced(self) -> "Problem":
        """The same setting with all counts N/K: the baseline that every prediction is compared with."""
        return replace(self, counts=(sum(self.counts) / self.num_classes,) * self.num_classes)
