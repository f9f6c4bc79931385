"""Closed-form minimisers. numpy only: a prediction must be instant."""

from ncrun.theory.geometry import Geometry, LayerTarget, Tie
from ncrun.theory.predict import predict
from ncrun.theory.setting import Setting

__all__ = ["Geometry", "LayerTarget", "Setting", "Tie", "predict"]
