"""scikit-learn's digits, a small network in float64, and what the whole features of a loader measure as."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ncrun

TOLERANCE = {"rel": 1e-10, "abs": 1e-11}
STATED: dict[str, Any] = {"loss": "ce", "decay_weight": 1e-3, "decay_feature": 1e-4, "nonnegative_features": False}


def data(number: int = 300) -> TensorDataset:
    images, labels = load_digits(return_X_y=True)
    return TensorDataset(torch.tensor(images[:number] / 16), torch.tensor(labels[:number]))


class Net(nn.Module):
    """With what evaluation mode changes: BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 16))
        self.fc = nn.Linear(16, 10)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))


def train_one_epoch(model: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader) -> None:
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


@torch.no_grad()
def measured_whole(model: Any, samples: TensorDataset, **stated: Any) -> ncrun.Measurement:
    """`ncrun.measure` on all features at once, in evaluation mode. model: with `body` and `fc`."""
    model.eval()
    inputs, labels = samples.tensors
    return ncrun.measure(model.body(inputs), labels, model.fc, **(stated or STATED))
