"""The features and logits of a user's model, batch by batch: the input and the output of its last layers."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ncrun.errors import UserError, nearest

Forward = Callable[[nn.Module, Any], Any]


def layer_of(model: nn.Module, layer: str | nn.Module) -> nn.Module:
    """The layer by its name in PyTorch. Raises UserError for a name that the model does not have."""
    if isinstance(layer, nn.Module):
        return layer
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if layer not in modules:
        linear = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
        words = f"its linear layers are {', '.join(linear)}" if linear else "it has no linear layer"
        raise UserError(f"layer={layer}: the model has no layer of that name; {words}{nearest(layer, modules)}")
    return modules[layer]


def forward_batch(model: nn.Module, batch: Any) -> Any:
    """Runs the model on a batch, (inputs, labels, ..) or a mapping with "labels", and returns the labels.
    Raises UserError for a batch of another kind."""
    if isinstance(batch, Mapping) and "labels" in batch:
        model(**{name: value for name, value in batch.items() if name != "labels"})
        return batch["labels"]
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        model(batch[0])
        return batch[1]
    raise UserError(
        f"loader: a batch is a {type(batch).__name__}; expected (inputs, labels) or a mapping with 'labels'; or give"
        " forward=, a function of model and batch that runs the model and returns the labels"
    )


def features_of(
    model: nn.Module, layer: nn.Module, loader: Iterable[Any], forward: Forward
) -> Iterator[tuple[Tensor, Any, Tensor]]:
    """Features (the layer's input), labels and logits (its output), batch by batch.

    Raises UserError if a forward pass does not use the layer exactly once, and for a loader that can be iterated only
    once.
    """
    if iter(loader) is loader:
        raise UserError(
            f"loader: is a {type(loader).__name__}, which can be iterated only once; give a DataLoader or a list"
        )
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    seen: list[tuple[Any, Any]] = []
    handle = layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    try:
        for batch in loader:
            seen.clear()
            labels = forward(model, _on(batch, device))
            if len(seen) != 1:
                raise UserError(f"layer: is used {len(seen)} times in a forward pass; the last layer must be used once")
            yield seen[0][0], labels, seen[0][1]
    finally:
        handle.remove()


@contextmanager
def undisturbed(model: nn.Module, loaders: Iterable[Any]) -> Iterator[None]:
    """Evaluation mode without gradients. Afterwards every module's mode and all random states are restored, also those
    of the loaders' generators."""
    modes = [(module, module.training) for module in model.modules()]
    devices = sorted({parameter.device.index for parameter in model.parameters() if parameter.is_cuda})
    generators = [found for loader in loaders for found in _generators(loader)]
    states = [generator.get_state() for generator in generators]
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (what users' data sets draw from)
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def _generators(loader: Any) -> Iterator[torch.Generator]:
    found = {}
    for owner in (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            found[id(generator)] = generator
    yield from found.values()


def _on(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: _on(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple | list):
        return [_on(value, device) for value in batch]
    return batch
