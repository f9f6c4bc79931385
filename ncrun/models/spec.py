"""The spec of a model: what ncrun must know without building it. Torch-free: theory needs its widths, the help its
keys.

A family of models is one file: a frozen dataclass made from `ModelSpec`, whose fields are the keys model.* with their
defaults and whose docstring is their help, and the network itself, built by `backbone`. An instance with the defaults
is the model's entry in `ncrun.models.MODELS`; an instance with a run's values describes that run's model.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec(ABC):
    """name: the value of model=.

    words: its name in captions. is_free: whether the features are parameters themselves, without data set and backbone.
    needs_images: whether inputs must be images, not vectors. smallest_image: the least height and width that it takes.
    attains_optimum: False if the backbone cannot place its features freely, so that theory's optimum is only a bound.
    orthogonal_head: whether the initial weights of a linear head are orthogonal, as in the code of Dang et al. 2023 for
    MLPs. relu_head: whether its head has ReLUs between the layers by default. default_loss, default_depth,
    default_optimizer: its defaults; None: those of all models.
    """

    name: str

    words: ClassVar[str]
    is_free: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    smallest_image: ClassVar[int] = 1
    attains_optimum: ClassVar[bool] = True
    orthogonal_head: ClassVar[bool] = False
    relu_head: ClassVar[bool] = False
    default_loss: ClassVar[str] = "mse"
    default_depth: ClassVar[int] = 1
    default_optimizer: ClassVar[str | None] = None

    @property
    def key(self) -> str:
        """Its name in the registry."""
        return self.name

    @property
    def title(self) -> str:
        """Its name in a run's record."""
        return self.words

    @property
    @abstractmethod
    def feature_width(self) -> int:
        """d, the dimension of the features that the head reads."""

    @property
    def feature_sign(self) -> str:
        """ "nonnegative" if a ReLU or a bound keeps the features from being negative, else "free"."""
        return "free"

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch needs two samples."""
        return False

    def check(self) -> None:  # noqa: B027 -- most values need none
        """Raises UserError, naming model.<key>, for an invalid value."""

    def check_head(self, depth: int, relu: bool) -> None:  # noqa: B027
        """Raises UserError if this model cannot have a head of `depth` layers, or with a ReLU between them."""

    def num_parameters(self, image_shape: tuple[int, int, int]) -> int:
        """The approximate number of the backbone's parameters, known without building it; 0 if not known."""
        return 0

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        """The network from (B, *image_shape) to (B, feature_width), with initial weights from torch's global random
        state. Its layers can be tapped by their names."""
        raise NotImplementedError(f"model={self.name} has no backbone")

    def parts(
        self, image_shape: tuple[int, int, int], num_classes: int
    ) -> "tuple[nn.Module, Sequence[nn.Linear] | None]":
        """The backbone, and the layers of its own head, beginning with the one that reads the features; None: ncrun's
        head."""
        return self.backbone(image_shape), None
