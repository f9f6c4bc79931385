"""ncrun: train networks to neural collapse, beside the geometry that the theorem predicts for exactly that run.

`ncrun.measure` measures a network that was trained elsewhere; it brings in PyTorch when it is first named.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncrun.measurement import Measurement, measure

__all__ = ["Measurement", "__version__", "measure"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in ("Measurement", "measure"):
        from ncrun import measurement

        return getattr(measurement, name)
    raise AttributeError(f"module 'ncrun' has no attribute '{name}'")
