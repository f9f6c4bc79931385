"""The meter as a torchmetrics.Metric: fed in a real training, synchronised as torchmetrics synchronises."""

from typing import Any

import pytest
import torch
from digits import STATED, TOLERANCE, Net, data, measured_whole, train_one_epoch
from samples import assert_same
from torch.utils.data import DataLoader

import ncrun
from ncrun.errors import UserError

pytest.importorskip("torchmetrics")

from ncrun.torchmetrics import CollapseMetric


def filled(model: Net, part: slice = slice(None), **options: Any) -> CollapseMetric:
    metric = CollapseMetric(model.fc, **(STATED | options))
    inputs, labels = (each[part] for each in data().tensors)
    model.eval()
    with torch.no_grad():
        for rows in torch.arange(len(labels)).split(50):
            features = model.body(inputs[rows])
            metric.update(features, labels[rows], model.fc(features))
    return metric


def trained() -> Net:
    torch.manual_seed(0)
    model = Net()
    loader = DataLoader(data(), batch_size=64, shuffle=True)
    train_one_epoch(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)
    return model


def assert_whole(found: dict[str, torch.Tensor], whole: ncrun.Measurement) -> None:
    for key in ("nc1", "nc1_trace", "nc2_w", "nc2_h", "nc3", "cdnv", "loss", "train_accuracy", "balance"):
        expected = whole.metrics[key]
        assert (key in found) == (expected is not None), key
        if expected is not None:
            assert float(found[key]) == pytest.approx(expected, **TOLERANCE), key
    assert "nc4" not in found


def test_equal_to_the_whole_and_reset() -> None:
    model = trained()
    metric, whole = filled(model), measured_whole(trained(), data())
    assert_whole(metric.compute(), whole)
    assert metric.measurement().absent["nc4"].startswith("needs every sample's nearest class mean")
    assert not list(metric.parameters())  # the classifier's are not the metric's
    batch = metric(*(each[:64] for each in (model.body(data().tensors[0]), data().tensors[1])))
    assert float(batch["nc1"]) != pytest.approx(whole.metrics["nc1"], rel=1e-3)  # forward: of the batch alone
    metric.reset()
    with pytest.raises(UserError, match="has seen no sample"):
        metric.measurement()


def test_synchronised() -> None:
    """What torchmetrics does across ranks: gathers every state, stacks it or reduces it, and computes from that."""
    model = trained()
    metrics = [filled(model, slice(0, 120)), filled(model, slice(120, 300))]
    gathered = {name: [getattr(metric, name) for metric in metrics] for name in metrics[0]._reductions}

    def gather(state: torch.Tensor, group: Any) -> list[torch.Tensor]:
        (name,) = (name for name in gathered if state is getattr(metrics[0], name))
        return gathered[name]

    metrics[0].sync(dist_sync_fn=gather, distributed_available=lambda: True)
    try:
        found = metrics[0].measurement()
    finally:
        metrics[0].unsync()
    assert_same(found, measured_whole(model, data()), **TOLERANCE)
    assert metrics[0].measurement().problem.counts != found.problem.counts  # its own samples are its own again


def test_refused() -> None:
    with pytest.raises(UserError, match="loss=l2"):
        CollapseMetric(torch.nn.Linear(4, 3), loss="l2")
    with pytest.raises(UserError, match="labels: go from 0 to 3"):
        CollapseMetric(torch.nn.Linear(1, 3)).update(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 3]))
