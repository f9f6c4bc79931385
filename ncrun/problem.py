"""The problem that a run poses to theory."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ncrun.targets import Targets


@dataclass(frozen=True)
class Problem:
    """The problem that a network with a deep head poses to theory.

    L = data term + sum_m lam_W_m/2 ||W_m||^2 + lam_H/2 ||H||^2 + lam_b/2 ||b||^2, the data term being that of `loss`
    over N samples.

    loss: a key of ncrun.losses.LOSSES, such as "mse" or "ce"; theory answers "none" for a loss that it does not know.
    counts: samples per class, (K,); fractions are allowed (the balanced baseline has N/K in every class). () for a
    problem with targets, which has no classes: functions about classes fail there.
    widths: the features' dimension d, then the head's M-1 hidden widths.
    weight_decays: lam_W_1 .. lam_W_M, where W_1 reads the features.
    feature_decay: lam_H; None when decay_mode is "parameters".
    decay_mode: "features" (the objective above) or "parameters" (plain weight decay on all parameters).
    feature_sign: "free" (after a linear layer or BatchNorm) or "nonnegative" (after a ReLU).
    head: "linear" (W_M..W_1 H) or "relu" (a ReLU between its layers: W_L relu(W_{L-1} .. relu(W_1 H)), none on H).
    free_features: False if the backbone cannot place its features freely, so that the optimum is only a bound.
    bias_decay: lam_b; 0 without that term, and with decay_mode "parameters", where the bias decays like all parameters.
    label_smoothing, class_weights, logit_adjustment: of the cross-entropy, see ncrun.losses.CrossEntropy; () if all
    weights are 1.
    targets: the moments of regression targets y (vectors of numbers) instead of classes; Y of the squared loss holds
    them.
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
    bias_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    logit_adjustment: float = 0.0
    targets: Targets | None = None

    @property
    def depth(self) -> int:
        """M (L in a ReLU head), the number of weight matrices in the head."""
        return len(self.weight_decays)

    @property
    def num_classes(self) -> int:
        """K; 0 for a problem with targets."""
        return len(self.counts)

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the head: K logits, or q numbers."""
        return len(self.counts) if self.targets is None else self.targets.num_outputs

    @property
    def num_samples(self) -> float:
        """N."""
        return sum(self.counts) if self.targets is None else self.targets.num_samples

    @property
    def is_balanced(self) -> bool:
        """Whether all classes have equally many samples."""
        return min(self.counts) == max(self.counts)

    @property
    def centres_means(self) -> bool:
        """Whether the overall mean is subtracted from class means before comparison: with a bias that is not decayed
        and features of free sign, where the optimum has this mean at zero. After a ReLU, or with a decayed bias, it has
        not, so the means are not centred."""
        return self.bias and not self.bias_decay and self.feature_sign != "nonnegative"

    @property
    def has_plain_loss(self) -> bool:
        """Whether no option of the loss is set."""
        return not (self.label_smoothing or self.class_weights or self.logit_adjustment)

    def scaled(self, factor: float) -> "Problem":
        """The same problem with all decays times a factor."""
        feature = None if self.feature_decay is None else self.feature_decay * factor
        weights = tuple(decay * factor for decay in self.weight_decays)
        return replace(self, weight_decays=weights, feature_decay=feature, bias_decay=self.bias_decay * factor)

    def balanced(self) -> "Problem":
        """The same problem with equal classes: counts N/K and weights 1 (an adjustment then adds the same to all
        logits). It is the baseline for every prediction."""
        return replace(
            self,
            counts=(sum(self.counts) / self.num_classes,) * self.num_classes,
            class_weights=(),
            logit_adjustment=0.0,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, from which `from_json` makes exactly this problem again. An entry that was
        added later is missing at the value that earlier problems had."""
        plain = {key: value for key, value in asdict(self).items() if key not in ADDED or value != ADDED[key]}
        if self.targets is not None:
            plain["targets"] = self.targets.as_json()
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    @classmethod
    def from_json(cls, content: object) -> "Problem":
        """Raises ValueError, which names the entry, for invalid content."""
        if not isinstance(content, dict):
            raise ValueError(f"a problem: expected entries by their names, found {_short(content)}")
        known = [field.name for field in fields(cls)]
        content = {**ADDED, **content}
        for key in known:
            if key not in content:
                raise ValueError(f"{key}: is missing")
        for key in content:
            if key not in known:
                raise ValueError(f"{key}: a problem has no such entry")
        targets = _targets(content)
        counts = range(0 if targets is not None else _length(content, "counts"))
        decays = tuple(_number(content, "weight_decays", m) for m in range(_length(content, "weight_decays")))
        return cls(
            loss=_word(content, "loss"),
            counts=tuple(_number(content, "counts", k, above=True) for k in counts),
            widths=tuple(_width(content, m) for m in range(_length(content, "widths", len(decays)))),
            bias=_flag(content, "bias"),
            weight_decays=decays,
            feature_decay=None if content["feature_decay"] is None else _number(content, "feature_decay"),
            decay_mode=_word(content, "decay_mode"),
            feature_sign=_word(content, "feature_sign"),
            head=_word(content, "head"),
            free_features=_flag(content, "free_features"),
            bias_decay=_number(content, "bias_decay"),
            label_smoothing=_number(content, "label_smoothing"),
            class_weights=_class_weights(content),
            logit_adjustment=_number(content, "logit_adjustment"),
            targets=targets,
        )


# Entries that earlier problems did not have, and their values there.
ADDED: dict[str, Any] = {
    "bias_decay": 0.0,
    "label_smoothing": 0.0,
    "class_weights": (),
    "logit_adjustment": 0.0,
    "targets": None,
}


def _length(content: dict[str, Any], key: str, expected: int | None = None, each: str = "layer") -> int:
    value = content[key]
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{key}: expected a list of numbers, found {_short(value)}")
    if expected is not None and len(value) != expected:
        raise ValueError(f"{key}: expected {expected} of them, one for each {each}, found {len(value)}")
    return len(value)


def _number(content: dict[str, Any], key: str, at: int | None = None, above: bool = False) -> float:
    """A finite number of at least zero; with `above`, above zero."""
    value = content[key] if at is None else content[key][at]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"{key}: expected a number, found {_short(value)}")
    if not 0 <= value < 1e308 or (above and value == 0):
        raise ValueError(f"{key}: must be finite and {'positive' if above else 'not negative'}, found {_short(value)}")
    return float(value)


def _class_weights(content: dict[str, Any]) -> tuple[float, ...]:
    if isinstance(content["class_weights"], list | tuple) and not content["class_weights"]:
        return ()
    number = _length(content, "class_weights", len(content["counts"]), "class")
    return tuple(_number(content, "class_weights", k, above=True) for k in range(number))


def _targets(content: dict[str, Any]) -> Targets | None:
    """An empty list with targets."""
    if content["targets"] is None:
        return None
    try:
        found = Targets.from_json(content["targets"])
    except ValueError as error:
        raise ValueError(f"targets: {error}") from None
    if not isinstance(content["counts"], list | tuple) or len(content["counts"]):
        raise ValueError(f"counts: must be an empty list if there are targets, found {_short(content['counts'])}")
    return found


def _width(content: dict[str, Any], at: int) -> int:
    value = content["widths"][at]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"widths: expected whole numbers from 1 on, found {_short(value)}")
    return value


def _word(content: dict[str, Any], key: str) -> str:
    value = content[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key}: expected a word, found {_short(value)}")
    return value


def _flag(content: dict[str, Any], key: str) -> bool:
    value = content[key]
    if not isinstance(value, bool):
        raise ValueError(f"{key}: expected true or false, found {_short(value)}")
    return value


def _short(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 40 else f"{words[:37]}..."
