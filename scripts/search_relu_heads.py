"""Searches ReLU heads for values below deep neural collapse, and stores them as explicit witnesses.

The objective is in relu_head_values.py. Lam is the product of its decays, in units of Lam_glob, at which deep neural
collapse equals the zero solution.
Every task picks K, L, Lam and a start at random: noise, low-rank codes, incidence codes of graphs, deep neural
collapse, or the best point for this or another Lam, depth or number of classes. A rerun starts from the stored
witnesses and can only improve them. The seed fixes the order of the tasks, and the time decides how many are done. With
--narrow
no layer may be wider than the number of classes: such witnesses also apply to narrow heads. The file holds both kinds,
and a search replaces those of its own kind.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
from relu_head_starts import code_start, collapsed, direct_sum, random_start, widened
from relu_head_values import (
    Factors,
    Head,
    balanced,
    collapse_value,
    compressed,
    known_value,
    minimise,
    outputs_of,
    score,
    value_of,
)

from ncrun.theory.witnesses import SEARCHED_CLASSES, SEARCHED_DEPTHS, SEARCHED_RATIOS

OUTPUT = Path(__file__).resolve().parents[1] / "ncrun" / "theory" / "relu_head_witnesses.json"
SMALLER = 0.15  # share of the tasks that only try to make a configuration smaller
LEAST_GAIN = 1.5e-3  # share of the value: a witness must be this much better than the values known without it
DIGITS = 4  # decimals of entries of order 1


class Search:
    """The best known configuration for every K, L and Lam / Lam_glob; initially deep neural collapse."""

    def __init__(self, rng: np.random.Generator, heads: list[Head], narrow: bool) -> None:
        self.rng, self.heads, self.narrow = rng, heads, narrow
        self.best = {head: dict.fromkeys(SEARCHED_RATIOS, collapsed(head)) for head in heads}
        self.kinds: dict[tuple[Head, float], str] = {}

    def offer(self, head: Head, factors: Factors, kind: str) -> None:
        """Keeps a configuration wherever it is the best, if it is narrow enough."""
        if self.narrow and not fits(head, factors):
            return
        for ratio, known in self.best.setdefault(head, dict.fromkeys(SEARCHED_RATIOS, collapsed(head))).items():
            if score(head, ratio, factors) < score(head, ratio, known):
                self.best[head][ratio] = factors
                self.kinds[head, ratio] = kind

    def task(self) -> None:
        """One start: a short search, and a long one if that came near the best."""
        head = self.heads[self.rng.integers(len(self.heads))]
        ratio = float(self.rng.choice(SEARCHED_RATIOS))
        kind, start = self.smaller(head, ratio) if self.rng.random() < SMALLER else self.start(head)
        found = minimise(head, ratio, start, 300)
        value = value_of(head, ratio, found)
        if value < 0.5 and value < 1.05 * value_of(head, ratio, self.best[head][ratio]):
            found = compressed(minimise(head, ratio, found, 4000))
            if np.linalg.cond(outputs := outputs_of(found)) < 10:  # in the limit of small Lam, O = I
                self.offer(head, [*found[:-1], np.linalg.solve(outputs, found[-1]).astype(np.float64)], kind)
        self.offer(head, found, kind)

    def start(self, head: Head) -> tuple[str, Factors]:
        """A random kind of start for a head, and the start."""
        rng = self.rng
        kind = str(rng.choice(["noise", "code", "collapse", "perturbed", "deeper", "shallower", "classes"]))
        widest = head[0] if self.narrow else 2 * head[0]
        if kind == "noise":
            return kind, random_start(rng, head, head[0] if self.narrow else 3 * head[0])
        makers = {
            "code": lambda: code_start(rng, head),
            "collapse": lambda: collapsed(head),
            "perturbed": lambda: self.some(head),
            "deeper": lambda: self.deeper(head),
            "shallower": lambda: self.shallower(head),
            "classes": lambda: self.other_classes(head),
        }
        exact = balanced(head, float(rng.choice(SEARCHED_RATIOS)), makers[kind]())
        noise = float(rng.choice([0.01, 0.05, 0.2, 0.5]))
        return kind, widened(rng, exact, int(rng.integers(head[0], widest + 1)), noise)

    def smaller(self, head: Head, ratio: float) -> tuple[str, Factors]:
        """The best one without weak neurons, and with similar ones merged."""
        dead, parallel = 10 ** self.rng.uniform(-4, -0.5), 1 - 10 ** self.rng.uniform(-4, -0.5)
        return "smaller", balanced(head, ratio, compressed(self.best[head][ratio], dead, parallel))

    def some(self, head: Head) -> Factors:
        """The best at a random Lam; deep neural collapse if the head is not searched."""
        known = self.best.get(head)
        return known[float(self.rng.choice(SEARCHED_RATIOS))] if known else collapsed(head)

    def deeper(self, head: Head) -> Factors:
        """From the best of depth L-1: repeats a hidden layer, which does not change the outputs."""
        if head[1] < 3:
            return collapsed(head)
        factors = self.some((head[0], head[1] - 1))
        at = int(self.rng.integers(1, head[1] - 1))
        return [*factors[: at + 1], np.eye(len(factors[at])), *factors[at + 1 :]]

    def shallower(self, head: Head) -> Factors:
        """From the best of depth L+1: joins two neighbouring layers."""
        factors = self.some((head[0], head[1] + 1))
        at = int(self.rng.integers(1, head[1] + 1))
        return [*factors[:at], factors[at + 1] @ factors[at], *factors[at + 2 :]]

    def other_classes(self, head: Head) -> Factors:
        """From other numbers of classes: drops random classes, or combines two heads as blocks."""
        classes, depth = head
        other = int(self.rng.choice([k for k, _ in self.best if k != classes] or [classes]))
        factors = self.some((other, depth))
        if other > classes:
            kept = np.sort(self.rng.permutation(other)[:classes])
            return [factors[0][:, kept], *factors[1:-1], factors[-1][kept]]
        return direct_sum(factors, self.some((classes - other, depth))) if other < classes else factors


# Turns a numerical optimum into a few short numbers.


def rounded(head: Head, ratio: float, factors: Factors) -> Factors:
    """Balanced, at the best scale, rounded as for the file."""
    return [np.round(factor, DIGITS) + 0.0 for factor in balanced(head, ratio, factors)]


def selected(head: Head, best: dict[float, Factors], kept: list[Factors]) -> list[tuple[float, Factors]]:
    """A small set of witnesses that is as good as all of them up to LEAST_GAIN, beginning with the largest gain.

    kept: the stored witnesses of the head that stay."""
    candidates = {ratio: rounded(head, ratio, factors) for ratio, factors in best.items()}
    values = {at: {ratio: value_of(head, ratio, c) for ratio in best} for at, c in candidates.items()}
    known = {ratio: min([known_value(head, ratio), *(value_of(head, ratio, k) for k in kept)]) for ratio in best}
    chosen: list[tuple[float, Factors]] = []
    while True:
        gains = {at: max(1 - values[at][ratio] / known[ratio] for ratio in best) for at in candidates}
        at = max(gains, key=lambda ratio: gains[ratio])
        if gains[at] < LEAST_GAIN:
            return chosen
        chosen.append((at, candidates[at]))
        known = {ratio: min(known[ratio], values[at][ratio]) for ratio in best}


def written(head: Head, ratio: float, factors: Factors) -> str:
    """One witness as JSON, one factor per line."""
    lines = [json.dumps([[short(x) for x in row] for row in f], separators=(",", ":")) for f in factors]
    start = f'{{"classes": {head[0]}, "depth": {head[1]}, "found_at": {ratio:g}, "factors": ['
    return start + "\n" + ",\n".join(lines) + "]}"


def short(number: float) -> float | int:
    """Whole numbers without a decimal point."""
    return int(number) if number == int(number) else float(number)


def fits(head: Head, factors: Factors) -> bool:
    """Whether no layer is wider than there are classes."""
    return max(len(factor) for factor in factors) <= head[0]


def save(path: Path, search: Search) -> None:
    """Writes the selected witnesses, and the stored ones of the other kind."""
    others = [each for each in load(path) if fits(each[0], each[2]) != search.narrow]
    entries = [(head, True, written(head, ratio, factors)) for head, ratio, factors in others]
    for head, best in search.best.items():
        kept = [] if search.narrow else [factors for stored, _, factors in others if stored == head]
        entries += [(head, False, written(head, ratio, factors)) for ratio, factors in selected(head, best, kept)]
    entries.sort(key=lambda entry: (entry[0], entry[1] == search.narrow))
    path.write_text("[\n" + ",\n".join(entry for _, _, entry in entries) + "\n]\n", encoding="utf-8")


def load(path: Path) -> list[tuple[Head, float, Factors]]:
    """The witnesses in a file: head, the ratio at which each was found, and its factors."""
    return [
        (
            (entry["classes"], entry["depth"]),
            entry["found_at"],
            [np.array(factor, dtype=np.float64) for factor in entry["factors"]],
        )
        for entry in (json.loads(path.read_text(encoding="utf-8")) if path.exists() else [])
    ]


def report(search: Search) -> None:
    """Prints best / deep neural collapse, the same for the strongly regular graph, and the start of the best."""
    print("K  L  Lam/Lam_glob  best/DNC  known/DNC  widths and start of the best")
    for head in sorted(search.best):
        for ratio, factors in sorted(search.best[head].items()):
            base = collapse_value(head, ratio)
            best, known = value_of(head, ratio, factors) / base, known_value(head, ratio) / base
            widths = "-".join(str(len(factor)) for factor in factors[:-1])
            kind = search.kinds.get((head, ratio), "")
            print(f"{head[0]:<2} {head[1]}  {ratio:<12g}  {best:.4f}    {known:.4f}     {widths} {kind}")


def main() -> None:
    """Searches for the given time, then writes and reports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classes", type=int, nargs="+", default=SEARCHED_CLASSES)
    parser.add_argument("--depths", type=int, nargs="+", default=SEARCHED_DEPTHS)
    parser.add_argument("--narrow", action="store_true", help="no layer wider than there are classes")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    heads = list(itertools.product(arguments.classes, arguments.depths))
    search = Search(np.random.default_rng(arguments.seed), heads, arguments.narrow)
    for head, _, factors in load(arguments.output):
        search.offer(head, factors, "stored")
    end, tasks = time.monotonic() + 60 * arguments.minutes, 0
    while time.monotonic() < end:
        search.task()
        tasks += 1
    save(arguments.output, search)
    report(search)
    print(f"{tasks} starts; {arguments.output.stat().st_size / 1000:.0f} KB written")


if __name__ == "__main__":
    main()
