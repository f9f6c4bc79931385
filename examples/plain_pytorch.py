"""Neural collapse in a training loop of your own: plain PyTorch, scikit-learn's digits, half a minute on a CPU.

Run it as a script, or cell by cell in an editor that knows `# %%`. It writes plain_pytorch.png into the current folder.
"""

# %% A network, its data and its objective in plain PyTorch, without ncrun.
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ncrun

EPOCHS = 120
DECAY_WEIGHT, DECAY_FEATURE = 1e-2, 1e-5

torch.manual_seed(0)
images, digits = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
loader = DataLoader(data, batch_size=128, shuffle=True)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU())
        self.fc = nn.Linear(64, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))


model = Net()
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)


def train_one_epoch() -> None:
    model.train()
    for x, y in loader:
        features = model.body(x)
        targets = nn.functional.one_hot(y, 10).float()
        # 1/(2N) ||Z - Y||^2 + lam_W/2 ||W||^2 + lam_H/2 ||H||^2; ||H||^2 of all samples is estimated from the batch
        loss = (model.fc(features) - targets).square().sum() / (2 * len(y))
        loss = loss + DECAY_WEIGHT / 2 * model.fc.weight.square().sum()
        loss = loss + DECAY_FEATURE / 2 * features.square().sum() * len(data) / len(y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    schedule.step()


# %% ncrun adds three lines around the loop. The layer is the last one; its input are the features. They come out of a
# ReLU, which must be given, because the prediction depends on it.
with ncrun.watch(
    model,
    "fc",
    loader,
    every=10,
    loss="mse",
    decay_weight=DECAY_WEIGHT,
    decay_feature=DECAY_FEATURE,
    nonnegative_features=True,
) as seen:
    for _epoch in range(EPOCHS):
        train_one_epoch()
        seen.step()

# %% Every measured epoch is a row with the columns of metrics.jsonl; the last one is compared with its prediction.
print(seen.frame()[["epoch", "loss", "gap", "nc1", "nc2_w", "nc2_h", "nc3", "nc4", "train_accuracy"]].to_string())
print()
print(seen.last.summary)
print(f"prediction: {seen.last.theory['claim']}, {seen.last.theory['source']}")

# %% The same by hand, during your own forward passes: batch by batch, in one pass that stores only sums.
meter = ncrun.CollapseMeter(10, loss="mse")
model.eval()
with torch.no_grad():
    for x, y in loader:
        features = model.body(x)
        meter.update(features, y, model.fc(features))
found = meter.compute(model.fc, decay_weight=DECAY_WEIGHT, decay_feature=DECAY_FEATURE, nonnegative_features=True)
print(f"one pass: nc1 = {found.metrics['nc1']:.6g}; watched, in two: {seen.last.metrics['nc1']:.6g}")
for column, reason in found.absent.items():
    print(f"not known after one pass: {column} ({reason})")

# %% The figure: measured curves, and the loss beside the optimum, which is a lower bound for every network.
import matplotlib  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

frame = seen.frame()
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for column in ("nc1", "nc2_w", "nc2_h", "nc3"):
    left.plot(frame["epoch"], frame[column], marker="o", markersize=3, label=column)
left.set(yscale="log", xlabel="epoch", title="distance to the predicted geometry")
left.legend()
right.plot(frame["epoch"], frame["loss"], marker="o", markersize=3, label="measured")
right.axhline(seen.last.theory["objective"], color="black", linestyle="--", label="predicted optimum")
right.set(yscale="log", xlabel="epoch", title="objective")
right.legend()
figure.savefig("plain_pytorch.png", dpi=120)
