"""`ncrun.watch` around a real training: numbers of the whole features, training not disturbed, refusals."""

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits import STATED, TOLERANCE, Net, data, measured_whole, train_one_epoch
from samples import assert_same
from torch import Tensor, nn
from torch.utils.data import DataLoader

import ncrun
from ncrun.errors import UserError

EXAMPLES = Path(__file__).parents[2] / "examples"


def trained(watched: bool, epochs: int = 5) -> tuple[Net, Any, list[float]]:
    torch.manual_seed(0)
    model = Net()
    loader = DataLoader(data(), batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if not watched:
        for _ in range(epochs):
            train_one_epoch(model, optimizer, loader)
        return model, None, [torch.rand(()).item(), np.random.rand()]  # noqa: NPY002
    with ncrun.watch(model, "fc", loader, every=2, test_loader=loader, **STATED) as seen:
        for _ in range(epochs):
            train_one_epoch(model, optimizer, loader)
            model.body[1].eval()  # a part that the user keeps in evaluation mode
            before = [module.training for module in model.modules()]
            seen.step()
            assert [module.training for module in model.modules()] == before
    return model, seen, [torch.rand(()).item(), np.random.rand()]  # noqa: NPY002


def test_a_training_with_and_without() -> None:
    """The same weights in every bit, and the next random numbers; the rows are those of the whole features."""
    np.random.seed(0)  # noqa: NPY002
    model, seen, drawn = trained(watched=True)
    np.random.seed(0)  # noqa: NPY002
    alone, _, drawn_alone = trained(watched=False)
    assert drawn == drawn_alone
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [row["epoch"] for row in seen.rows] == [0, 2, 4, 5]
    whole = ncrun.measure(*(tensors := features_and_labels(model)), model.fc, test=tensors, **STATED)
    assert seen.last.absent == {}
    assert_same(seen.last, whole, **TOLERANCE)
    assert list(seen.frame().columns) == ["epoch", *whole.metrics]
    assert seen.rows[-1]["nc1"] < seen.rows[0]["nc1"]


@torch.no_grad()
def features_and_labels(model: Net) -> tuple[Tensor, Tensor]:
    inputs, labels = data().tensors
    return model.eval().body(inputs), labels


def test_a_deep_head_in_one_pass() -> None:
    """A Sequential as the layer; a mapping as the batch; half the forward passes, and the logits decide accuracy."""

    class Deep(Net):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Sequential(nn.Linear(16, 12, bias=False), nn.Linear(12, 10)).double()

        def forward(self, pixels: Tensor) -> Tensor:
            return super().forward(pixels)

    model, calls = Deep(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    x, y = data().tensors
    loader = [{"pixels": x[part], "labels": y[part]} for part in torch.arange(300).split(100)]
    seen = ncrun.watch(model, model.fc, loader, passes=1, **STATED)
    found = seen.measure()
    assert len(calls) == 3
    assert set(found.absent) == {"class.nc1", "nc4", "nc4_ties"}
    assert_same(found, measured_whole(model, data()), **TOLERANCE)


class Unused(Net):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.body(x), self.fc.weight, self.fc.bias)


class Random(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(nn.functional.dropout(self.body(x), 0.5, training=True))


class PerToken(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x)[:, None])


def loader(**options: Any) -> DataLoader:
    return DataLoader(data(), batch_size=64, **options)


def once() -> Iterator[Any]:
    yield from loader()


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no such layer": (
        lambda: ncrun.watch(Net(), "fcc", loader()),
        "layer=fcc: the model has no layer of that name; its linear layers are body.0, body.4, fc; did you mean 'fc'?",
    ),
    "no head": (lambda: ncrun.watch(Net(), "body.1", loader()), "classifier: is a module BatchNorm1d"),
    "every": (lambda: ncrun.watch(Net(), "fc", loader(), every=0), "every=0: expected a number of epochs"),
    "passes": (lambda: ncrun.watch(Net(), "fc", loader(), passes=3), "passes=3: not one of 1, 2"),
    "a test split in one pass": (
        lambda: ncrun.watch(Net(), "fc", loader(), test_loader=loader(), passes=1),
        "passes=1: a test split needs the class means of a first pass",
    ),
    "no ranks": (
        lambda: ncrun.watch(Net(), "fc", loader(), all_ranks=True),
        "all_ranks=True: torch.distributed is not initialised",
    ),
    "only once": (lambda: ncrun.watch(Net(), "fc", once()).measure(), "loader: is a generator, which can be iterated"),
    "not used": (lambda: ncrun.watch(Unused(), "fc", loader()).measure(), "layer: is used 0 times in a forward pass"),
    "random features": (
        lambda: ncrun.watch(Random(), "fc", loader()).measure(),
        "second pass: the mean of class 0 is",
    ),
    "drop_last": (
        lambda: ncrun.watch(Net(), "fc", loader(drop_last=True, shuffle=True), **STATED).measure(),
        "second pass: saw ",
    ),
    "of a token each": (
        lambda: ncrun.watch(PerToken(), "fc", loader()).measure(),
        "features: expected a matrix with rows and columns, found shape (64,1,16)",
    ),
    "a batch without labels": (
        lambda: ncrun.watch(Net(), "fc", [data().tensors[0]]).measure(),
        "loader: a batch is a Tensor; expected (inputs, labels)",
    ),
    "a ReLU head": (
        lambda: ncrun.watch(
            nn.Sequential(nn.Linear(64, 5, bias=False), nn.ReLU(), nn.Linear(5, 10)).double(), "", loader()
        ).measure(),
        "classifier_1: a ReLU stands between the layers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    torch.manual_seed(0)
    act, words = REFUSED[case]
    with pytest.raises(UserError) as refusal:
        act()
    assert str(refusal.value).startswith(words), refusal.value
    assert "\n" not in str(refusal.value)


def test_a_training_that_fails_is_not_measured_once_more() -> None:
    seen = ncrun.watch(Net(), "fc", loader(), every=10, **STATED)

    def diverges() -> None:
        with seen:
            seen.step()
            raise FloatingPointError

    with pytest.raises(FloatingPointError):
        diverges()
    assert [row["epoch"] for row in seen.rows] == [0]


def test_the_example_of_plain_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], closed: None
) -> None:
    monkeypatch.chdir(tmp_path)
    source = (EXAMPLES / "plain_pytorch.py").read_text()
    assert "EPOCHS = 120\n" in source
    short = tmp_path / "short.py"
    short.write_text(source.replace("EPOCHS = 120\n", "EPOCHS = 3\n"))
    found = runpy.run_path(str(short))
    assert [row["epoch"] for row in found["seen"].rows] == [0, 3]
    assert found["seen"].rows[-1]["gap"] > 0
    assert found["found"].metrics["nc1"] == pytest.approx(found["seen"].last.metrics["nc1"], rel=1e-4)  # float32
    assert (tmp_path / "plain_pytorch.png").stat().st_size > 10_000
    assert "prediction: proven" in capsys.readouterr().out
