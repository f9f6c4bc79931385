"""What is known of each data set without reading it. Torch-free: config and theory need class sizes at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSetFacts:
    """class_sizes: training samples per class, in label order. image_shape: (channels, height, width).

    mean, std: per channel, on pixels divided by `largest`; None: those of the training split, as it is read.
    class_names: in label order; None where nobody has named the classes.
    """

    class_sizes: tuple[int, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    largest: float = 255.0
    class_names: tuple[str, ...] | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_sizes)

    @property
    def holds_vectors(self) -> bool:
        """Whether a sample is a vector of numbers, one in each channel, rather than an image."""
        return self.image_shape[1:] == (1, 1)


# The released code of Dang et al. 2024 scales CIFAR-100 and SVHN to [0, 1] and no further, and has one pair of
# constants for MNIST and FashionMNIST; those of CIFAR-10 and EMNIST are those of Dang et al. 2023. Those of digits are
# computed from its own training split.
CATALOGUE = {
    "digits": DataSetFacts((143, 146, 142, 147, 145, 146, 145, 144, 140, 144), (1, 8, 8), (0.3051,), (0.3762,), 16.0),
    "mnist": DataSetFacts(
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949), (1, 28, 28), (0.1307,), (0.3081,)
    ),
    "fashion_mnist": DataSetFacts((6000,) * 10, (1, 28, 28), (0.1307,), (0.3081,)),
    "emnist_letters": DataSetFacts((4800,) * 26, (1, 28, 28), (0.1722,), (0.3309,)),
    "cifar10": DataSetFacts((5000,) * 10, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": DataSetFacts((500,) * 100, (3, 32, 32), (0.0,) * 3, (1.0,) * 3),
    "svhn": DataSetFacts(
        (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659), (3, 32, 32), (0.0,) * 3, (1.0,) * 3
    ),
}
