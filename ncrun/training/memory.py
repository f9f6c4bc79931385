"""What a program will need of a device's memory, before any of it is taken: a machine that runs short kills what runs
on it, and says nothing."""

from collections.abc import Sequence
from itertools import pairwise

import torch

from ncrun.data.request import DataRequest
from ncrun.errors import UserError
from ncrun.run import LBFGS, Adam, Run
from ncrun.training.lbfgs import PAIRS
from ncrun.training.streaming import GIGABYTE, data_numbers, device_memory, streaming_of


def refuse_what_is_too_large(runs: Sequence[Run], device: torch.device) -> None:
    """Raises UserError, with the numbers and what to make smaller, for runs side by side that this machine cannot
    hold. Activations are not counted: what passes may still turn out too large."""
    first = runs[0]
    streams = streaming_of(first, device) is not None
    parameters, data = num_parameters(first), 0 if streams else data_numbers(first)
    needed = needed_bytes(runs, streams)
    there = device_memory(device)
    if needed <= there:
        return
    if data > len(runs) * parameters * _copies(first):
        what = f"{_keys_of_data(first)}: {data:.3g} numbers of data"
    else:
        where = "counts, model.width" if first.is_free else "model.width, model.depth"
        what = f"{where} or head.width: {parameters:.3g} parameters"
    times = f" in each of {len(runs)} runs" if len(runs) > 1 else ""
    raise UserError(
        f"{what}{times} need {needed / GIGABYTE:.3g} GB, and this machine has {there / GIGABYTE:.3g} GB of memory"
    )


def needed_bytes(runs: Sequence[Run], streams: bool = False) -> int:
    """Of runs side by side: parameters, what the optimiser keeps of each, and the training set, unless that is
    streamed. No activations."""
    first = runs[0]
    numbers = num_parameters(first) * _copies(first) + (0 if streams else data_numbers(first))
    return len(runs) * numbers * int(getattr(torch, first.descent.dtype).itemsize)


def num_parameters(run: Run) -> int:
    """Without biases of the head."""
    problem = run.problem
    head = sum(inputs * outputs for inputs, outputs in pairwise([*problem.widths, problem.num_outputs]))
    if isinstance(run.data, DataRequest):
        return head + run.model.num_parameters(run.data.image_shape)
    return head + run.data.num_samples * run.model.feature_width


def _copies(run: Run) -> int:
    """Parameters, their gradient, and what the optimiser keeps of each."""
    optimizer = run.descent.optimizer
    if isinstance(optimizer, LBFGS):
        return 2 + 2 * optimizer.history
    return max(4 if isinstance(optimizer, Adam) else 3, 4 + 2 * PAIRS if run.descent.finish else 0)


def _keys_of_data(run: Run) -> str:
    return "counts or dataset.size" if isinstance(run.data, DataRequest) else "counts"
