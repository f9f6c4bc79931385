"""Adds to older records: the problem, from their configuration and manifest, and missing entries of theory.json."""

from pathlib import Path
from typing import Any

from ncrun.errors import UserError
from ncrun.problem import Problem

# The features' dimension of convolutional networks of width 1.
FEATURES = {"resnet18": 512, "resnet20": 64, "vgg11": 512, "vgg16": 512}
DENSENET_GROWTH = 12
DENSENET_LAYERS = (6, 12, 24, 16)
PERCEPTRONS = ("mlp", "deep_linear")
FREE = ("ufm", "ufm_relu", "dufm")
# Entries that were added later; they are not known here.
THEORY: dict[str, Any] = {"data_term": None, "metastable": []}


def problem_of(config: dict[str, Any], manifest: dict[str, Any], path: Path) -> Problem:
    """config, manifest: of a checked record. Raises UserError for a model that older versions did not have."""
    model, head, decays = config["model"], config["head"], manifest["effective_decays"]
    width = _feature_width(model, path)
    hidden = head.get("width") or width
    is_relu_head = head.get("relu")  # a key that was added later
    if is_relu_head is None:
        is_relu_head = model["name"] == "dufm"
    return Problem(
        loss=config["loss"],
        counts=tuple(map(float, manifest["class_counts"])),
        widths=(width, *(hidden,) * (head["depth"] - 1)),
        bias=head["bias"],
        weight_decays=tuple(decays["weight"]),
        feature_decay=decays["feature"],
        decay_mode=config["decay"]["mode"],
        feature_sign="nonnegative" if _is_nonnegative(model) else "free",
        head="relu" if is_relu_head else "linear",
        free_features=model["name"] != "deep_linear",
    )


def _is_nonnegative(model: dict[str, Any]) -> bool:
    """Whether a ReLU, or a bound, keeps the features from being negative."""
    if model["name"] in FEATURES or model["name"] == "densenet":
        return not model.get("feature_norm", True)
    return model["name"] == "ufm_relu" or (model["name"] == "mlp" and model.get("features") == "relu")


def _feature_width(model: dict[str, Any], path: Path) -> int:
    name: str = model["name"]
    width: float | None = model.get("width")
    if name in FEATURES and width:
        return max(1, round(FEATURES[name] * width))
    if name == "densenet" and width:
        # Each layer adds this many channels, and each block is followed by halving.
        growth = max(1, round(DENSENET_GROWTH * width))
        channels = 2 * growth
        for block, layers in enumerate(DENSENET_LAYERS):
            channels = (channels if block == 0 else channels // 2) + layers * growth
        return channels
    if name in (*PERCEPTRONS, *FREE) and width:
        return int(width)
    raise UserError(f"{path}: has no problem.json, and model={name} does not give the dimension of its features")
