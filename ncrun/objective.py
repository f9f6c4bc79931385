"""The one objective of networks, free features and theory.

    L = data term + sum_m lam_W_m/2 ||W_m||^2 + lam_H/2 ||H||^2 + lam_b/2 ||b||^2,
    data term = 1/(2N) ||logits - Y||^2  or  1/N sum CE

The sum over the whole training set is the definition. On a mini-batch of actual size B the feature decay is scaled by
N/B, so that the expectation is the same objective for every batch size. With decay.mode=parameters the decay terms are
lam/2 ||theta||^2 on all parameters instead. Decay is always a term of the loss, never decoupled in the optimiser.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ncrun.losses import Loss, loss_of
from ncrun.problem import Problem


@dataclass(frozen=True)
class Objective:
    """weight_decays: lam_W_1 .. lam_W_M. feature_decay: lam_H, or None with decay_mode "parameters". bias_decay: lam_b
    of the last layer's bias, of decay_mode "features"."""

    loss: Loss
    decay_mode: str
    weight_decays: tuple[float, ...]
    feature_decay: float | None
    num_samples: int
    bias_decay: float = 0.0

    @classmethod
    def of(cls, problem: Problem) -> "Objective":
        """The objective of a run, whose optimum theory predicts for the problem."""
        decays = problem.weight_decays, problem.feature_decay
        return cls(loss_of(problem), problem.decay_mode, *decays, round(problem.num_samples), problem.bias_decay)

    def data_sum(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The data term for (B, K) logits, summed over samples (divide by B or N). labels: (B,), or (B, q) targets."""
        return self.loss.data_sum(logits, labels)

    def decayed(
        self, head_weights: Sequence[Tensor], bias: Tensor | None, parameters: Iterable[Tensor]
    ) -> list[tuple[Tensor, float]]:
        """The parameters with a decay term, and their decays. bias: of the head's last layer, or None. parameters: all,
        read only with decay_mode "parameters"."""
        if self.decay_mode == "parameters":
            return [(parameter, self.weight_decays[0]) for parameter in parameters]
        assert self.decay_mode == "features"
        found = list(zip(head_weights, self.weight_decays, strict=True))
        return [*found, (bias, self.bias_decay)] if bias is not None and self.bias_decay else found

    def penalty(
        self,
        head_weights: Sequence[Tensor],
        bias: Tensor | None,
        parameters: Iterable[Tensor],
        feature_norm_sq: Tensor | float,
    ) -> Tensor | float:
        """The decay terms, of `decayed` and of the features. feature_norm_sq: ||H||^2 over the whole training set, or
        its estimate from a batch."""
        total = sum(decay / 2 * each.square().sum() for each, decay in self.decayed(head_weights, bias, parameters))
        return total if self.feature_decay is None else total + self.feature_decay / 2 * feature_norm_sq

    def scaled(self, factor: float) -> "Objective":
        """The same with all decays times a factor."""
        feature = None if self.feature_decay is None else self.feature_decay * factor
        weights = tuple(decay * factor for decay in self.weight_decays)
        return replace(self, weight_decays=weights, feature_decay=feature, bias_decay=self.bias_decay * factor)

    def on_batch(
        self,
        logits: Tensor,
        labels: Tensor,
        features: Tensor,
        head_weights: Sequence[Tensor],
        bias: Tensor | None,
        parameters: Iterable[Tensor],
    ) -> Tensor:
        """The loss of one step, whose expectation over batches is the objective.

        logits, features: (B, K) and (B, d).
        """
        B = len(labels)
        feature_norm_sq = features.square().sum() * (self.num_samples / B)
        total = self.data_sum(logits, labels) / B + self.penalty(head_weights, bias, parameters, feature_norm_sq)
        assert isinstance(total, torch.Tensor)
        return total
