"""docs/your_loop.md: its blocks of code that need no framework, one after the other, on a small network."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from digits import data, train_one_epoch
from torch import Tensor, nn
from torch.utils.data import DataLoader

PAGE = Path(__file__).parents[2] / "docs" / "your_loop.md"


class Rectified(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 16), nn.ReLU())
        self.fc = nn.Linear(16, 10)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))


def test_the_blocks_run() -> None:
    torch.manual_seed(0)
    model = Rectified()
    names: dict[str, Any] = {
        "model": model,
        "loader": DataLoader(data(), batch_size=64, shuffle=True),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "train_one_epoch": train_one_epoch,
    }
    blocks = [each for each in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "lightning" not in each]
    assert len(blocks) == 3
    for block in blocks:
        exec(block.replace("range(200)", "range(6)"), names)
    assert [row["epoch"] for row in names["seen"].rows] == [0, 5, 6]
    assert names["found"].absent == {}
    expected = names["seen"].last.metrics["nc1"]
    assert names["found"].metrics["nc1"] == pytest.approx(expected, rel=1e-10)  # the loader shuffles
