"""L-BFGS (Liu and Nocedal 1989) on a device, in any dtype, whose state can be saved and restored to the bit.

scipy's, which is used for free features, cannot save its state; PyTorch's stops when float32 rounds changes of the
value away, although the gradient is still good.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# The usual constants of the Wolfe conditions: for the decrease and for the slope.
DECREASE, SLOPE = 1e-4, 0.9
# A step may raise the value by this many rounding errors, if the slope shows a decrease (Hager and Zhang 2005).
ROUNDINGS = 10.0
# Pairs with a curvature below rounding are dropped.
LEAST_CURVATURE = 1e-10
MOST_EVALUATIONS = 20
# Number of stored pairs of a step and a change of the gradient: as many as fit into these bytes, within the bounds.
# Deep heads under squared loss end two to three times nearer to the optimum with 60 than with 20 (docs/arrival.md).
FEWEST_PAIRS, MOST_PAIRS, BYTES_OF_PAIRS = 20, 60, 2**30
LONGER = 4.0
# Length of the first step, without knowledge of the curvature, relative to the norm of the point.
FIRST_STEP = 1e-3

# The state after the last step.
AT_REST: dict[str, Any] = {"pairs": [], "at_rest": True}

ValueAndGradient = Callable[[Tensor], tuple[float, Tensor]]


class LBFGS:
    """Minimises value_and_gradient, a function of points (P,).

    point, value, gradient: the current ones.
    """

    point: Tensor
    value: float
    gradient: Tensor

    def __init__(self, value_and_gradient: ValueAndGradient) -> None:
        self._of = value_and_gradient
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._at_rest = False

    def begin(self, point: Tensor) -> None:
        """Starts at a point; if a state was loaded, it must be the point of that state."""
        self.point = point
        self._pairs = [(step.to(point), change.to(point)) for step, change in self._pairs]
        self.value, self.gradient = self._of(point)

    def step(self) -> bool:
        """One iteration; returns whether it decreased the value or the slope. If not, no further decrease is
        possible."""
        while not self._at_rest:
            if self._search(self._direction()):
                return True
            self._at_rest = not self._pairs
            self._pairs = []
        return False

    def state_dict(self) -> dict[str, Any]:
        """The whole state except the point and its value and gradient."""
        return {"pairs": self._pairs, "at_rest": self._at_rest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state; then call `begin` with its point."""
        self._pairs, self._at_rest = list(state_dict["pairs"]), bool(state_dict["at_rest"])

    def _direction(self) -> Tensor:
        """Minus the inverse Hessian of the pairs times the gradient, in two loops."""
        direction = -self.gradient
        shares = []
        for step, change in reversed(self._pairs):
            share = step.dot(direction) / step.dot(change)
            shares.append(share)
            direction = direction - share * change
        if self._pairs:
            step, change = self._pairs[-1]
            direction = direction * (step.dot(change) / change.dot(change))
        else:
            lengths = self.point.norm(), direction.norm()
            direction = direction * (FIRST_STEP * lengths[0] / lengths[1].clamp(min=torch.finfo(direction.dtype).tiny))
        for (step, change), share in zip(self._pairs, reversed(shares), strict=True):
            direction = direction + (share - change.dot(direction) / step.dot(change)) * step
        return direction

    def _search(self, direction: Tensor) -> bool:
        """Line search for a point with a lower value and a flatter slope, or at least a lower value. Returns whether
        there is one."""
        slope = float(self.gradient.dot(direction))
        if not slope < 0:
            return False
        rounding = ROUNDINGS * torch.finfo(direction.dtype).eps * abs(self.value)
        # Brackets the point: at `near` the value is low enough and the slope negative; at `far` one of the two fails.
        near, far = (0.0, self.value, slope), None
        length, best = 1.0, None
        for _ in range(MOST_EVALUATIONS):
            point = self.point + length * direction
            value, gradient = self._of(point)
            there = float(gradient.dot(direction)) if math.isfinite(value) else math.inf
            low_enough = value <= self.value + DECREASE * length * slope + rounding
            if low_enough and abs(there) <= SLOPE * abs(slope):
                self._move(point, value, gradient)
                return True
            if low_enough and value < self.value and (best is None or value < best[1]):
                best = point, value, gradient
            if low_enough and there < 0:
                near = length, value, there
            else:
                far = length, value, there
            length = LONGER * length if far is None else _between(near, far)
        if best is not None:
            self._move(*best)
        return best is not None

    def _move(self, point: Tensor, value: float, gradient: Tensor) -> None:
        step, change = point - self.point, gradient - self.gradient
        if float(step.dot(change)) > LEAST_CURVATURE * float(step.norm() * change.norm()):
            self._pairs = [*self._pairs, (step, change)][-most_pairs(step.numel(), step.element_size()) :]
        self.point, self.value, self.gradient = point, value, gradient


def most_pairs(parameters: int, itemsize: int) -> int:
    """Number of stored pairs of vectors with so many parameters of itemsize bytes each."""
    fitting = BYTES_OF_PAIRS // (2 * parameters * itemsize)
    return min(max(FEWEST_PAIRS, fitting), MOST_PAIRS)


def _between(near: tuple[float, float, float], far: tuple[float, float, float]) -> float:
    """The minimum of the cubic through values and slopes of both ends, kept away from the ends; their midpoint if there
    is none. Each end: length, value, slope."""
    (a, value_a, slope_a), (b, value_b, slope_b) = near, far
    middle, margin = (a + b) / 2, 0.1 * abs(b - a)
    if not (math.isfinite(value_b) and math.isfinite(slope_b)):
        return a + 0.1 * (b - a)
    bend = slope_a + slope_b - 3 * (value_a - value_b) / (a - b)
    under = bend**2 - slope_a * slope_b
    if under < 0:
        return middle
    root = math.copysign(math.sqrt(under), b - a)
    below = slope_b - slope_a + 2 * root
    if below == 0:
        return middle
    found = b - (b - a) * (slope_b + root - bend) / below
    return min(max(found, min(a, b) + margin), max(a, b) - margin)
