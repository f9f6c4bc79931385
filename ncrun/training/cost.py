"""The cost of a run, counted on two samples with the code that would train it."""

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ncrun.data.request import DataRequest
from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.run import LBFGS, Run
from ncrun.training.gradients import gradients_of
from ncrun.training.machine import device_of
from ncrun.training.memory import needed_bytes
from ncrun.training.program import network_of
from ncrun.training.streaming import streaming_of

# BatchNorm needs more than one sample.
SAMPLES = 2


@dataclass(frozen=True)
class Cost:
    """parameters: of the network, including a frozen head. flop: of the matrix products and convolutions in the whole
    training, without measuring; of a single iteration if their number is not known before (lbfgs). memory: bytes of
    parameters, optimiser, training set (unless it is streamed), and the tensors that one batch's forward pass stores
    for the backward pass."""

    parameters: int
    flop: float
    is_of_iteration: bool
    memory: float


class Costs:
    """Counts equal networks once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, float, float]] = {}

    def of(self, run: Run) -> Cost:
        """Builds the network, and computes one gradient on two random samples (for free features on all). Raises
        UserError as training would."""
        shape = run.data.image_shape if isinstance(run.data, DataRequest) else run.data.num_samples
        asked = (run.model, run.problem.widths, run.problem.num_outputs, run.problem.bias, run.problem.head, shape)
        key = repr((*asked, run.problem.loss, run.descent.dtype, str(run.frozen_head)))
        if key not in self._known:
            self._known[key] = _counted(run)
        parameters, flop, kept = self._known[key]
        once = isinstance(run.descent.optimizer, LBFGS)
        descent, N = run.descent, run.data.num_samples
        passes = 1 if once else descent.most_epochs
        samples, batch = (1, 1) if run.is_free else (N, descent.batch_size)
        streams = streaming_of(run, device_of(run.machine, descent.precision)) is not None
        return Cost(parameters, passes * samples * flop, once, needed_bytes([run], streams) + batch * kept)


def _counted(run: Run) -> tuple[int, float, float]:
    """Parameters, and FLOP and bytes for the backward pass: of one sample, for free features of all."""
    dtype: torch.dtype = getattr(torch, run.descent.dtype)
    with torch.random.fork_rng(devices=[]):
        network = network_of(run).to(dtype)
        network.train()
        if isinstance(run.data, DataRequest):
            images = torch.randn(SAMPLES, *run.data.image_shape, dtype=dtype)
        else:
            images = torch.arange(run.data.num_samples)
        labels = torch.arange(len(images)) % max(1, run.problem.num_classes)
        if run.problem.targets is not None:
            labels = torch.zeros(len(images), run.problem.num_outputs, dtype=dtype)
        counter, kept = FlopCounterMode(display=False), _Kept(network)
        with counter, torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            gradients_of(network, [Objective.of(run.problem)], [labels])(images, labels)
    share = SAMPLES if isinstance(network, Network) else 1
    parameters = sum(each.numel() for each in network.parameters())
    return parameters, counter.get_total_flops() / share, kept.total / share


class _Kept:
    """Bytes that autograd stores between the forward and the backward pass, without parameters."""

    def __init__(self, network: torch.nn.Module) -> None:
        self._seen = {each.untyped_storage().data_ptr() for each in network.parameters()}
        self.total = 0

    def pack(self, tensor: Tensor) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.total += prod(tensor.shape) * tensor.element_size()
        return tensor
