"""Deep neural collapse: the metrics of a head with a ReLU between its layers, layer by layer.

Layer l = 1..L reads F_l: the features themselves for l = 1, after the ReLU of the layer below from l = 2 on. In the
terms of Sukenik, Mondelli and Lampert 2023:
- head.l.*: what ncrun.metrics.layers says of F_l, read by W_l.
- head.l.pre_dnc2: dnc2 before that ReLU, from l = 2 on. The theorem has it for l >= 3 only.
- head.l.nc2_h: distance of the class means' Gram matrix to the prediction, where there is one (not for l = 1).
The top level (nc1, nc2_w, nc2_h, nc3, ...) is layer L: W = W_L, and its input.
"""

import torch
from torch import Tensor

from ncrun.metrics.collapse import Head, Metrics, Split, collapse_metrics
from ncrun.metrics.distance import shape_distance
from ncrun.metrics.layers import condition, layer_metrics
from ncrun.metrics.scatter import class_means
from ncrun.theory import Geometry


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


def relu_head_metrics(
    features: Tensor, labels: Tensor, head: Head, top: Split, target: Geometry, baseline: Geometry
) -> Metrics:
    """All metrics of the training split. top: the scan of F_L with the last layer."""
    whole = collapse_metrics(top, top_layer(head), target, baseline)
    found = {key: value for key, value in whole.items() if not key.startswith("head.")}
    K = len(head.bias)
    inputs, before = layer_inputs(features, head)
    for layer, (points, raw) in enumerate(zip(inputs, before, strict=True)):
        values, means = layer_metrics(points, labels, K, features.dtype, head.weights[layer])
        predicted = target.input_grams[layer] if target.input_grams else None
        gram = means.means @ means.means.T
        values["nc2_h"] = None if predicted is None else shape_distance(gram.cpu().numpy(), predicted)
        if raw is not None:
            singular = torch.linalg.svdvals(class_means(raw, labels, K).means)
            values["pre_dnc2"] = condition(singular, K, features.dtype)
        found |= {f"head.{layer + 1}.{key}": value for key, value in values.items()}
    return found
