"""`ncrun measure FILE.npz`: reads and measures the arrays of a network that was trained elsewhere."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncrun.commands.arguments import Parser, following
from ncrun.data.array_file import ArrayFile, NoArrays
from ncrun.errors import UserError
from ncrun.losses import LOSSES
from ncrun.losses.options import BALANCED

OPTIONAL = ("bias", "test_features")
KINDS = ("labels", "targets")


def measure(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status. Raises UserError."""
    parser = Parser(
        prog="ncrun measure",
        description="Measure the collapse of a network that was trained elsewhere, and compare it with the geometry"
        " that theory predicts for its counts and decays. FILE.npz holds features (N,d), labels (N,) and"
        " classifier (K,d), or classifier_1 .. classifier_M for a linear head of M layers (classifier_1"
        " reads the features). Optional: bias (K,), test_features and test_labels. Instead of labels it may hold"
        " targets (N,) or (N,K), which are numbers, and test_targets.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.npz")
    parser.add_argument(
        "--loss", choices=("mse", "ce"), default="mse", help="the loss it was trained with; default: mse"
    )
    parser.add_argument("--label-smoothing", type=float, default=0.0, metavar="X", help="for ce: in [0, 1); default: 0")
    parser.add_argument(
        "--class-weights", type=_weights, metavar="W", help="for ce: balanced, or W1,W2,..; default: all 1"
    )
    parser.add_argument("--logit-adjustment", type=float, default=0.0, metavar="X", help="for ce: tau; default: 0")
    parser.add_argument(
        "--decay-weight",
        type=_decays,
        metavar="X",
        help="lam_W, or X1,X2,.. for each layer; default: not known, only shapes are compared",
    )
    parser.add_argument("--decay-feature", type=float, metavar="X", help="lam_H; default: plain weight decay")
    parser.add_argument("--decay-bias", type=float, default=0.0, metavar="X", help="lam_b, with lam_H only; default: 0")
    sign = parser.add_mutually_exclusive_group()
    sign.add_argument("--relu-features", action="store_true", help="the features come out of a ReLU")
    sign.add_argument("--free-features", action="store_true", help="the features could be negative, even if none is")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(list(arguments))
    arrays = read_arrays(options.file)

    from ncrun import measuring

    found = measuring.measure(
        arrays["features"],
        arrays.get("labels"),
        arrays["classifier"],
        arrays.get("bias"),
        targets=arrays.get("targets"),
        loss=options.loss,
        label_smoothing=options.label_smoothing,
        class_weights=options.class_weights,
        logit_adjustment=options.logit_adjustment,
        decay_weight=options.decay_weight,
        decay_feature=options.decay_feature,
        decay_bias=options.decay_bias,
        nonnegative_features=True if options.relu_features else False if options.free_features else None,
        test=(arrays["test_features"], arrays["test"]) if "test" in arrays else None,
    )
    if options.json:
        import json

        print(json.dumps(found.as_json(), indent=1, allow_nan=False))
    else:
        print(found)
    return 0


def completions(word: str, before: str) -> list[str]:
    """What may follow in the shell."""
    numbers = ("--label-smoothing", "--logit-adjustment", "--decay-weight", "--decay-feature", "--decay-bias")
    values = (*numbers, "--relu-features", "--free-features", "--json")
    choices = {"--loss": LOSSES.keys(), "--class-weights": [BALANCED]}
    return following(word, before, {**choices, **dict.fromkeys(values, ())})


def read_arrays(path: Path) -> dict[str, Any]:
    """The arrays by name; `classifier` is a list W_1 .. W_M, `test` the labels or targets of the test split.

    Raises UserError if the file is not an .npz, holds Python objects, or lacks an array."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        return _arrays(path, ArrayFile(path))
    except NoArrays as error:
        raise UserError(f"{path}: {error}") from error


def _arrays(path: Path, file: ArrayFile) -> dict[str, Any]:
    names = list(file.headers)
    layers = _layers(path, names)
    kind = _kind(path, names)
    own = f"test_{kind}"
    wanted = ["features", kind, *layers, *(name for name in (*OPTIONAL, own) if name in names)]
    missing = [name for name in wanted if name not in names]
    if missing or not layers:
        lacking = ", ".join([*missing, *([] if layers else ["classifier"])])
        raise UserError(f"{path}: lacks {lacking}; it holds {', '.join(names) or 'nothing'}")
    if ("test_features" in names) != (own in names):
        raise UserError(f"{path}: test_features and {own} must both be there; it holds {', '.join(names)}")
    unknown = [name for name in names if name not in wanted]
    if unknown:
        raise UserError(
            f"{path}: holds {', '.join(unknown)}, which is none of features, {kind}, classifier (or"
            f" classifier_1 ..), {', '.join((*OPTIONAL, own))}"
        )
    arrays: dict[str, Any] = {name: file.read(name) for name in wanted}
    arrays["classifier"] = [arrays.pop(name) for name in layers]
    if own in arrays:
        arrays["test"] = arrays.pop(own)
    return arrays


def _kind(path: Path, names: Sequence[str]) -> str:
    """labels, or targets in their place."""
    found = [kind for kind in KINDS if kind in names]
    if len(found) > 1:
        raise UserError(f"{path}: holds labels and targets; one of them is measured")
    return found[0] if found else KINDS[0]


def _layers(path: Path, names: Sequence[str]) -> list[str]:
    """The names of W_1 .. W_M, in that order."""
    numbers = sorted(int(match[1]) for name in names if (match := re.fullmatch(r"classifier_([1-9]\d{0,2})", name)))
    if not numbers:
        return ["classifier"] if "classifier" in names else []
    if "classifier" in names:
        raise UserError(f"{path}: holds both classifier and classifier_{numbers[0]}; give one head")
    return [f"classifier_{m + 1}" for m in range(numbers[-1])]


def _weights(text: str) -> str | list[float]:
    return text if text == BALANCED else [float(part) for part in text.split(",")]


def _decays(text: str) -> float | list[float]:
    numbers = [float(part) for part in text.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers
