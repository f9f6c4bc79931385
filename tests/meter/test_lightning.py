"""The callback in a real Lightning training, and the example."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from digits import STATED, TOLERANCE, Net, data, measured_whole
from samples import assert_same
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ncrun.errors import UserError

lightning = pytest.importorskip("lightning")

from lightning.pytorch.loggers import CSVLogger  # noqa: E402

from ncrun.lightning import CollapseCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's, about its own surroundings
EXAMPLE = Path(__file__).parents[2] / "examples" / "lightning_digits.py"


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(callback: Any, folder: Path, epochs: int = 3) -> tuple[Any, Module]:
    """drop_last and shuffle: what a training loader does and a measurement must not."""
    torch.manual_seed(0)
    module = Module()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=CSVLogger(folder),
        log_every_n_steps=1,
        callbacks=callback,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(data(), batch_size=64, shuffle=True, drop_last=True))
    return trainer, module


def test_in_a_training(tmp_path: Path) -> None:
    """Equal to the whole features, logged, and the training is that without the callback."""
    callback = CollapseCallback("net.fc", every=2, **STATED)
    trainer, module = fit([callback], tmp_path)
    assert [row["epoch"] for row in callback.rows] == [0, 2, 3]
    assert callback.last.absent == {}
    whole = measured_whole(module.net, data())
    assert_same(callback.last, whole, **TOLERANCE)
    logged = float(trainer.callback_metrics["collapse/nc1"])
    assert logged == pytest.approx(callback.rows[1]["nc1"], rel=1e-6)  # Lightning keeps float32
    table = (Path(trainer.logger.log_dir) / "metrics.csv").read_text()
    assert "collapse/nc1" in table
    _, alone = fit([], tmp_path)
    for one, other in zip(module.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_wrong_layer_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"layer=fc: the model has no layer of that name.*net\.fc$"):
        fit([CollapseCallback("fc", **STATED)], tmp_path)


class CheckedAtTheEnd(lightning.Callback):
    """On every rank. The features are those of rank 0's BatchNorm, which is what would be saved."""

    def on_train_end(self, trainer: Any, pl_module: Module) -> None:
        (callback,) = (each for each in trainer.callbacks if isinstance(each, CollapseCallback))
        assert [row["epoch"] for row in callback.rows] == [0, 2]
        for buffer in pl_module.buffers():
            torch.distributed.broadcast(buffer, 0)
        assert_same(callback.last, measured_whole(pl_module.net, data(299)), **TOLERANCE)


@pytest.mark.slow
def test_two_processes() -> None:
    """Each measures its part of the samples, none twice, and all have the numbers of the whole."""
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=2,
        strategy="ddp_spawn",
        logger=False,
        callbacks=[CollapseCallback("net.fc", every=2, **STATED), CheckedAtTheEnd()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), DataLoader(data(299), batch_size=64, shuffle=True))
    assert "collapse/nc1" in trainer.callback_metrics


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    source = EXAMPLE.read_text()
    assert "EPOCHS = 40\n" in source
    short = tmp_path / "short.py"
    short.write_text(source.replace("EPOCHS = 40\n", "EPOCHS = 2\n"))
    found = runpy.run_path(str(short))
    assert [row["epoch"] for row in found["collapse"].rows] == [0, 2]
    assert "from the shape expected at vanishing decay" in capsys.readouterr().out
