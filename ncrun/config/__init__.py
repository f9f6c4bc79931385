"""Hydra's side: keys as they are typed, the rules that fill in and refuse, and the frozen Run that comes of them.

What is typed is a list of overrides (`typed`), as on the command line. An experiment's scale and grid are read here and
nowhere else. Nothing below this room knows Hydra.
"""

from ncrun.config.resolve import resolve

__all__ = ["resolve"]
