"""Hold the closed form of the squared loss against a numerical search on random settings, and print the errors.

Exit status 1 if the best value found is not the predicted one, or if any start went below it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ncrun.theory import predict
from tests.free_features import Problem, random_setting

LARGEST_ERROR = 1e-6  # the search stops at a small gradient, not at the exact optimum
LARGEST_UNDERCUT = 1e-8  # rounding only: a claimed minimum cannot be undercut


def main() -> int:
    """Search settings one by one; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, default=60, help="number of random settings (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.settings < 1:
        parser.error("--settings must be at least 1")
    rng = np.random.default_rng(arguments.seed)
    with_collapse, starts, error, undercut = 0, 0, 0.0, 0.0
    for _ in range(arguments.settings):
        setting = random_setting(rng)
        geometry = predict(setting)
        assert geometry.objective is not None
        with_collapse += any(geometry.collapsed())
        found = Problem.by_class(setting).search(rng, geometry.logits)
        relative = found[0].value / geometry.objective - 1
        starts += len(found)
        error, undercut = max(error, abs(relative)), max(undercut, -relative)
        if abs(relative) > LARGEST_ERROR or -relative > LARGEST_UNDERCUT:
            print(f"FAILED: relative error {relative:.2e} at {setting}")
    print(f"random settings                              {arguments.settings}")
    print(f"of them with collapsed classes               {with_collapse}")
    print(f"numerical searches started                   {starts}")
    print(f"largest relative error, best found vs claim  {error:.1e}  (allowed {LARGEST_ERROR:.0e})")
    print(f"largest amount any start went below          {undercut:.1e}  (allowed {LARGEST_UNDERCUT:.0e})")
    return int(error > LARGEST_ERROR or undercut > LARGEST_UNDERCUT)


if __name__ == "__main__":
    sys.exit(main())
