"""Neural collapse in a Lightning training, scikit-learn's digits, a minute on a CPU: pip install 'ncrun[integrations]'.

Run it as a script, or cell by cell in an editor that knows `# %%`.
"""

# %% A plain LightningModule.
import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ncrun.lightning import CollapseCallback

EPOCHS = 40
DECAY = 1e-3

lightning.seed_everything(0)
images, digits = load_digits(return_X_y=True)
# 174 of each: for plain weight decay the geometry is known only for equal counts
kept = sorted(i for k in range(10) for i in (digits == k).nonzero()[0][:174])
data = TensorDataset(torch.tensor(images[kept] / 16, dtype=torch.float32), torch.tensor(digits[kept]))


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=DECAY)


# %% One callback. Plain weight decay has no exact theorem; nc2_w, nc2_h and nc3 are then distances to the limit at
# vanishing decay, a simplex equiangular tight frame.
collapse = CollapseCallback("fc", every=10, loss="ce", decay_weight=DECAY, nonnegative_features=False)
trainer = lightning.Trainer(
    max_epochs=EPOCHS,
    accelerator="cpu",
    callbacks=[collapse],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
model = Digits()
trainer.fit(model, DataLoader(data, batch_size=128, shuffle=True))

# %% The numbers are in Lightning's log, for EarlyStopping and ModelCheckpoint, and in the callback.
print({name: round(float(value), 6) for name, value in trainer.callback_metrics.items() if "nc" in name})
for row in collapse.rows:
    print({key: row[key] for key in ("epoch", "nc1", "nc2_w", "nc2_h", "nc3", "nc4", "train_accuracy")})
print(collapse.last.summary)
