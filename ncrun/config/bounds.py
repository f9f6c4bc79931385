"""The bounds of every number, key by key. Within them every prediction is finite, or none.

They are wider than any training needs, and narrow enough that derived numbers stay in the range of floats or are
checked. Shares (imbalance, random_labels, optimizer.momentum, ...) lie between 0 and 1; batch_size and classes depend
on the data set: the rules check these. docs/limits.md is written from this table.
"""

import math
from collections.abc import Mapping

from ncrun.checks import DECAYS, LAYERS, WIDTH, Bounds
from ncrun.config.schema import Settings, plain
from ncrun.config.typed import is_whole
from ncrun.errors import UserError
from ncrun.problem import Problem
from ncrun.trees import leaves

COUNT = Bounds(1, 10**12)
EPOCHS = Bounds(1, 10**9)
SPREAD = Bounds(1e-10, 1e10)
RATE = Bounds(1e-30, 1e30)
WHOLE: Mapping[str, Bounds] = {
    "counts": COUNT,
    "dataset.size": Bounds(1, 4096),
    "epochs": EPOCHS,
    "finish_iterations": Bounds(1, 10**6),
    "head.depth": LAYERS,
    "head.width": WIDTH,
    "jobs": Bounds(1, 1024, "auto, or "),
    "measure": Bounds(1, EPOCHS.most, "auto, every, log, or "),
    "model.depth": LAYERS,
    "model.width": WIDTH,
    "optimizer.history": Bounds(1, 1000),
    "optimizer.kicks": Bounds(0, 10**6),
    "restarts": Bounds(1, 1000),
    "schedule.step": EPOCHS,
    "seed": Bounds(0, 2**63 - 1),
    "snapshots": Bounds(2, 1000, "auto, false, or "),
    "stream_workers": Bounds(0, 1024, "auto, or "),
    "threads": Bounds(1, 1024, "auto, or "),
}
# model.width has two meanings: a number of neurons, or a factor on the stage widths of a convolutional network.
REAL: Mapping[str, Bounds] = {
    "class_weights": SPREAD,
    "decay.bias": DECAYS,
    "decay.feature": DECAYS,
    "decay.weight": DECAYS,
    "logit_adjustment": Bounds(0, 100),
    "model.feature_std": SPREAD,
    "model.weight_std": SPREAD,
    "model.width": Bounds(1e-3, 100),
    "optimizer.lr": RATE,
    "optimizer.tolerance": Bounds(1e-30, 1e30, "0, or "),
    "path": Bounds(1e-30, 1e30),
    "schedule.gamma": Bounds(1e-10, 1e10),
    "stream_cache": Bounds(1e-6, 1e6, "0, auto, or "),
}
# For all other numbers, such as those of a user's own model.
OTHER_WHOLE = Bounds(-(2**63), 2**63 - 1)
OTHER_REAL = Bounds(-1e100, 1e100)

# The most entries of a list, with one per class or of another kind. A record of more classes would be too large to be
# read back.
LONGEST: Mapping[str, int] = {"counts": 1500, "class_weights": 1500, "classes": 1500}
LONGEST_OTHER = 1000
MOST_ROWS = 10**6
# The most entries in the matrices of a prediction, which has two for each layer of the head.
MOST_PREDICTED = 5 * 10**7


def check_bounds(given: Settings) -> None:
    """Checks every number and list of a configuration. Raises UserError with the key, the value and its bounds."""
    for key, value in leaves(plain(given)):
        values = value if isinstance(value, list) else (value,)
        if len(values) > LONGEST.get(key, LONGEST_OTHER):
            raise UserError(f"{key}: has {len(values)} entries; at most {LONGEST.get(key, LONGEST_OTHER)}")
        for each in values:
            if isinstance(each, int) and not isinstance(each, bool):
                (WHOLE.get(key) or REAL.get(key) or OTHER_WHOLE).check(key, each)
            elif isinstance(each, float):
                (REAL.get(key) or WHOLE.get(key) or OTHER_REAL).check(key, each)
    _check_what_is_made_of_them(given)


def check_prediction(problem: Problem) -> None:
    """Raises UserError for so many classes, or layers, that a prediction would take more than seconds."""
    K, M = problem.num_outputs, problem.depth
    most = LONGEST["counts"]
    if most < K:
        raise UserError(f"counts: has {K} classes; at most {most}")
    if K * K * M > MOST_PREDICTED:
        raise UserError(f"head.depth={M}: with {K} classes at most {MOST_PREDICTED // K**2} layers")


def _check_what_is_made_of_them(given: Settings) -> None:
    """Checks decays along a path, seeds of restarts, and the last learning rate of a schedule."""
    weights = given.decay.weight if isinstance(given.decay.weight, list) else [given.decay.weight]
    decays = [("decay.weight", each) for each in weights] + [("decay.feature", given.decay.feature)]
    decays.append(("decay.bias", given.decay.bias))
    for factor in given.path or ():
        for key, decay in decays:
            if isinstance(decay, int | float):
                DECAYS.check(f"path={factor:g} makes {key}", factor * decay)
    WHOLE["seed"].check(f"restarts={given.restarts} makes the largest seed", given.seed + given.restarts - 1)
    assert given.epochs is not None
    measured = given.measure
    if measured == "auto" and given.batch_size != "full":
        measured = "every"
    rows = given.epochs // (1 if measured == "every" else measured) if measured == "every" or is_whole(measured) else 0
    if rows > MOST_ROWS:
        raise UserError(
            f"measure={given.measure}: measures {rows} times in epochs={given.epochs}; at most {MOST_ROWS},"
            " and measure=log takes about 200"
        )
    step, drops = given.schedule.step, given.schedule.drops or ()
    passed = len(drops) if step is None else (given.epochs - 1) // step
    rate = getattr(given.optimizer, "lr", None)
    if rate is not None and math.log10(rate) + passed * math.log10(given.schedule.gamma) > math.log10(RATE.most):
        raise UserError(
            f"schedule.gamma={given.schedule.gamma:g}: raises the learning rate above {RATE.most:g} by the end"
        )


def table() -> list[tuple[str, str]]:
    """Every key with its bounds in words; for docs/limits.md."""
    rows = [(key, bounds.words("whole numbers ")) for key, bounds in WHOLE.items()]
    rows += [(key, bounds.words("multiples " if key in WHOLE else "")) for key, bounds in REAL.items()]
    return sorted(rows)
