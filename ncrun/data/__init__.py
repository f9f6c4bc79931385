"""Data sets: facts that need no reading, the choice of a run's samples, and the tensors on the device.

Imports here are torch-free. A user's own file adds a data set by SOURCES.add(its source).
"""

from ncrun.data.source import DataSetFacts, Source
from ncrun.data.sources.cifar import CIFAR10, CIFAR100
from ncrun.data.sources.digits import Digits
from ncrun.data.sources.emnist import EMNISTLetters
from ncrun.data.sources.image_folder import ImageFolder
from ncrun.data.sources.mnist import MNIST, FashionMNIST
from ncrun.data.sources.npz import Npz
from ncrun.data.sources.regression import Diabetes, Linnerud
from ncrun.data.sources.svhn import SVHN
from ncrun.registry import Registry

__all__ = ["SOURCES", "DataSetFacts", "Source"]

SOURCES: Registry[Source] = Registry(
    "dataset",
    (
        Digits(),
        MNIST(),
        FashionMNIST(),
        EMNISTLetters(),
        CIFAR10(),
        CIFAR100(),
        SVHN(),
        ImageFolder(),
        Npz(),
        Diabetes(),
        Linnerud(),
    ),
)
