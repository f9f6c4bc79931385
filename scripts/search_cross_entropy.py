"""Searches deep linear heads under cross-entropy for values below those that ncrun.theory knows, and stores them.

For balanced classes the simplex ETF is claimed for every depth (Dang et al. 2023, Theorem 2); ncrun.theory compares it
with groups of classes and other mixtures. This search does not use them: it descends from random and structured starts
on the problem itself (cross_entropy_descent.py), and reports how far it is below the known values. A point that is
lower by LEAST_GAIN or more becomes a witness in ncrun/theory/cross_entropy_witnesses.json: classes as points u_k, v_k
with biases, from which theory descends at any decay. The seed fixes the order of the tasks, and the time decides how
many are done.

    .venv/bin/python scripts/search_cross_entropy.py [--minutes 20] [--seed 0] [--classes 3 4 5] [--depths 2 3]
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
from cross_entropy_descent import LARGEST_SMOOTHING, Array, Point, Setting, descend, noisy, random_start, value_of

from ncrun.problem import Problem
from ncrun.theory import mixture_families
from ncrun.theory.predict import predict
from ncrun.theory.prediction import Prediction

OUTPUT = Path(mixture_families.__file__).with_name(mixture_families.FILE)
LEAST_GAIN = 1e-5  # share of the value: a witness must be this much better than the values known without it
UNDERCUT = 1e-6  # share of the value: descents end with a smaller error
DIGITS = 5  # significant digits of a stored number


def predicted(setting: Setting) -> Prediction:
    """The prediction; equal decays lam give C = (M+1)/2 lam."""
    K, M = setting.num_classes, setting.depth
    decay = 2 * setting.penalty / (M + 1)
    return predict(Problem("ce", (1.0,) * K, (K,) * M, setting.bias, (decay,) * M, decay))


def known_value(setting: Setting) -> float:
    """The lowest value that theory knows."""
    prediction = predicted(setting)
    assert prediction.objective is not None
    best = prediction.best_known
    return prediction.objective if best is None or best.objective is None else best.objective


class Search:
    """The lowest point found for every setting."""

    def __init__(self, rng: np.random.Generator, settings: list[Setting]) -> None:
        self.rng, self.settings = rng, settings
        self.best: dict[Setting, Point] = {}
        self.values = dict.fromkeys(settings, np.inf)
        self.known = {setting: known_value(setting) for setting in settings}

    def task(self) -> None:
        """One start at one setting; a new best point is also tried at the neighbouring decays and depths."""
        rng = self.rng
        setting = self.settings[rng.integers(len(self.settings))]
        start = self.neighbour(setting) if self.best and rng.random() < 0.3 else random_start(rng, setting)
        if self.offer(setting, descend(setting, start, float(rng.choice(LARGEST_SMOOTHING)))):
            for other in self.settings:
                same = other.num_classes == setting.num_classes and other.bias == setting.bias
                if same and other != setting and abs(other.depth - setting.depth) <= 1:
                    factor = np.log(other.penalty / 20) / np.log(setting.penalty / 20)
                    self.offer(other, descend(other, self.best[setting].scaled(float(factor)), 0.05))

    def neighbour(self, setting: Setting) -> Point:
        """The best point of another setting with as many classes or one more, with noise."""
        rng, K = self.rng, setting.num_classes
        likely = [each for each in self.best if each.num_classes in (K, K + 1) and each.bias == setting.bias]
        if not likely:
            return random_start(rng, setting)
        point = self.best[likely[rng.integers(len(likely))]]
        kept = np.sort(rng.permutation(len(point.biases))[:K])
        point = Point(point.logits[np.ix_(kept, kept)], point.biases[kept]).scaled(rng.uniform(0.7, 1.5))
        return noisy(rng, setting, point, float(rng.choice([0.01, 0.3, 1.0])))

    def offer(self, setting: Setting, point: Point) -> bool:
        value = value_of(setting, point)
        better = value < self.values[setting] * (1 - 1e-6)
        if value < self.values[setting]:
            self.best[setting], self.values[setting] = point, value
        return better

    def gain(self, setting: Setting) -> float:
        """The relative difference of the known value and the best one."""
        return 1 - self.values[setting] / self.known[setting]


def written(setting: Setting, point: Point) -> str:
    """A witness as JSON: the logits as u v^T of their rank."""
    left, singular, right = np.linalg.svd(point.logits)
    rank = int((singular > 1e-9 * singular[0]).sum())
    root = np.sqrt(singular[:rank])
    u, v = left[:, :rank] * root, right[:rank].T * root
    biases = point.biases - point.biases.mean()
    numbers = {"biases": short(biases), "u": [short(row) for row in u], "v": [short(row) for row in v]}
    head = {"classes": setting.num_classes, "depth": setting.depth, "bias": setting.bias, "found_at": setting.ratio}
    return json.dumps(head | numbers)


def short(numbers: Array) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in numbers]


def save(search: Search) -> int:
    """Adds witnesses, the largest gain first, until theory, which reads them, knows all found values. Returns the
    number of added ones."""
    lines = [json.dumps(entry) for entry in json.loads(OUTPUT.read_text(encoding="utf-8"))]
    before = len(lines)
    for setting in sorted(search.best, key=search.gain, reverse=True):
        if search.gain(setting) < LEAST_GAIN:
            break
        search.known[setting] = known_value(setting)
        if search.gain(setting) >= LEAST_GAIN:
            lines.append(written(setting, search.best[setting]))
            OUTPUT.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
            mixture_families.stored.cache_clear()
    return len(lines) - before


def report(search: Search) -> list[str]:
    """A line for each setting: grade, claimed value, lowest known and lowest found value."""
    lines = ["K  M  bias  C/C_zero  grade    claimed      known        found        found/known - 1"]
    undercut = {"open": 0, "refuted": 0, "proven": 0}
    number = dict.fromkeys(undercut, 0)
    for setting in search.settings:
        prediction, known = predicted(setting), known_value(setting)
        off = search.values[setting] / known - 1
        number[prediction.claim] += 1
        undercut[prediction.claim] += off < -UNDERCUT
        values = f"{prediction.objective:.9f}  {known:.9f}  {search.values[setting]:.9f}"
        where = f"{setting.num_classes:<2} {setting.depth:<2} {'yes' if setting.bias else 'no ':<5} {setting.ratio:<9g}"
        lines.append(f"{where} {prediction.claim:<8} {values}  {off:+.2e}")
    for claim, total in number.items():
        lines.append(f"graded {claim}: {total} settings, {undercut[claim]} of them undercut by more than {UNDERCUT:g}")
    return lines


def main() -> None:
    """Searches for the given time, then writes and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classes", type=int, nargs="+", default=mixture_families.SEARCHED_CLASSES)
    parser.add_argument("--depths", type=int, nargs="+", default=mixture_families.SEARCHED_DEPTHS)
    parser.add_argument("--report", type=Path, help="write the table into this file, too")
    arguments = parser.parse_args()
    heads = itertools.product(arguments.classes, arguments.depths, (False, True), mixture_families.SEARCHED_RATIOS)
    search = Search(np.random.default_rng(arguments.seed), [Setting(*head) for head in heads])
    end, tasks = time.monotonic() + 60 * arguments.minutes, 0
    while time.monotonic() < end:
        search.task()
        tasks += 1
    lines = [f"{tasks} starts; {save(search)} witnesses added", *report(search)]
    print(*lines, sep="\n")
    if arguments.report is not None:
        arguments.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
