"""What ncrun must know of a model without building it. Torch-free: theory needs its widths, and `ncrun help` its keys.

A family of models is one file: a frozen dataclass made from `ModelSpec`, whose fields are the keys model.* with their
defaults and whose docstring is their help, and the network itself, built by `backbone`. An instance with the defaults
is the model's entry in `ncrun.models.MODELS`; the instance with a run's values says everything of that run's model.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelSpec(ABC):
    """name: what users type as model=.

    words: what captions call it. is_free: the features are parameters themselves, so that there is neither a data set
    nor a backbone. needs_images: vectors of numbers will not do. smallest_image: the least height and width it takes.
    attains_optimum: False where the backbone cannot place its features at will: theory's optimum is then only a bound.
    orthogonal_head: initial weights of a linear head are orthogonal, as released with the MLPs of Dang et al. 2023.
    relu_head: a ReLU stands between the layers of its head, unless told otherwise. default_loss, default_depth,
    default_optimizer: what is taken where nothing is typed; no optimizer: the one of every other model.
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
        """What a run's record calls its network."""
        return self.words

    @property
    @abstractmethod
    def feature_width(self) -> int:
        """d, the dimension of the features that the head reads."""

    @property
    def feature_sign(self) -> str:
        """Whether a ReLU, or a bound, keeps the features from being negative: "nonnegative" or "free"."""
        return "free"

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch needs two samples."""
        return False

    def check(self) -> None:  # noqa: B027 -- most values need none
        """Raises UserError, naming model.<key>, for a value that makes no such network."""

    def check_head(self, depth: int, relu: bool) -> None:  # noqa: B027
        """Raises UserError for a head that does not go with this model: `depth` layers, a ReLU between them or not."""

    def num_parameters(self, image_shape: tuple[int, int, int]) -> int:
        """About how many the backbone has, known before it is built; 0 where nobody can say."""
        return 0

    def backbone(self, image_shape: tuple[int, int, int]) -> "nn.Module":
        """The network from (B, *image_shape) to (B, feature_width), with initial weights from torch's global random
        state. Its layers are named; under these names they can be tapped."""
        raise NotImplementedError(f"model={self.name} has no backbone")

    def parts(
        self, image_shape: tuple[int, int, int], num_classes: int
    ) -> "tuple[nn.Module, Sequence[nn.Linear] | None]":
        """The backbone, and the layers of its own head, the one that reads the features first; None: ncrun's head."""
        return self.backbone(image_shape), None
