"""Closed-form minimisers. numpy only: a prediction must be instant."""

from ncrun.problem import Problem
from ncrun.theory.geometry import Geometry, LayerTarget, Tie
from ncrun.theory.predict import predict

__all__ = ["Geometry", "LayerTarget", "Problem", "Tie", "predict"]
