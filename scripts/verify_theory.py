"""Compares the predictions of theory with a numerical search on random problems of every kind, and prints the errors.

The exit status is 1 in these cases. Proven or certified: the best value found is not the claimed one, a start went
below it, or the matrices differ. A lower bound: a start went below it. Refuted: the known lower value is not lower.
Open: a start went below the proven lower bound, if there is one. Values below an open claim would be discoveries, and
are listed.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from free_feature_problems import KINDS, random_setting
from free_features import Array, Instance, Point
from least_norm_search import search as least_norm

from ncrun.theory import Prediction, predict
from ncrun.theory.directions import Directions

LARGEST_ERROR = 1e-6  # the search stops at a small gradient, not at the exact optimum
LARGEST_UNDERCUT = 1e-8  # only rounding: no value is below a claimed minimum
LARGEST_DISTANCE = 1e-3  # the root of LARGEST_ERROR: near an optimum matrices are determined to the root of its value
NEAR_COLLAPSE = 0.05  # so close to a threshold the optimum is flat, or two optima are almost equal


@dataclass
class Tally:
    """The results of all settings of one kind and one claim. below: settings with a search below the lowest value."""

    settings: int = 0
    collapsed: int = 0
    searches: int = 0
    error: float = 0.0
    undercut: float = 0.0
    compared: int = 0
    distance: float = 0.0
    gap: float = 0.0
    below: int = 0

    def row(self, kind: str, claim: str) -> str:
        """One line of the table, empty where nothing was compared."""
        sure = claim in ("proven", "certified", "transferred")
        cells = [f"{kind:19}{claim:11}{self.settings:8}{self.collapsed:10}{self.searches:9}"]
        cells.append(f"{self.error:10.1e}{self.undercut:10.1e}" if claim != "none" else " " * 20)
        cells.append(f"{self.distance:10.1e} ({self.compared})" if self.compared else "")
        notes = f"largest duality gap {self.gap:.1e}" if claim == "certified" else ""
        if not sure and claim != "none":
            lowest = "the best known value" if claim == "refuted" else "the claim"
            notes = f"{self.below} of {self.settings} searches below {lowest}"
        return f"{''.join(cells):93}{notes}".rstrip()


def distance(found: Array, target: Array) -> float:
    """Relative to the target's norm: of the shape and of its scale."""
    return float(np.linalg.norm(found - target) / np.linalg.norm(target))


def gram(matrix: Array) -> Array:
    return np.asarray(matrix.T @ matrix)


def matrix_distances(geometry: Prediction, best: Point, targets: Array | None) -> list[float]:
    """Of the logits and of every Gram matrix that the claim determines; none near a threshold, none of zeros."""
    if geometry.directions is not None and targets is not None:
        return direction_distances(geometry, geometry.directions, best, targets)
    borders = geometry.decay_to_collapse
    if not geometry.determined or geometry.logits is None or not np.linalg.norm(geometry.logits) > 0:
        return []
    if borders is not None and np.any(np.abs(borders - 1) < NEAR_COLLAPSE):
        return []
    first = geometry.problem.depth - len(geometry.layers)  # a ReLU head has a target for its last layer only
    pairs = [(best.logits(), geometry.logits)]
    for m, layer in enumerate(geometry.layers, start=first):
        pairs += [(gram(best.suffix(m).T), layer.weight_gram), (gram(best.layer_input(m)), layer.feature_gram)]
    for m, target in enumerate(geometry.input_grams):
        pairs += [(gram(best.layer_input(m)), target)] if target is not None else []
    return [distance(found, target) for found, target in pairs]


def direction_distances(geometry: Prediction, found: Directions, best: Point, targets: Array) -> list[float]:
    """The same for a problem with targets, (q, N)."""
    assert geometry.bias is not None
    if not found.kept.any() or np.any(np.abs(found.decay_to_collapse - 1) < NEAR_COLLAPSE):
        return []
    centred = targets - geometry.bias[:, None]
    pairs = [(best.logits(), found.output_map() @ centred)]
    for m in range(geometry.problem.depth):
        pairs.append((gram(best.suffix(m).T), found.weight_gram(m)))
        pairs.append((gram(best.layer_input(m)), gram(found.feature_root(m) @ centred)))
    return [distance(measured, target) for measured, target in pairs]


def check(kind: str, rng: np.random.Generator, tallies: dict[str, Tally]) -> list[str]:
    """Searches one random setting and adds it to its claim's tally. Returns messages: failures and discoveries."""
    problem = random_setting(rng, kind)
    geometry = predict(problem)
    if problem.decay_mode == "parameters":
        return check_limit(geometry, rng, tallies)
    instance = Instance.of(problem, rng)
    found = instance.search(rng, geometry.logits)
    tally = tallies.setdefault(geometry.claim, Tally())
    tally.settings += 1
    tally.searches += len(found)
    tally.collapsed += any(geometry.collapsed()) or (geometry.directions is not None and 0 in geometry.directions.kept)
    if geometry.objective is None:
        return []
    relative = found[0].value / geometry.objective - 1
    tally.error, tally.undercut = max(tally.error, abs(relative)), max(tally.undercut, -relative)
    lowest = geometry.best_known if geometry.claim == "refuted" else None
    lowest_value = geometry.objective if lowest is None else lowest.objective
    assert lowest_value is not None
    below = 1 - found[0].value / lowest_value
    tally.below += below > LARGEST_UNDERCUT
    if geometry.claim in ("proven", "certified"):
        distances = matrix_distances(geometry, found[0], instance.targets)
        tally.compared += bool(distances)
        tally.distance = max(tally.distance, *distances, 0.0)
        tally.gap = max(tally.gap, (geometry.duality_gap or 0.0) / geometry.objective)
        wrong = abs(relative) > LARGEST_ERROR or -relative > LARGEST_UNDERCUT
        if wrong or max(distances, default=0.0) > LARGEST_DISTANCE:
            return [f"FAILED: relative error {relative:.1e}, distance {max(distances, default=0.0):.1e} at {problem}"]
    if geometry.lower_bound is not None and found[0].value < geometry.lower_bound * (1 - LARGEST_UNDERCUT):
        return [f"FAILED: {found[0].value} is below the proven lower bound {geometry.lower_bound}, at {problem}"]
    if geometry.claim == "none" and -relative > LARGEST_UNDERCUT:
        return [f"FAILED: {relative:.1e} below what is said to be a lower bound, at {problem}"]
    if geometry.claim == "refuted" and not lowest_value < geometry.objective:
        return [f"FAILED: refuted by {lowest_value}, which is not below {geometry.objective}, at {problem}"]
    if geometry.claim == "open" and below > LARGEST_UNDERCUT:
        shape = f"K={problem.num_classes} M={problem.depth} n={problem.counts[0]:g} bias={problem.bias}"
        return [
            f"{kind} {shape}: {found[0].value:.8g} found, {below:.1e} below the open claim {geometry.objective:.8g}"
        ]
    return []


def check_limit(geometry: Prediction, rng: np.random.Generator, tallies: dict[str, Tally]) -> list[str]:
    """The same for a limit at vanishing decay. It has no objective; the trace of a Gram matrix, which is the least
    norm, replaces it."""
    problem = geometry.problem
    counts = np.array(problem.counts)
    tally = tallies.setdefault(geometry.claim, Tally())
    tally.settings += 1
    if not geometry.layers or geometry.logits is None:
        return []
    found = least_norm(problem.loss, counts, rng)
    layer, root = geometry.layers[0], np.sqrt(counts)
    relative = found.value / float(np.trace(layer.weight_gram)) - 1
    pairs = [
        (gram(found.W.T), layer.weight_gram),
        (gram(found.H / root), layer.feature_gram),
        (found.W @ found.H / root, geometry.logits),
    ]
    farthest = max(distance(measured, target) for measured, target in pairs)
    tally.searches += found.starts
    tally.error, tally.undercut = max(tally.error, abs(relative)), max(tally.undercut, -relative)
    tally.compared += 1
    tally.distance = max(tally.distance, farthest)
    if abs(relative) > LARGEST_ERROR or -relative > LARGEST_UNDERCUT or farthest > LARGEST_DISTANCE:
        return [f"FAILED: relative error {relative:.1e}, distance {farthest:.1e} at {problem}"]
    return []


def main() -> int:
    """Searches settings one by one; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=40, help="random settings of each kind (default: 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    arguments = parser.parse_args()
    if arguments.settings < 1:
        parser.error("--settings must be at least 1")
    print(f"{'kind':19}{'claim':11}settings collapsed searches     error     below    matrices (compared)")
    messages = []
    for kind in arguments.kinds:
        rng = np.random.default_rng([arguments.seed, list(KINDS).index(kind)])
        tallies: dict[str, Tally] = {}
        for _ in range(arguments.settings):
            messages += check(kind, rng, tallies)
        for claim in sorted(tallies):
            print(tallies[claim].row(kind, claim), flush=True)
    print(f"""
error: largest relative difference of the best value found; proven or certified: {LARGEST_ERROR:.0e} allowed
below: how far any search went below the claim; proven or certified: {LARGEST_UNDERCUT:.0e} allowed
matrices: largest relative distance of logits and Gram matrices to the claim's: {LARGEST_DISTANCE:.0e} allowed
""")
    print(*messages, sep="\n")
    return int(any(message.startswith("FAILED") for message in messages))


if __name__ == "__main__":
    sys.exit(main())
