"""The problems of `make bench` for both sides, with the real CIFAR-10 or random images of its shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from bench_baseline import Pictures, PlainMLP
from bench_timing import Shape
from numpy.typing import NDArray
from torch import Tensor, nn

from ncrun.config.planning import job_of
from ncrun.data.request import DataRequest
from ncrun.data.splits import LabelledImages
from ncrun.data.subset import choose_indices
from ncrun.data.tensors import RunData, normalise
from ncrun.metrics.scan import Head
from ncrun.models.mlp import MLP
from ncrun.models.network import Network
from ncrun.objective import Objective
from ncrun.run import Adam, Run
from ncrun.theory import Prediction, predict
from ncrun.training.machine import placed
from ncrun.training.program import network_of

NUM_CLASSES = 10


@dataclass(frozen=True)
class NetworkProblem:
    """One run's configuration, data on its device and prediction, and the same images for the plain side."""

    run: Run
    device: torch.device
    data: RunData
    train: Pictures
    test: Pictures
    source: str
    target: Prediction

    def network(self) -> Network:
        """ncrun's network with its initial weights."""
        network = network_of(self.run)
        assert isinstance(network, Network)
        return placed(network, self.device, torch.float32, self.run.descent.precision)

    def plain(self) -> PlainMLP:
        """The plain network with the same weights."""
        run, model = self.run, self.run.model
        assert isinstance(model, MLP)
        inputs = self.data.train_images[0].numel()
        plain = PlainMLP(inputs, model.width, model.depth, run.problem.num_classes, run.problem.depth, model.batch_norm)
        with torch.no_grad():
            for own, given in zip(plain.parameters(), self.network().parameters(), strict=True):
                own.copy_(given)
        return plain.to(self.device)

    def objective(self) -> Objective:
        return Objective.of(self.run.problem)

    @property
    def decays(self) -> tuple[float, float]:
        assert self.run.problem.feature_decay is not None
        return self.run.problem.weight_decays[0], self.run.problem.feature_decay

    @property
    def lr(self) -> float:
        optimizer = self.run.descent.optimizer
        assert isinstance(optimizer, Adam)
        return optimizer.lr

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of every linear layer."""
        modules = self.network().modules()
        return [(layer.in_features, layer.out_features) for layer in modules if isinstance(layer, nn.Linear)]


def network_problem(
    counts: Sequence[int],
    num_test: int,
    overrides: Sequence[str],
    model: str = "mlp",
    device: torch.device = torch.device("cpu"),  # noqa: B008 (a constant)
) -> NetworkProblem:
    """A network, such as the released MLP, on some CIFAR-10 images of each class, and `num_test` test images of
    each."""
    numbers = ",".join(map(str, counts))
    here = ["dataset=cifar10", f"model={model}", f"device={device.type}", f"counts=[{numbers}]"]
    run = job_of([*here, *overrides]).runs[0]
    request = run.data
    assert isinstance(request, DataRequest)
    if (request.folder / "cifar-10-batches-py").is_dir():
        (train, test), source = request.source.read(request.folder), "CIFAR-10"
    else:
        (train, test), source = (random_images(counts, 0), random_images([num_test] * NUM_CLASSES, 1)), "random images"
    train, test = chosen(train, counts), chosen(test, [num_test] * NUM_CLASSES)
    facts = request.source.facts
    assert facts.mean is not None
    assert facts.std is not None
    tensors = [normalise(part.images, facts, request.image_shape, device, torch.float32) for part in (train, test)]
    labels = [torch.from_numpy(part.labels).to(device) for part in (train, test)]
    data = RunData(tensors[0], labels[0], tensors[1], labels[1], None)
    pictures = [Pictures(part.images, part.labels.tolist(), facts.mean, facts.std) for part in (train, test)]
    return NetworkProblem(run, device, data, pictures[0], pictures[1], source, predict(run.problem))


def random_images(counts: Sequence[int], seed: int) -> LabelledImages:
    """Noise in CIFAR-10's format."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return LabelledImages(rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8), labels)


def chosen(split: LabelledImages, counts: Sequence[int]) -> LabelledImages:
    """The first samples of each class."""
    kept = choose_indices(split.labels, counts, "first", 0)
    return LabelledImages(split.images[kept], split.labels[kept])


def target_matrices(target: Prediction) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Predicted W W^T, Gram matrix of the class means, and W H."""
    assert target.logits is not None
    return target.layers[0].weight_gram, target.layers[0].feature_gram, target.logits


@dataclass(frozen=True)
class FeatureProblem:
    """Features and a head that reads them, the inputs of a metric.

    features: (N, d) float32 about K means, collapsed as in the middle of a training.
    """

    features: Tensor
    labels: Tensor
    head: Head
    objective: Objective
    target: Prediction
    baseline: Prediction

    @property
    def products(self) -> list[Shape]:
        """The products of float64 matrices that ncrun needs: the directions of the class means at each layer and the
        classifier, (C, d), with a block's deviations."""
        N, d = self.features.shape
        K, M = len(self.head.bias), len(self.head.weights)
        return [(min(d, K) + (M - 1) * min(d, K - 1) + K, d, 512)] * (N // 512)


def feature_problem(N: int, d: int, K: int = NUM_CLASSES, M: int = 1) -> FeatureProblem:
    """Random features of K equal classes, and a random head of M layers."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % K
    means = torch.randn(K, d, generator=generator)
    features = torch.randn(N, d, generator=generator).mul_(0.3).add_(means[labels])
    sizes = [*[d] * M, K]
    weights = [
        torch.randn(sizes[m + 1], sizes[m], generator=generator, dtype=torch.float64) / sizes[m] ** 0.5
        for m in range(M)
    ]
    counts = ",".join(map(str, torch.bincount(labels, minlength=K).tolist()))
    problem = job_of(["model=ufm", f"counts=[{counts}]", f"model.width={d}", f"head.depth={M}"]).runs[0].problem
    head = Head(weights, torch.zeros(K, dtype=torch.float64))
    return FeatureProblem(features, labels, head, Objective.of(problem), predict(problem), predict(problem.balanced()))
