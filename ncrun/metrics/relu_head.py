"""A head with a ReLU between its layers. Layer l = 1..L reads F_l: the features themselves for l = 1, after the ReLU of
the layer below from l = 2 on (Sukenik, Mondelli and Lampert 2023)."""

from torch import Tensor

from ncrun.metrics.scan import Head


def layer_inputs(features: Tensor, head: Head) -> tuple[list[Tensor], list[Tensor | None]]:
    """F_1 .. F_L, each (N, d_l), and the same before the ReLU (None for l = 1), in float64."""
    inputs: list[Tensor] = [features.double()]
    before: list[Tensor | None] = [None]
    for weight in head.weights[:-1]:
        raw = inputs[-1] @ weight.T
        before.append(raw)
        inputs.append(raw.relu())
    return inputs, before


def top_layer(head: Head) -> Head:
    """The last layer alone, which is a linear head on its input."""
    return Head(head.weights[-1:], head.bias)
