"""A problem given by arguments in Python, checked; each mistake is reported in one line."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ncrun.checks import LAYERS, WIDTH, Bounds, choice
from ncrun.errors import UserError
from ncrun.losses import LOSSES, Options
from ncrun.problem import Problem
from ncrun.targets import LARGEST_TARGET, MOST_OUTPUTS, Targets

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# The features' dimension by default: that of ncrun's free features, or K if there are more classes.
WIDE = 64


def stated(
    counts: "ArrayLike | None",
    loss: str,
    depth: int,
    bias: bool,
    feature_sign: str,
    decay_weight: float | Sequence[float] | None,
    decay_feature: float | None,
    widths: int | Sequence[int] | None = None,
    head: str = "linear",
    options: Options | None = None,
    targets: "ArrayLike | None" = None,
    decay_bias: float = 0.0,
) -> Problem:
    """The problem of a head of `depth` layers on features of `counts` samples, or of samples with `targets`. The
    arguments are those of `ncrun.predict`. options: of the loss; None for none.

    Raises UserError that names the argument and what it may be.
    """
    known = LOSSES[loss]  # raises UserError with the choices
    choice("feature_sign", feature_sign, ("free", "nonnegative"))
    choice("head", head, ("linear", "relu"))
    if not isinstance(bias, bool | np.bool_):
        raise UserError(f"bias={bias!r}: must be True or False")
    moments = None if targets is None else _moments(counts, targets)
    if moments is not None and not known.takes_targets:
        raise UserError(f"loss={loss}: needs classes, not targets; use loss=mse")
    sizes = _counts(counts) if moments is None else ()
    decays = _weight_decays(decay_weight, decay_feature, _whole("depth", depth, LAYERS))
    problem = Problem(
        loss=loss,
        counts=sizes,
        widths=_widths(widths, depth, len(sizes) if moments is None else moments.num_outputs),
        bias=bool(bias),
        weight_decays=decays or (1.0,) * depth,  # the target up to scale does not depend on it
        feature_decay=None if decay_feature is None else float(decay_feature),
        decay_mode="parameters" if decay_feature is None else "features",
        feature_sign=feature_sign,
        head=head,
        targets=moments,
        bias_decay=_bias_decay(decay_bias, bool(bias), decay_feature),
    )
    return (options or Options()).posed(problem, known)


def _weight_decays(
    weight: float | Sequence[float] | None, feature: float | None, depth: int
) -> tuple[float, ...] | None:
    """One weight decay for each layer; None if none is given. Raises UserError."""
    if feature is not None and weight is None:
        raise UserError(f"decay_feature={_decay('decay_feature', feature):g}: needs decay_weight")
    if weight is None:
        return None
    given = [weight] * depth if np.ndim(weight) == 0 else _listed("decay_weight", weight, "layer")
    numbers = tuple(_decay("decay_weight", each) for each in given)
    if len(numbers) != depth:
        raise UserError(
            f"decay_weight: expected a number, or {depth} of them, one for each layer; found {len(numbers)}"
        )
    if feature is None and len(set(numbers)) > 1:
        raise UserError(
            "decay_weight: differs between layers; without decay_feature (plain weight decay) it must be one number"
        )
    if feature is not None:
        _decay("decay_feature", feature)
    return numbers


def _bias_decay(value: float, bias: bool, feature: float | None) -> float:
    number = _decay("decay_bias", value)
    if number and not bias:
        raise UserError(f"decay_bias={number:g}: there is no bias to decay")
    if number and feature is None:
        raise UserError(f"decay_bias={number:g}: needs decay_feature; plain weight decay applies to the bias, too")
    return number


def _decay(name: str, value: Any) -> float:
    if isinstance(value, str | bool) or not np.isreal(value):
        raise UserError(f"{name}={value!r}: must be a number")
    number = float(value)
    if not (np.isfinite(number) and number >= 0):
        raise UserError(f"{name}={number:g}: must be finite and not negative")
    return number


def _moments(counts: "ArrayLike | None", targets: "ArrayLike") -> Targets:
    """The moments of targets (N,) or (N, q). Raises UserError."""
    if counts is not None:
        raise UserError("targets: replace counts; give only one of them")
    return Targets.of(target_numbers("targets", targets))


def target_numbers(name: str, values: "ArrayLike") -> NDArray[np.float64]:
    """(N, q) of targets (N,) or (N, q). Raises UserError."""
    try:
        array = np.asarray(values)
    except ValueError:  # a ragged list
        array = np.empty(())
    if array.ndim not in (1, 2) or array.dtype.kind not in "fiub" or not array.size:
        raise UserError(f"{name}: must be an array of numbers, (N,) or (N, q), a row for each sample")
    array = array.reshape(len(array), -1).astype(float)
    if array.shape[1] > MOST_OUTPUTS:
        raise UserError(f"{name}: have {array.shape[1]} numbers for each sample; at most {MOST_OUTPUTS}")
    sound = (np.abs(array) <= LARGEST_TARGET).all(axis=1)  # comparisons with NaN are false
    if not sound.all():
        raise UserError(f"{name}: row {int(np.argmin(sound))} holds a number that is not finite, or too large")
    return array


def _counts(counts: "ArrayLike | None") -> tuple[float, ...]:
    if counts is None:
        raise UserError("counts: give the samples of each class, such as counts=[100, 50, 10]; or give targets=")
    numbers = _listed("counts", counts, "class")
    if len(numbers) < 2:
        raise UserError("counts: give the samples of at least two classes, such as counts=[100, 50, 10]")
    for k, number in enumerate(numbers):
        if not (np.isfinite(number) and number > 0):
            raise UserError(f"counts: class {k} must have a finite number of samples above 0, not {number:g}")
    return tuple(numbers)


def _widths(widths: Any, depth: int, num_classes: int) -> tuple[int, ...]:
    if widths is None:
        return (max(WIDE, num_classes),) * depth
    given = [widths] * depth if np.ndim(widths) == 0 else list(widths)
    numbers = tuple(_whole("widths", width, WIDTH) for width in given)
    if len(numbers) != depth:
        raise UserError(
            f"widths: expected a number, or {depth} of them (the features' dimension, then the head's hidden widths);"
            f" found {len(numbers)}"
        )
    return numbers


def _whole(name: str, value: Any, bounds: Bounds) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UserError(f"{name}={value!r}: must be a whole number")
    bounds.check(name, int(value))
    return int(value)


def _listed(name: str, values: Any, each: str) -> list[float]:
    """The numbers of anything that converts to a one-dimensional array."""
    try:
        array = np.asarray(values)
    except ValueError:  # a ragged list
        array = np.empty(())
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise UserError(f"{name}={values!r}: must be a list of numbers, one for each {each}")
    return [float(value) for value in array]
