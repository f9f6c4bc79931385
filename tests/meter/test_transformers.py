"""The callback in a real training of Hugging Face's Trainer."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from digits import STATED, TOLERANCE, Net, data, measured_whole
from samples import assert_same
from torch import Tensor, nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from ncrun.transformers import CollapseCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


class Classifier(nn.Module):
    """As the Trainer wants it: labels in, loss and logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, pixels: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(pixels)
        return {"logits": logits} | ({} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)})


def fit(callbacks: list[Any], folder: Path) -> Any:
    torch.manual_seed(0)
    samples = [{"pixels": x, "labels": y} for x, y in zip(*data().tensors, strict=True)]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=3,
        per_device_train_batch_size=64,
        learning_rate=1e-2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(model=Classifier(), args=arguments, train_dataset=samples, callbacks=callbacks)
    trainer.train()
    return trainer


def test_in_a_training(tmp_path: Path) -> None:
    """Equal to the whole features, logged, and the training is that without the callback."""
    callback = CollapseCallback("net.fc", every=2, **STATED)
    trainer = fit([callback], tmp_path)
    assert [row["epoch"] for row in callback.rows] == [0, 2, 3]
    assert callback.last.absent == {}
    assert_same(callback.last, measured_whole(trainer.model.net, data()), **TOLERANCE)
    history = {entry["epoch"]: entry for entry in trainer.state.log_history if "collapse_nc1" in entry}
    assert {epoch: entry["collapse_nc1"] for epoch, entry in history.items()} == {
        row["epoch"]: row["nc1"] for row in callback.rows
    }
    alone = fit([], tmp_path)
    for one, other in zip(trainer.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(one, other)
