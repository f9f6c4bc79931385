"""The baseline of `make bench`: the same work in plain PyTorch, as the released research code does it.

Written for this comparison, from the description of that code; it uses nothing of ncrun. Like the released code:
- images come out of a DataLoader, and every sample is converted and normalised separately, each time it is read;
- every batch is then copied to the device;
- a training step is followed by a second forward pass over its batch, for the accuracy, and ends with `.item()`;
- measuring reads the whole split once for each quantity: class means, within-class scatter, accuracy;
- the within-class scatter is a d x d matrix: summed from one outer product per sample (`outer`, as released), or from
  one matrix product per batch (`product`, the best that can be done with d x d matrices);
- NC1 takes the pseudo-inverse of the d x d between-class scatter;
- free features are measured after every iteration.
The loss is ncrun's objective, so that both sides solve the same problem. Networks: float32 throughout, as released.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from torchvision import transforms

Array = NDArray[np.float64]
Scatter = Callable[[Tensor], Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]


class Pictures(Dataset[tuple[Tensor, int]]):
    """(N, C, H, W) uint8 images, converted into normalised tensors one at a time."""

    def __init__(
        self, images: NDArray[np.uint8], labels: Sequence[int], mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.labels = labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def batches(pictures: Pictures, batch_size: int, order: Sequence[int] | None = None) -> DataLoader[tuple[Tensor, int]]:
    """A loader in this order of samples (None: their own order)."""
    return DataLoader(pictures, batch_size, sampler=SequentialSampler(pictures) if order is None else order)


class PlainMLP(nn.Module):
    """Linear, ReLU (and BatchNorm) `depth` times, one more BatchNorm or linear layer, and a linear head of M layers."""

    def __init__(self, inputs: int, width: int, depth: int, num_classes: int, M: int, batch_norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for layer in range(depth):
            layers += [nn.Linear(width if layer else inputs, width), nn.ReLU()]
            layers += [nn.BatchNorm1d(width)] if batch_norm else []
        layers.append(nn.BatchNorm1d(width) if batch_norm else nn.Linear(width, width))
        self.backbone = nn.Sequential(*layers)
        sizes = [*[width] * M, num_classes]
        self.head = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise(sizes)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(images)
        return features, self.head(features)

    def head_weights(self) -> list[Tensor]:
        return list(self.head.parameters())


def objective(
    features: Tensor, logits: Tensor, labels: Tensor, weights: Sequence[Tensor], decays: tuple[float, float], N: int
) -> Tensor:
    """1/(2B) ||logits - Y||^2 + lam_W/2 sum ||W_m||^2 + lam_H/2 N/B ||features||^2 of a batch of B. decays: lam_W,
    lam_H."""
    targets = nn.functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    loss = 0.5 * nn.functional.mse_loss(logits, targets, reduction="sum") / len(labels)
    for weight in weights:
        loss = loss + decays[0] / 2 * torch.sum(weight**2)
    return loss + decays[1] / 2 * N / len(labels) * torch.sum(features**2)


def on_device(loader: Batches, network: PlainMLP) -> Batches:
    """The loader's batches on the network's device."""
    device = network.head_weights()[0].device
    return ((images.to(device), labels.to(device)) for images, labels in loader)


def train_epoch(
    network: PlainMLP, loader: Batches, optimiser: torch.optim.Optimizer, decays: tuple[float, float], N: int
) -> list[float]:
    """One pass over the loader; returns each batch's loss."""
    losses, correct = [], 0.0
    for images, labels in on_device(loader, network):
        network.train()
        features, logits = network(images)
        loss = objective(features, logits, labels, network.head_weights(), decays, N)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        network.eval()
        with torch.no_grad():
            correct += (network(images)[1].argmax(dim=1) == labels).sum().item()
        losses.append(loss.item())
    return losses


def outer(deviation: Tensor) -> Tensor:
    """The scatter of a batch, one outer product per sample."""
    return torch.matmul(deviation.unsqueeze(-1), deviation.unsqueeze(1)).sum(dim=0)


def product(deviation: Tensor) -> Tensor:
    """The same in one matrix product."""
    return deviation.T @ deviation


@torch.no_grad()
def measure_network(
    network: PlainMLP, loader: Batches, num_classes: int, scatter: Scatter, targets: tuple[Array, Array, Array]
) -> dict[str, float]:
    """NC1, NC2, NC3 and accuracy of a split, in evaluation mode, with one pass for each quantity."""
    network.eval()

    def features() -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in on_device(loader, network):
            yield network(images)[0], labels

    found = collapse(features, num_classes, scatter, whole(network.head_weights()), targets)
    correct, total = 0.0, 0
    for images, labels in on_device(loader, network):
        correct += (network(images)[1].argmax(dim=1) == labels).sum().item()
        total += len(labels)
    return found | {"accuracy": correct / total}


def whole(weights: Sequence[Tensor]) -> Tensor:
    """W_M .. W_1, the head as one matrix."""
    matrix = weights[0]
    for above in weights[1:]:
        matrix = above @ matrix
    return matrix


def collapse(
    features: Callable[[], Batches],
    num_classes: int,
    scatter: Scatter,
    weight: Tensor,
    targets: tuple[Array, Array, Array],
) -> dict[str, float]:
    """NC1, NC2_W, NC2_H and NC3 in two passes over batches of features, computed in their precision.

    targets: predicted W W^T, Gram matrix of the class means, and W H, K x K each.
    """
    d = weight.shape[1]
    sums, counts = weight.new_zeros(num_classes, d), weight.new_zeros(num_classes)
    for points, labels in features():
        for k in range(num_classes):
            chosen = points[labels == k]
            sums[k] += chosen.sum(dim=0)
            counts[k] += len(chosen)
    means, overall = sums / counts[:, None], sums.sum(dim=0) / counts.sum()
    within = weight.new_zeros(d, d)
    for points, labels in features():
        within += scatter(points - means[labels])
    within /= counts.sum()
    centred = means - overall
    between = centred.T @ centred / num_classes
    inverse = torch.linalg.pinv(between, hermitian=True)
    found = {"nc1": (torch.trace(within @ inverse) / num_classes).item()}
    measured = (weight @ weight.T, means @ means.T, weight @ means.T)
    for name, matrix, target in zip(("nc2_w", "nc2_h", "nc3"), measured, targets, strict=True):
        wanted = torch.tensor(target).to(matrix)
        found[name] = (matrix / matrix.norm() - wanted / wanted.norm()).norm().item()
    return found


class FreeDescent:
    """Gradient descent with momentum on free features and a linear head, measured after every iteration."""

    def __init__(
        self, points: Tensor, weights: Sequence[Tensor], labels: Tensor, decay: float, lr: float, momentum: float
    ) -> None:
        self.points = nn.Parameter(points.clone())
        self.weights = [nn.Parameter(weight.clone()) for weight in weights]
        self.labels = labels
        self.decay = decay
        self.optimiser = torch.optim.SGD([self.points, *self.weights], lr=lr, momentum=momentum)

    def iterate(self, targets: tuple[Array, Array, Array]) -> dict[str, float]:
        """One step, and the metrics after it; the loss is the one before it."""
        signal: Tensor = self.points
        for weight in self.weights:
            signal = signal @ weight.T
        loss = objective(self.points, signal, self.labels, self.weights, (self.decay, self.decay), len(self.labels))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        with torch.no_grad():
            found = collapse(
                lambda: [(self.points, self.labels)], len(self.weights[-1]), outer, whole(self.weights), targets
            )
        return found | {"loss": loss.item()}
