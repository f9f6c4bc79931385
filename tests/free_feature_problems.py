"""Random problems of every kind that theory makes a claim about."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ncrun.targets import Targets
from ncrun.theory import Problem


def random_mse(rng: np.random.Generator) -> Problem:
    """A squared-loss setting: 2..6 classes up to 50:1, M = 1..5, unequal decays, bias or not, a bottleneck or not.

    The decays are drawn so that the largest class sits between far below and somewhat beyond its collapse.
    """
    K, M = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    counts = np.round(np.exp(rng.uniform(np.log(2), np.log(100), K)))
    widths = rng.integers(K, K + 3, M)
    kind = rng.random()
    if kind < 0.15:
        counts[:] = counts[0]
    elif kind < 0.5:
        widths[rng.integers(M)] = rng.integers(1, K)
    strength = np.exp(rng.uniform(np.log(0.01), np.log(0.7)))  # 0.2 to 1 is the border, depending on M
    typical_decay = strength * counts.max() ** (M / (M + 1)) / counts.sum()
    spread = rng.uniform(-1.5, 1.5, M + 1)
    decays = typical_decay * np.exp(spread - spread.mean())
    return Problem(
        loss="mse",
        counts=tuple(counts.tolist()),
        widths=tuple(widths.tolist()),
        bias=bool(rng.random() < 0.5),
        weight_decays=tuple(decays[1:].tolist()),
        feature_decay=float(decays[0]),
    )


def random_targets(rng: np.random.Generator) -> Problem:
    """Targets of 1..4 numbers, correlated and far from centred, for 6..14 samples: M = 1..4, unequal decays, bias or
    not, a bottleneck or not. The strongest direction sits between far below and somewhat beyond its collapse."""
    q, M, N = int(rng.integers(1, 5)), int(rng.integers(1, 5)), int(rng.integers(6, 15))
    bias = bool(rng.random() < 0.5)
    spread = np.exp(rng.uniform(-1.5, 1.5, q))
    moments = Targets.of(rng.standard_normal((N, q)) * spread @ rng.standard_normal((q, q)) + rng.standard_normal(q))
    widths = rng.integers(q, q + 3, M)
    if q > 1 and rng.random() < 0.3:
        widths[rng.integers(M)] = rng.integers(1, q)
    strongest = N * np.linalg.eigvalsh(moments.moment(bias))[-1]
    strength = np.exp(rng.uniform(np.log(0.01), np.log(0.7)))
    drawn = rng.uniform(-1.5, 1.5, M + 1)
    decays = strength * strongest ** (M / (M + 1)) / N * np.exp(drawn - drawn.mean())
    return Problem(
        loss="mse",
        counts=(),
        widths=tuple(widths.tolist()),
        bias=bias,
        weight_decays=tuple(decays[1:].tolist()),
        feature_decay=float(decays[0]),
        targets=moments,
    )


@dataclass(frozen=True)
class Kind:
    """A family of settings to draw from.

    classes, depths: smallest and largest. imbalance: largest over smallest class. beyond: strongest decays, in units of
    the squared loss' border, which deep cross-entropy survives for a while. options: entries of a `Problem` for loss
    and bias; each is in use in two of three settings or more, and at least one is.
    """

    loss: str
    classes: tuple[int, int]
    depths: tuple[int, int]
    imbalance: float = 1.0
    bias: bool = False
    feature_sign: str = "free"
    head: str = "linear"
    beyond: float = 1.3
    options: tuple[str, ...] = ()

    def draw(self, rng: np.random.Generator) -> Problem:
        """Layers as wide as K or a little wider, unequal decays from far below the largest class' collapse to beyond.

        The border is that of the squared loss with M layers; the other losses and heads are not far from it.
        """
        K, M = (int(rng.integers(low, high + 1)) for low, high in (self.classes, self.depths))
        smallest = rng.uniform(1, 20)
        counts = np.round(smallest * self.imbalance ** rng.uniform(0, 1, K))
        border = ((M - 1) / M) ** ((M - 1) / (M + 1)) / M
        far = rng.random() < 0.7
        strength = border * (np.exp(rng.uniform(np.log(0.01), np.log(0.8))) if far else rng.uniform(0.8, self.beyond))
        typical_decay = strength * counts.max() ** (M / (M + 1)) / counts.sum()
        spread = rng.uniform(-1.5, 1.5, M + 1)
        decays = typical_decay * np.exp(spread - spread.mean())
        problem = Problem(
            loss=self.loss,
            counts=tuple(counts.tolist()),
            widths=tuple((K + rng.integers(0, 3, M)).tolist()),
            bias=self.bias and bool(rng.random() < 0.5),
            weight_decays=tuple(decays[1:].tolist()),
            feature_decay=float(decays[0]),
            feature_sign=self.feature_sign,
            head=self.head,
        )
        return self.with_options(rng, problem) if self.options else problem

    def with_options(self, rng: np.random.Generator, problem: Problem) -> Problem:
        K = problem.num_classes
        drawn: dict[str, Any] = {
            "label_smoothing": float(np.exp(rng.uniform(np.log(1e-3), np.log(0.5)))),
            "class_weights": tuple(np.exp(rng.uniform(-1.5, 1.5, K)).tolist()),
            "logit_adjustment": float(rng.uniform(0.1, 2)),
            "bias_decay": float(np.exp(rng.uniform(np.log(1e-4), np.log(1)))),
        }
        always = self.options[int(rng.integers(len(self.options)))]
        used = [name for name in self.options if name == always or rng.random() < 2 / 3]
        if "bias_decay" in used and not problem.bias:
            problem = replace(problem, bias=True)
        return replace(problem, **{name: drawn[name] for name in used})


@dataclass(frozen=True)
class LimitKind:
    """Plain weight decay with a bias on features after a ReLU: 2 to 5 classes up to 100:1, some of equal size."""

    loss: str

    def draw(self, rng: np.random.Generator) -> Problem:
        K = int(rng.integers(2, 6))
        counts = np.round(rng.uniform(1, 20) * 100 ** rng.uniform(0, 1, K))
        if rng.random() < 0.5:
            counts[K // 2 :] = counts[-1]
        return Problem(self.loss, tuple(counts.tolist()), (K + 2,), True, (1e-3,), None, "parameters", "nonnegative")


def random_narrow(rng: np.random.Generator) -> Problem:
    """A layer of 1..K-2 units, one layer or more."""
    problem = Kind("ce", (3, 5), (1, 3), float(rng.choice([1, 20])), bias=True).draw(rng)
    widths = list(problem.widths)
    widths[int(rng.integers(len(widths)))] = int(rng.integers(1, problem.num_classes - 1))
    return replace(problem, widths=tuple(widths))


OPTIONS = ("label_smoothing", "class_weights", "logit_adjustment", "bias_decay")
BALANCED_OPTIONS = ("label_smoothing", "logit_adjustment", "bias_decay")

KINDS: dict[str, Callable[[np.random.Generator], Problem]] = {
    "mse": random_mse,
    "mse-relu-features": Kind("mse", (2, 6), (1, 3), 50, feature_sign="nonnegative").draw,
    "ce-balanced-1": Kind("ce", (2, 8), (1, 1), bias=True).draw,
    "ce-imbalanced": Kind("ce", (2, 8), (1, 1), 100, bias=True).draw,
    "ce-balanced-deep": Kind("ce", (2, 7), (2, 4), bias=True, beyond=5).draw,
    "ce-relu": Kind("ce", (2, 8), (1, 1), 100, feature_sign="nonnegative").draw,
    "ce-relu-bias": Kind("ce", (2, 6), (1, 1), 100, bias=True, feature_sign="nonnegative").draw,
    "mse-relu-bias": Kind("mse", (2, 6), (1, 1), 50, bias=True, feature_sign="nonnegative").draw,
    "ce-relu-limit": LimitKind("ce").draw,
    "mse-relu-limit": LimitKind("mse").draw,
    "relu-head-2": Kind("mse", (2, 2), (2, 5), head="relu").draw,
    "relu-head": Kind("mse", (3, 6), (2, 5), head="relu").draw,
    "ce-1-options": Kind("ce", (2, 8), (1, 1), bias=True, options=BALANCED_OPTIONS).draw,
    "ce-options": Kind("ce", (2, 8), (1, 1), 100, bias=True, options=OPTIONS).draw,
    "ce-deep-options": Kind("ce", (2, 7), (2, 4), bias=True, beyond=5, options=BALANCED_OPTIONS).draw,
    "ce-relu-options": Kind("ce", (2, 8), (1, 1), 100, feature_sign="nonnegative", options=OPTIONS[:3]).draw,
    "ce-relu-b-options": Kind("ce", (2, 6), (1, 1), 100, True, "nonnegative", options=OPTIONS).draw,
    "mse-relu-b-decay": Kind("mse", (2, 6), (1, 1), 50, True, "nonnegative", options=("bias_decay",)).draw,
    "mse-bias-decay": Kind("mse", (2, 6), (1, 4), bias=True, options=("bias_decay",)).draw,
    "mse-any-b-decay": Kind("mse", (2, 5), (1, 3), 50, bias=True, options=("bias_decay",)).draw,
    "mse-targets": random_targets,
    "ce-deep-imbalanced": Kind("ce", (2, 5), (2, 4), 50, bias=True, beyond=3).draw,
    "ce-narrow": random_narrow,
}


def random_setting(rng: np.random.Generator, kind: str = "mse") -> Problem:
    """A setting of one of the `KINDS`."""
    return KINDS[kind](rng)
