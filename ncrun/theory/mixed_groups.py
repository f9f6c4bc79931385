"""Cross-entropy over balanced classes: groups of several kinds, with biases and with logits across the kinds.

Extends ncrun.theory.group_structures, whose groups share nothing. The classes form kinds s = 1..T: m_s groups alike,
each a simplex or a circle of g_s classes with the gain beta_s, or n_s classes without a group. All n_s = m_s g_s
classes of a kind share the bias t_s and points u_s, v_s in r dimensions: a sample of kind s has the logit u_o . v_s of
every class of kind o. With the block's weights w_j, rates r_j and own logit d_s beta_s,
    CE_s = log(1 + sum_j w_j exp(-r_j beta_s) + (m_s - 1) g_s exp(-d_s beta_s)
               + sum_{o != s} n_o exp(-d_s beta_s + (u_o - u_s) . v_s + t_o - t_s))
               + d (d_s beta_s + u_s . v_s + t_s - sum_o n_o/K (u_o . v_s + t_o))
    value = sum_s (n_s/K) CE_s + lam_b/2 sum_s n_s t_s^2
               + C [sum_s m_s mult_s (scale_s sqrt(n) beta_s)^p + sum_i (sqrt(n) sigma_i)^p],
d the label smoothing, lam_b the bias' decay, p = 2/(M+1), C = (M+1)/2 Lambda^(1/(M+1)), and sigma_i the singular values
of the K x K matrix u_o . v_s: a block's rows and columns have the sum zero, so its singular values and those of the
logits across kinds stand side by side. Every such value is an upper bound on the optimum (docs/proofs.md, section 8).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncrun.theory.group_structures import LARGEST_GAIN, Block
from ncrun.theory.prediction import Array

LARGEST_EXPONENT = 600.0


@dataclass(frozen=True)
class Kind:
    """`groups` groups alike on `block`; with None, `groups` single classes, which have logits across kinds only."""

    block: Block | None
    groups: int

    @property
    def classes(self) -> int:
        return self.groups * (self.block.size if self.block else 1)


@dataclass(frozen=True)
class Mixture:
    """Kinds that make up all classes, and the rank r of the logits across them."""

    kinds: tuple[Kind, ...]
    rank: int = 0


@dataclass(frozen=True)
class Posed:
    """What the value depends on, beside the mixture. count: samples per class. penalty: C."""

    num_classes: int
    count: float
    penalty: float
    depth: int
    bias: bool
    smoothing: float = 0.0
    bias_decay: float = 0.0


def explicit(mixture: Mixture, point: Array) -> tuple[Array, Array]:
    """The logits (K, K) and the biases (K,) that a point of `Values` stands for, classes of a group side by side."""
    kinds = len(mixture.kinds)
    u, v = point[2 * kinds :].reshape(2, kinds, mixture.rank)
    of_class = np.repeat(np.arange(kinds), [kind.classes for kind in mixture.kinds])
    logits, at = (u @ v.T)[np.ix_(of_class, of_class)], 0
    for kind, log_gain in zip(mixture.kinds, point[:kinds], strict=True):
        for _ in range(kind.groups):
            size = kind.block.size if kind.block else 1
            if kind.block:
                gain = np.exp(np.minimum(log_gain, np.log(LARGEST_GAIN)))
                logits[at : at + size, at : at + size] += gain * kind.block.shape()
            at += size
    return logits, point[kinds : 2 * kinds][of_class]


class Values:
    """The values of B mixtures with equally many kinds T and one rank r, and their gradients.

    A point is (log beta, t, u, v), of T, T, T r and T r numbers.
    """

    def __init__(self, mixtures: list[Mixture], posed: Posed) -> None:
        kinds = [mixture.kinds for mixture in mixtures]
        shape = (len(mixtures), len(kinds[0]))
        terms = max((len(kind.block.rates) - 1 for row in kinds for kind in row if kind.block), default=0)
        self.rank, self.posed, self.power = mixtures[0].rank, posed, 2 / (posed.depth + 1)
        self.sizes = np.array([[kind.classes for kind in row] for row in kinds], dtype=float)
        self.share = self.sizes / posed.num_classes
        self.grouped = np.array([[kind.block is not None for kind in row] for row in kinds])
        self.weights, self.rates = np.zeros((2, *shape, terms))
        self.own, self.alike, self.price = np.zeros((3, *shape))
        self.across = posed.penalty * posed.count ** (self.power / 2)
        for at in np.ndindex(*shape):
            kind = kinds[at[0]][at[1]]
            self.alike[at] = kind.classes - (kind.block.size if kind.block else 1)
            if kind.block:
                inside = len(kind.block.rates) - 1
                self.weights[*at, :inside], self.rates[*at, :inside] = kind.block.weights[:-1], kind.block.rates[:-1]
                self.own[at] = kind.block.rates[-1]
                singular = kind.block.scale * posed.count**0.5
                self.price[at] = posed.penalty * kind.groups * kind.block.multiplicity * singular**self.power

    def __call__(self, x: Array, which: NDArray[np.intp]) -> tuple[Array, Array]:
        sizes, share, own, rates = self.sizes[which], self.share[which], self.own[which], self.rates[which]
        number, kinds = sizes.shape
        log_gain, t = x[:, :kinds], x[:, kinds : 2 * kinds]
        u, v = (part.reshape(number, kinds, self.rank) for part in np.split(x[:, 2 * kinds :], 2, axis=1))
        gain = np.where(self.grouped[which], np.exp(np.minimum(log_gain, np.log(LARGEST_GAIN))), 0.0)
        inside = self.weights[which] * np.exp(-rates * gain[..., None])
        same = self.alike[which] * np.exp(-own * gain)
        # [b, o, s]: the classes of kind o, beside the own one of a sample of kind s.
        cross = u @ v.transpose(0, 2, 1)
        scores = cross + t[:, :, None]
        beside = scores - np.diagonal(scores, axis1=1, axis2=2)[:, None] - (own * gain)[:, None]
        others = sizes[:, :, None] * np.exp(np.minimum(beside, LARGEST_EXPONENT)) * (1 - np.eye(kinds))
        total = 1 + inside.sum(axis=2) + same + others.sum(axis=1)
        paid = self.price[which] * gain**self.power
        smoothing, bias_decay = self.posed.smoothing, self.posed.bias_decay
        lifted = own * gain + np.diagonal(scores, axis1=1, axis2=2) - (share[:, :, None] * scores).sum(axis=1)
        values = (share * (np.log(total) + smoothing * lifted)).sum(axis=1) + paid.sum(axis=1)
        values = values + bias_decay / 2 * (sizes * t**2).sum(axis=1)
        flow = share[:, None] * others / total[:, None]
        flow = flow - np.eye(kinds) * flow.sum(axis=1)[:, None]  # the slope in the scores [b, o, s]
        flow = flow + smoothing * share[:, None] * (np.eye(kinds) - share[:, :, None])
        pulled = share * ((inside * rates).sum(axis=2) + own * (same + others.sum(axis=1))) / total
        pulled = pulled - smoothing * share * own
        by_gain = np.where(self.grouped[which], self.power * paid - gain * pulled, 0.0)
        by_bias = flow.sum(axis=2) + bias_decay * sizes * t if self.posed.bias else np.zeros_like(t)
        if self.rank:
            root = np.sqrt(sizes)
            left, singular, right = np.linalg.svd(root[:, :, None] * cross * root[:, None])
            singular = np.maximum(singular[:, : self.rank], 1e-12)  # with u or v at zero, where the slope has no limit
            values = values + self.across * (singular**self.power).sum(axis=1)
            weighted = left[:, :, : self.rank] * (self.across * self.power * singular ** (self.power - 1))[:, None]
            flow = flow + root[:, :, None] * (weighted @ right[:, : self.rank]) * root[:, None]
        by_points = [flow @ v, flow.transpose(0, 2, 1) @ u]
        return values, np.concatenate([by_gain, by_bias, *(part.reshape(number, -1) for part in by_points)], axis=1)
