"""What is known of each data set without reading it. Torch-free: config and theory need class sizes at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSetFacts:
    """class_sizes: training samples per class, in label order. image_shape: (channels, height, width).

    mean, std: per channel, on pixels scaled to [0, 1].
    """

    class_sizes: tuple[int, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_sizes)


# MNIST and FashionMNIST share one pair of constants in the released code of Dang et al. 2024; CIFAR-10's are those of
# Dang et al. 2023 and 2024. Those of digits are computed from its own training split.
CATALOGUE = {
    "digits": DataSetFacts((143, 146, 142, 147, 145, 146, 145, 144, 140, 144), (1, 8, 8), (0.3051,), (0.3762,)),
    "mnist": DataSetFacts(
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949), (1, 28, 28), (0.1307,), (0.3081,)
    ),
    "fashion_mnist": DataSetFacts((6000,) * 10, (1, 28, 28), (0.1307,), (0.3081,)),
    "cifar10": DataSetFacts((5000,) * 10, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
