"""The cost of a run, counted beforehand, and its time on a device with measured peaks.

One training step and one forward pass are executed on tensors without content (PyTorch's FakeTensorMode), so that
counting a network of any size takes a second and no memory. Products of matrices and convolutions count as operations
on floats, by PyTorch's own formulas; all other kernels as bytes that they read and write.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from bench_timing import now
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ncrun.data.request import DataRequest
from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.run import Adam, Run
from ncrun.training.features import FORWARD_ROWS
from ncrun.training.gradients import NetworkGradient
from ncrun.training.program import network_of
from ncrun.training.schedule import measured_epochs

# Adam reads and writes the parameter and two moments, and reads the gradient; SGD with momentum has one moment.
TRAFFIC = {True: 7, False: 5}
# The papers' data sets have one test image for five or six training images.
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Peaks:
    """The peaks of a device. full, tf32, bfloat16: FLOP/s of a large product at that precision; copy: bytes/s read and
    written by a large copy; launch: seconds for an operation on almost nothing."""

    device: str
    full: float
    tf32: float
    bfloat16: float
    copy: float
    launch: float

    def flops(self, precision: str) -> float:
        """FLOP/s at the precision of a run."""
        return {"full": self.full, "tf32": self.tf32, "bfloat16": self.bfloat16}[precision]


@dataclass(frozen=True)
class Cost:
    """flops: of products and convolutions. bytes: moved by all other operations. launches: number of operations."""

    flops: float
    bytes: float
    launches: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.bytes + other.bytes, self.launches + other.launches)

    def times(self, factor: float) -> "Cost":
        """As often as that."""
        return Cost(self.flops * factor, self.bytes * factor, self.launches * factor)

    def computing(self, peaks: Peaks, precision: str) -> float:
        """Seconds at the device's peaks, without launching."""
        return self.flops / peaks.flops(precision) + self.bytes / peaks.copy

    def seconds(self, peaks: Peaks, precision: str) -> float:
        """A lower bound: the longer of computing and of launching all operations one by one."""
        return max(self.computing(peaks, precision), self.launches * peaks.launch)

    def is_small(self, peaks: Peaks, precision: str) -> bool:
        """Whether the device would wait for launches for more than half of the time."""
        return self.computing(peaks, precision) < self.launches * peaks.launch


class Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that counts the operations inside."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cost = Cost(0, 0, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.cost += Cost(formula(*args, **kwargs, out_val=out), 0, 1)
        elif not func.is_view:
            tensors = [each for each in tree_leaves((args, kwargs, out)) if isinstance(each, torch.Tensor)]
            self.cost += Cost(0, sum(each.numel() * each.element_size() for each in tensors), 1)
        return out


def step_cost(run: Run, batch: int) -> Cost:
    """The work of one training step on a number of samples, for a network's run."""
    with FakeTensorMode():
        network, images, labels = _network(run), _images(run, batch), torch.zeros(batch, dtype=torch.int64)
        gradient = NetworkGradient(network, Objective.of(run.problem))
        with Tally() as tally:
            gradient(images, labels)
        size = sum(parameter.numel() for parameter in network.parameters())
    counted: Cost = tally.cost
    return counted + Cost(0, 4 * size * TRAFFIC[isinstance(run.descent.optimizer, Adam)], 1)


def forward_cost(run: Run, batch: int) -> Cost:
    """The work of one pass of a number of samples through the backbone, as for measuring."""
    with FakeTensorMode(), torch.no_grad():
        network, images = _network(run).eval(), _images(run, batch)
        with Tally() as tally:
            network.backbone(images)
    counted: Cost = tally.cost
    return counted


def run_cost(run: Run) -> Cost:
    """The work of the whole run: every step, and one pass over both splits for each measurement, without the metrics
    themselves, which are a few operations."""
    request, descent = run.data, run.descent
    assert isinstance(request, DataRequest)
    N = request.num_samples
    batch = min(descent.batch_size, N)
    tested = TEST_SHARE * sum(request.source.facts.class_sizes[k] for k in request.chosen)
    rows = min(FORWARD_ROWS, N)
    measured = len(measured_epochs(descent.measure, descent.epochs, descent.is_full_batch))
    training = step_cost(run, batch).times(descent.epochs * N / batch)
    return training + forward_cost(run, rows).times(measured * (N + tested) / rows)


def _network(run: Run) -> Network:
    network = network_of(run)
    assert isinstance(network, Network)
    return network


def _images(run: Run, batch: int) -> torch.Tensor:
    assert isinstance(run.data, DataRequest)
    return torch.zeros(batch, *run.data.image_shape)


def measure_peaks(device: torch.device) -> Peaks:
    """Measures the peaks in one or two seconds."""
    gpu = device.type == "cuda"
    size, copied, repeats = (8192, 1 << 30, 10) if gpu else (768, 1 << 25, 3)
    name = torch.cuda.get_device_name() if gpu else "cpu"
    rates = {precision: _product_rate(size, precision, device, repeats) for precision in ("full", "tf32", "bfloat16")}
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target, little = torch.empty_like(source), torch.zeros(8, device=device)
    copy = 2 * copied / _fastest(lambda: target.copy_(source), repeats)
    calls = 1000

    def launches() -> None:
        for _ in range(calls):
            little.add_(1)

    return Peaks(name, **rates, copy=copy, launch=_fastest(launches, repeats) / calls)


def _product_rate(size: int, precision: str, device: torch.device, repeats: int) -> float:
    """FLOP/s of a square product. The factors are random, because zeros need less power, so the clock would rise."""
    from ncrun.training.gradients import tf32

    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    with tf32(precision == "tf32"):
        seconds = _fastest(partial(torch.mm, left, right), repeats)
    return 2 * size**3 / seconds


def _fastest(work: Callable[[], object], repeats: int) -> float:
    work()
    times: list[float] = []
    for _ in range(repeats):
        began = now()
        work()
        times.append(now() - began)
    return min(times)


def readable(seconds: float) -> str:
    """Such as 8.2 s, 4.1 min or 2.3 h."""
    for limit, unit in ((100, "s"), (6000, "min")):
        if seconds < limit:
            return f"{seconds / {'s': 1, 'min': 60}[unit]:.3g} {unit}"
    return f"{seconds / 3600:.3g} h"


def peaks_lines(peaks: Peaks) -> Sequence[str]:
    """The peaks in words."""
    rates = [f"{name} {peaks.flops(name) / 1e12:.3g} TFLOP/s" for name in ("full", "tf32", "bfloat16")]
    moved = f"copies {peaks.copy / 1e9:.4g} GB/s read and written, an operation started in {1e6 * peaks.launch:.2g} us"
    return [f"{peaks.device}: products {', '.join(rates)}", moved]
