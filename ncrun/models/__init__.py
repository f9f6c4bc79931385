"""Models: a backbone that makes features and the deep head that reads them; or free features and a head.

Each file holds a family: its spec (torch-free) and how it is built. A user's own file adds a model by MODELS.add(its
spec).
"""

from ncrun.models.deep_linear import DeepLinear
from ncrun.models.densenet import DenseNet
from ncrun.models.free_features import DUFM, UFM, UFMReLU
from ncrun.models.mlp import MLP
from ncrun.models.own.spec import Module
from ncrun.models.resnet import ResNet18, ResNet20
from ncrun.models.spec import ModelSpec
from ncrun.models.vgg import VGG11, VGG16
from ncrun.registry import Registry

__all__ = ["MODELS", "ModelSpec"]

MODELS: Registry[ModelSpec] = Registry(
    "model",
    (
        MLP(),
        DeepLinear(),
        ResNet18(),
        ResNet20(),
        VGG11(),
        VGG16(),
        DenseNet(),
        Module(),
        UFM(),
        UFMReLU(),
        DUFM(),
    ),
)
