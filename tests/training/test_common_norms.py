"""BatchNorm over the shares that several ranks have of a batch, beside PyTorch's over the whole of it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from ncrun.errors import UserError
from ncrun.training.common_norms import CommonNorm, with_common_norms
from ncrun.training.ranks import Ranks

# Sums of some dozen float64 numbers near 1 in another order.
OTHER_ORDER = 1e-12
SHARES = (3, 5, 1)


@dataclass
class Meeting:
    """Where threads that stand for ranks add up what they have."""

    number: int
    brought: dict[int, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.number, timeout=20)

    def add(self, rank: int, sums: Sequence[Tensor]) -> None:
        self.brought[rank] = [each.clone() for each in sums]
        self.barrier.wait()
        whole = [
            torch.stack(each).sum(dim=0) for each in zip(*(self.brought[r] for r in range(self.number)), strict=True)
        ]
        self.barrier.wait()
        for each, total in zip(sums, whole, strict=True):
            each.copy_(total)


@dataclass(frozen=True)
class InThread(Ranks):
    meeting: Meeting = field(default_factory=lambda: Meeting(1))

    def add(self, sums: Sequence[Tensor]) -> None:
        self.meeting.add(self.rank, sums)


def two_steps(norm: nn.Module, first: Tensor, second: Tensor, weigh: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """What two batches leave: outputs, derivatives, statistics, and then the output in evaluation."""
    inputs = first.clone().requires_grad_()
    output = norm(inputs)
    weigh(output).backward()
    norm(second)
    found = [output.detach(), inputs.grad, *(each.grad for each in norm.parameters())]
    return [*found, norm.running_mean, norm.running_var, norm.num_batches_tracked, norm.eval()(first).detach()]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.BatchNorm1d(4), (4,)),
        (lambda: nn.BatchNorm2d(4, eps=1e-3, momentum=0.3), (4, 3, 2)),
        (lambda: nn.BatchNorm1d(4, momentum=None), (4, 5)),
        (lambda: nn.BatchNorm2d(4, affine=False), (4, 2, 2)),
    ],
)
def test_ranks_have_the_layer_of_one_process(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    """Outputs, derivatives by the inputs, the sum of the ranks' derivatives by the parameters, and what is kept."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(sum(SHARES), *shape, dtype=torch.float64, generator=generator) * 3 + 7 for _ in range(2)]
    whole = make().double()
    for n, parameter in enumerate(whole.parameters()):
        parameter.data = torch.randn(4, dtype=torch.float64, generator=generator) + n
    meeting, template = Meeting(len(SHARES)), torch.linspace(-1, 1, batches[0].numel(), dtype=torch.float64)
    template = template.view_as(batches[0])

    def of_rank(rank: int) -> list[Tensor]:
        own = make().double()
        own.load_state_dict(state)
        (norm,) = with_common_norms(nn.Sequential(own), InThread(rank, len(SHARES), None, meeting))
        assert isinstance(norm, CommonNorm)
        mine = [torch.split(each, SHARES)[rank] for each in (*batches, template)]
        return two_steps(norm, mine[0], mine[1], lambda output: (output.sin() * mine[2]).sum())

    state = {key: value.clone() for key, value in whole.state_dict().items()}
    wanted = two_steps(whole, *batches, lambda output: (output.sin() * template).sum())
    with ThreadPoolExecutor(len(SHARES)) as pool:
        found = list(pool.map(of_rank, range(len(SHARES))))
    of_samples = (0, 1, len(wanted) - 1)
    of_parameters = range(2, len(wanted) - 4)
    for place, value in enumerate(wanted):
        theirs = [each[place] for each in found]
        if place in of_samples:
            both = [torch.cat(theirs)]
        else:
            both = [torch.stack(theirs).sum(dim=0)] if place in of_parameters else theirs
        for each in both:
            assert torch.allclose(each, value, rtol=OTHER_ORDER, atol=OTHER_ORDER), place


def test_half_precision_comes_out_as_it_went_in() -> None:
    """One rank of one: bfloat16 in and out, statistics in float32."""
    norm = CommonNorm(nn.BatchNorm1d(3), Ranks(0, 1))
    inputs = torch.randn(50, 3).mul(4).add(100).bfloat16().requires_grad_()
    output = norm(inputs)
    output.float().square().sum().backward()
    assert (output.dtype, inputs.grad.dtype, norm.running_mean.dtype) == (torch.bfloat16, torch.bfloat16, torch.float32)
    assert torch.allclose(norm.running_mean, 0.1 * inputs.detach().float().mean(dim=0), rtol=1e-6)
    assert output.detach().float().var(dim=0, correction=0) == pytest.approx(1, abs=2e-2)  # bfloat16 has 8 bits


class OfMine(nn.BatchNorm1d):
    pass


@pytest.mark.parametrize(
    ("norm", "said"),
    [(OfMine(3), "is not PyTorch's own"), (nn.BatchNorm1d(3, track_running_stats=False), "keeps no statistics")],
)
def test_what_cannot_be_taken_over_all_is_refused(norm: nn.Module, said: str) -> None:
    with pytest.raises(UserError, match=said):
        with_common_norms(nn.Sequential(nn.Sequential(norm)), Ranks(0, 2))
    network = nn.Sequential(norm)
    assert with_common_norms(network, Ranks())[0] is norm
