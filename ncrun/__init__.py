"""ncrun: train networks to neural collapse, beside the geometry that the theorem predicts for exactly that run."""

__version__ = "0.1.0"
