"""Closed-form minimisers. numpy only: a prediction must be instant.

Each file holds one theory and its `Theorem`s, which state the problems that they cover; predict.py asks them all.
"""

from ncrun.problem import Problem
from ncrun.theory.predict import THEOREMS, predict
from ncrun.theory.prediction import LayerTarget, Prediction, Tie
from ncrun.theory.theorem import Condition, Theorem

__all__ = ["THEOREMS", "Condition", "LayerTarget", "Prediction", "Problem", "Theorem", "Tie", "predict"]
