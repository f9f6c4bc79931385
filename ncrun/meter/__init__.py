"""Measuring in a user's own training loop, batch by batch: the features of all samples are never in memory at once.

`CollapseMeter` is the first pass and often the only one, `SecondPass` the second. Both fill the sums that `scan` fills
from whole features; the columns are those of METRICS. `watch` runs both on a model and a loader.
"""

from ncrun.meter.one_pass import CollapseMeter
from ncrun.meter.second_pass import SecondPass
from ncrun.meter.watching import watch

__all__ = ["CollapseMeter", "SecondPass", "watch"]
