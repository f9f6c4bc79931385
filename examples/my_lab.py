"""Your own laboratory in one file: a loss, a network, a data set, a metric and a figure that ncrun does not have.

    ncrun train extend=[examples/my_lab.py] dataset=blobs model=small_cnn loss=smoothed
    ncrun figures my-lab --extend examples/my_lab.py

The second line draws the experiment beside this file, experiment/my-lab.yaml. Here a network has its own name, keys and
checks; for a plain class use model=module, see nets.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

import ncrun

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from ncrun.records.read import Record

SMOOTHING = 0.1


class SmoothedCrossEntropy(ncrun.Loss):
    """Cross-entropy to labels that give every class the same share. No theorem covers it, so the claim is `none`."""

    key = "smoothed"
    words = "label-smoothed cross-entropy"

    def data_sum(self, logits: "Tensor", labels: "Tensor") -> "Tensor":
        logs = logits.log_softmax(dim=1)
        own = logs.gather(1, labels[:, None]).sum()
        return -(1 - SMOOTHING) * own - SMOOTHING * logs.mean(dim=1).sum()

    def on_class_means(self, scores: np.ndarray) -> np.ndarray:
        highest = scores.max(axis=0)
        logs = scores - highest - np.log(np.exp(scores - highest).sum(axis=0))
        return np.asarray(-(1 - SMOOTHING) * np.diag(logs) - SMOOTHING * logs.mean(axis=0))


@dataclass(frozen=True)
class SmallCNN(ncrun.ModelSpec):
    """Two convolutions and a mean over all positions. width: channels of the second, twice those of the first."""

    name: str = "small_cnn"
    width: int = 16

    words: ClassVar[str] = "small CNN"
    needs_images: ClassVar[bool] = True
    smallest_image: ClassVar[int] = 4

    @property
    def feature_width(self) -> int:
        return self.width

    @property
    def feature_sign(self) -> str:
        return "nonnegative"  # a mean of ReLU outputs

    def check(self) -> None:
        if self.width < 2:
            raise ncrun.UserError(f"model.width={self.width}: must be at least 2")

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        from torch import nn  # imported here, because `ncrun theory` needs no torch

        first = self.width // 2
        return nn.Sequential(
            nn.Conv2d(image_shape[0], first, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


@dataclass(frozen=True)
class Blobs(ncrun.Source):
    """Images of 8 x 8 pixels: four fixed patterns with noise; 60 training and 20 test images of each."""

    name: str = "blobs"
    words: ClassVar[str] = "noisy blobs"

    @property
    def facts(self) -> ncrun.DataSetFacts:
        return ncrun.DataSetFacts((60,) * 4, (1, 8, 8))  # mean and deviation: of the training split

    def read(self, folder: Path) -> tuple[ncrun.LabelledImages, ncrun.LabelledImages]:
        rng = np.random.default_rng(0)
        patterns = rng.uniform(50, 200, (4, 1, 8, 8))

        def split(number: int) -> ncrun.LabelledImages:
            labels = np.repeat(np.arange(4), number)
            noisy = patterns[labels] + rng.normal(0, 25, (len(labels), 1, 8, 8))
            return ncrun.LabelledImages(noisy.clip(0, 255).astype(np.uint8), labels)

        return split(60), split(20)


def effective_rank(layer: Any) -> float | None:
    """exp of the entropy of the singular values' shares (Roy and Vetterli 2007)."""
    total = float(layer.singular_values.sum())
    if total == 0:
        return None  # not determined; a number is never invented
    shares = layer.singular_values / total
    shares = shares[shares > 0]
    return float((-(shares * shares.log()).sum()).exp())


def rank_figure(records: Sequence["Record"]) -> "Figure":
    """The effective rank of the class means over epochs, a line for each run."""
    from ncrun.figures import panels

    figure, axes = panels.grid(1, 1, height=2.6)
    for record in records:
        label = f"loss {record.config['loss']}, seed {record.config['seed']}"
        axes[0, 0].plot(record.metrics["epoch"], record.metrics["effective_rank"], label=label)
    axes[0, 0].set(xlabel="epoch", ylabel="effective rank of the class means")
    axes[0, 0].legend()
    return figure


ncrun.register(SmoothedCrossEntropy())
ncrun.register(SmallCNN())
ncrun.register(Blobs())
ncrun.register(
    ncrun.Metric(
        key="effective_rank",
        words="effective rank of the class means",
        latex=r"$\mathrm{erank}(\bar H)$",
        definition="exp of the entropy of the class means' singular values, as shares of their sum",
        function=effective_rank,
        levels=("run", "head", "test"),
    )
)
ncrun.register(ncrun.Drawing("effective-rank", rank_figure))
