"""The losses that a network can be trained with: one file each, and only what knows a loss from the inside lives there.

No torch import here or below: theory reads the same losses. On tensors they use the tensors' own methods.
"""

from ncrun.losses.cross_entropy import CrossEntropy
from ncrun.losses.loss import Loss
from ncrun.losses.options import Options, in_words
from ncrun.losses.squared import SquaredLoss
from ncrun.problem import Problem
from ncrun.registry import Registry

__all__ = ["LOSSES", "CrossEntropy", "Loss", "Options", "SquaredLoss", "described", "loss_of", "words_of"]

LOSSES: Registry[Loss] = Registry("loss", (SquaredLoss(), CrossEntropy()))


def loss_of(problem: Problem) -> Loss:
    """The problem's loss, with its options. Raises UserError for one that is not registered."""
    return LOSSES[problem.loss].with_options(problem)


def words_of(key: str) -> str:
    """A loss in plain words; its key where nothing of that name is registered, as in a record of somebody else's."""
    return LOSSES[key].words if key in LOSSES else key


def described(problem: Problem) -> str:
    """The problem's loss and its options in plain words, such as "cross-entropy with label smoothing 0.1"."""
    options = " and ".join(in_words(problem))
    return words_of(problem.loss) + (f" with {options}" if options else "")
