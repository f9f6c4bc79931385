"""The run directory: writes it, and reads it without torch."""

from ncrun.records.directory import RunDirectory
from ncrun.records.read import read_manifest, read_metrics, read_theory

__all__ = ["RunDirectory", "read_manifest", "read_metrics", "read_theory"]
