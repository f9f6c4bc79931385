"""The columns about training itself: they are not computed from features."""

from ncrun.metrics.metric import Metric

CLOCK = (
    "number of epochs and optimiser steps so far, learning rate, wall time in seconds; epoch 0 is the initialisation"
)

CLOCKS = (
    Metric("epoch", "epoch", "epoch", CLOCK),
    Metric("step", "optimiser steps", "steps", CLOCK),
    Metric("lr", "learning rate", "learning rate", CLOCK),
    Metric("seconds", "seconds", "seconds", CLOCK),
)

FREE_FEATURES = (
    Metric(
        "stationarity",
        "expected further decrease of the loss",
        "stationarity",
        "free features: half the squared norm of the gradient, in units in which every decay is 1; about how much the"
        " loss can still decrease nearby",
    ),
    Metric(
        "factor",
        "factor on all decays",
        "factor on decays",
        "runs with `path`: the factor on all decays of this row",
    ),
)
