"""The choices of model, dataset and optimizer, handed to Hydra: what is registered is what can be typed."""

from dataclasses import asdict
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ncrun.data import SOURCES
from ncrun.models import MODELS, ModelSpec
from ncrun.run import OPTIMIZERS


def store_choices() -> None:
    """Make every registered model, data set and optimiser a choice of its group, with its defaults."""
    store = ConfigStore.instance().store
    for model in MODELS:
        store(group="model", name=model.key, node=_model_node(model), provider="ncrun")
    for source in SOURCES:
        store(group="dataset", name=source.key, node=asdict(source), provider="ncrun")
    for optimizer in OPTIMIZERS.values():
        store(group="optimizer", name=optimizer.name, node=asdict(optimizer), provider="ncrun")


def _model_node(model: ModelSpec) -> Any:
    node: dict[str, Any] = asdict(model)
    if "args" in node:  # of a stranger's network, whose keys are its own
        opened = OmegaConf.create(node)
        OmegaConf.set_struct(opened.args, False)
        return opened
    if model.default_optimizer is not None:  # unless one is typed
        node = {"defaults": [{"override /optimizer@_global_.optimizer": model.default_optimizer}], **node}
    return node
