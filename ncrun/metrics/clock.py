"""The columns that training writes by itself: no measurement of a moment could find them."""

from ncrun.metrics.metric import Metric

CLOCK = "epochs and optimiser steps done, learning rate, wall time; epoch 0 is the initialisation"

CLOCKS = (
    Metric("epoch", "epoch", "epoch", CLOCK),
    Metric("step", "optimiser steps", "steps", CLOCK),
    Metric("lr", "learning rate", "learning rate", CLOCK),
    Metric("seconds", "seconds", "seconds", CLOCK),
)

FREE_FEATURES = (
    Metric(
        "stationarity",
        "what the gradient still promises",
        "stationarity",
        "free features: half the squared norm of the gradient in units in which every decay is 1; about what the loss"
        " can still lose nearby",
    ),
    Metric(
        "factor",
        "factor on all decays",
        "factor on decays",
        "`path` runs: the factor on all decays at which this row was settled",
    ),
)
