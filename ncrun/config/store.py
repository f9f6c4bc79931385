"""Gives Hydra the choices of model, dataset and optimizer from the registries."""

from dataclasses import asdict
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ncrun.data import SOURCES
from ncrun.models import MODELS, ModelSpec
from ncrun.run import OPTIMIZERS


def store_choices() -> None:
    """Makes exactly the registered models, data sets and optimisers choices of their groups, with their defaults.
    Entries of a user's file may have been removed from a registry again."""
    nodes = {
        "model": {model.key: _model_node(model) for model in MODELS},
        "dataset": {source.key: asdict(source) for source in SOURCES},
        "optimizer": {optimizer.name: asdict(optimizer) for optimizer in OPTIMIZERS.values()},
    }
    store = ConfigStore.instance()
    for group, of_group in nodes.items():
        before = store.repo.get(group, {})
        for name in [name for name, node in before.items() if getattr(node, "provider", None) == "ncrun"]:
            del before[name]
        for key, node in of_group.items():
            store.store(group=group, name=key, node=node, provider="ncrun")


def _model_node(model: ModelSpec) -> Any:
    node: dict[str, Any] = asdict(model)
    if "args" in node:  # of a user's network, which has its own keys
        opened = OmegaConf.create(node)
        OmegaConf.set_struct(opened.args, False)
        return opened
    if model.default_optimizer is not None:  # unless one is given
        node = {"defaults": [{"override /optimizer@_global_.optimizer": model.default_optimizer}], **node}
    return node
