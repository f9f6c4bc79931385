"""Checks a program's memory before anything is allocated: a machine that runs out of memory kills processes without a
message."""

from collections.abc import Sequence
from itertools import pairwise

import torch

from ncrun.data.request import DataRequest
from ncrun.errors import UserError
from ncrun.run import LBFGS, Adam, Run
from ncrun.training.lbfgs import most_pairs
from ncrun.training.streaming import GIGABYTE, data_numbers, device_memory, streaming_of


def refuse_what_is_too_large(runs: Sequence[Run], device: torch.device) -> None:
    """Raises UserError, with the numbers and the keys to make smaller, if this machine cannot hold the runs of a
    program. Activations are not counted, so memory may still run out later."""
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
        f"{what}{times} need {needed / GIGABYTE:.3g} GB, but this machine has {there / GIGABYTE:.3g} GB of memory"
    )


def needed_bytes(runs: Sequence[Run], streams: bool = False) -> int:
    """Bytes of parameters, optimiser states, and the training set unless it is streamed, for all runs of a program.
    Without activations."""
    first = runs[0]
    numbers = num_parameters(first) * _copies(first) + (0 if streams else data_numbers(first))
    return len(runs) * numbers * int(getattr(torch, first.descent.dtype).itemsize)


def num_parameters(run: Run) -> int:
    """Without the head's biases."""
    problem = run.problem
    head = sum(inputs * outputs for inputs, outputs in pairwise([*problem.widths, problem.num_outputs]))
    if isinstance(run.data, DataRequest):
        return head + run.model.num_parameters(run.data.image_shape)
    return head + run.data.num_samples * run.model.feature_width


def _copies(run: Run) -> int:
    """Numbers for each parameter: itself, its gradient, and the optimiser's state."""
    optimizer = run.descent.optimizer
    if isinstance(optimizer, LBFGS):
        return 2 + 2 * optimizer.history
    of_epochs = 4 if isinstance(optimizer, Adam) else 3
    if not run.descent.finish:
        return of_epochs
    itemsize = int(getattr(torch, run.descent.dtype).itemsize)
    return max(of_epochs, 4 + 2 * most_pairs(num_parameters(run), itemsize))


def _keys_of_data(run: Run) -> str:
    return "counts or dataset.size" if isinstance(run.data, DataRequest) else "counts"
