"""The losses that a network can be trained with, one file each. Everything specific to a loss is in its file.

Nothing here imports torch, because theory uses the same losses. On tensors they call the tensors' own methods.
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
    """The problem's loss, with its options. Raises UserError for an unregistered loss."""
    return LOSSES[problem.loss].with_options(problem)


def words_of(key: str) -> str:
    """A loss in plain words; its key if no loss of that name is registered, as with a record from somebody else."""
    return LOSSES[key].words if key in LOSSES else key


def described(problem: Problem) -> str:
    """The problem's loss and its options in plain words, such as "cross-entropy with label smoothing 0.1"."""
    options = " and ".join(in_words(problem))
    return words_of(problem.loss) + (f" with {options}" if options else "")
