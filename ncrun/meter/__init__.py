"""Measuring in somebody else's training loop, batch by batch: the features of all samples never lie in memory at once.

`CollapseMeter` is the first pass and often the only one, `SecondPass` the second; both fill the same sums that `scan`
fills from whole features, and the columns are those of METRICS. `watch` drives both from a model and a loader.
"""

from ncrun.meter.one_pass import CollapseMeter
from ncrun.meter.second_pass import SecondPass
from ncrun.meter.watching import watch

__all__ = ["CollapseMeter", "SecondPass", "watch"]
