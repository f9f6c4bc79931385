"""The one exception that ends a command with a single line and exit status 2."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can fix. The message is one line with the key, the value and the choices.

    It is a ValueError, as Python users expect for a bad argument. Code that catches a library's ValueErrors must let it
    pass first.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # messages of libraries may have several lines


def printable(text: str) -> str:
    """Text that is safe in a terminal: control characters are written out, such as \\x1b."""
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


# Words that users of other tools may type, and ncrun's words for them.
SYNONYMS = {
    "learning_rate": "optimizer.lr",
    "weight_decay": "decay.weight",
    "wd": "decay.weight",
    "lam_w": "decay.weight",
    "lambda_w": "decay.weight",
    "lam_h": "decay.feature",
    "lambda_h": "decay.feature",
    "feature_decay": "decay.feature",
    "num_epochs": "epochs",
    "bs": "batch_size",
    "batch": "batch_size",
    "data": "dataset",
    "backbone": "model",
    "arch": "model",
    "network": "model",
    "layers": "head.depth",
    "depth": "head.depth",
    "bias": "head.bias",
    "output": "run_dir",
    "out_dir": "run_dir",
    "output_dir": "run_dir",
    "num_workers": "threads",
    "imbalance_ratio": "imbalance",
    "crossentropy": "ce",
    "cross_entropy": "ce",
    "xent": "ce",
    "squared": "mse",
    "l2": "mse",
    "accuracy": "train_accuracy",
    "acc": "train_accuracy",
    "nc2": "nc2_w",
    "etf": "etf_w",
}


def nearest(word: str, choices: Iterable[str]) -> str:
    """'; did you mean X?', or '' if no choice is near. A choice is near by its letters, as the last part of a dotted
    key, or as another tool's word."""
    known = list(choices)
    plain = word.lower().replace("-", "_")
    called = SYNONYMS.get(plain) or SYNONYMS.get(plain.rpartition(".")[2])
    found = (
        [each for each in known if each.lower() == plain]
        or [each for each in known if each == called]
        or [each for each in known if each.rpartition(".")[2] == plain]
        or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    )
    return f"; did you mean '{found[0]}'?" if found else ""
