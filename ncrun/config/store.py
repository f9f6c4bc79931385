"""The choices of model, dataset and optimizer, handed to Hydra: what is registered is what can be typed."""

from dataclasses import asdict
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ncrun.data import SOURCES
from ncrun.models import MODELS, ModelSpec
from ncrun.run import OPTIMIZERS


def store_choices() -> None:
    """Make every registered model, data set and optimiser a choice of its group, with its defaults, and no other one:
    what a user's file added to a registry may have been taken out again."""
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
    if "args" in node:  # of a stranger's network, whose keys are its own
        opened = OmegaConf.create(node)
        OmegaConf.set_struct(opened.args, False)
        return opened
    if model.default_optimizer is not None:  # unless one is typed
        node = {"defaults": [{"override /optimizer@_global_.optimizer": model.default_optimizer}], **node}
    return node
