"""Hydra's side: keys as they are given, the rules that fill in defaults or refuse values, and the resulting frozen Run.

`typed` is the list of overrides from the command line. An experiment's scale and grid are read only here. Nothing below
this room knows Hydra.
"""

from ncrun.config.resolve import resolve

__all__ = ["resolve"]
