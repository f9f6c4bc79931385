"""The refutation in one picture: matrices are permutations of what is known, and lines stand at their values."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from figure_runs import Runs, caption_of, panel, with_measured

from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, class_order, refutation
from ncrun.figures.classes import cosines
from ncrun.records.read import Record
from ncrun.theory import Problem, predict
from ncrun.theory.lowest_known import lowest_known
from ncrun.theory.prediction import Array
from ncrun.theory.report import as_json

pytestmark = pytest.mark.usefixtures("closed")

K = 6
CROSS_ENTROPY = Problem("ce", (20.0,) * K, (K,) * 2, False, (1e-3,) * 2, 1e-3)
RELU_HEAD = Problem("mse", (20.0,) * K, (64,) * 4, False, (4e-3,) * 4, 4e-3, head="relu")


def doubted(record: Record, problem: Problem) -> Record:
    """The record of another problem, whose claim is refuted; what was trained is the lowest known configuration, its
    classes in disorder."""
    found = lowest_known(problem)
    assert found is not None
    order = np.random.default_rng(1).permutation(K)
    matrices = {name: getattr(found, name)[np.ix_(order, order)].tolist() for name in ("weight_gram", "feature_gram")}
    matrices["logits"] = found.logits[np.ix_(order, order)].tolist()
    theory = as_json(predict(problem))
    manifest = record.manifest | {"class_counts": [int(count) for count in problem.counts]}
    return with_measured(replace(record, theory=theory, posed=problem, manifest=manifest), **matrices)


def images(figure: object, start: int) -> list[Array]:
    axes = figure.axes[start : start + 3]  # type: ignore[attr-defined]
    return [np.asarray(ax.images[0].get_array(), dtype=float) for ax in axes]


@pytest.mark.parametrize("problem", [CROSS_ENTROPY, RELU_HEAD], ids=["cross-entropy", "ReLU head"])
def test_what_was_trained_is_matched_with_the_lowest_known(problem: Problem, runs: Runs) -> None:
    """Both are the same configuration here, so that the search has to find the order in which they are equal; and what
    is drawn is permuted, and nothing else."""
    (record,) = runs("M3-0")
    record = doubted(record, problem)
    figure = DRAWINGS["refutation"].of([record])
    found, prediction = lowest_known(problem), predict(problem)
    assert found is not None
    assert record.measured is not None
    (shown,) = refutation.refuted([record])
    for order in shown.orders.values():
        assert sorted(order.tolist()) == list(range(K))
    for row, name in enumerate(refutation.GRAMS):
        claimed, known, trained = images(figure, 4 * row)
        order, matching = shown.orders["trained"], shown.orders["lowest known"]
        raw, lowest = np.array(record.measured[name]), getattr(found, name)
        assert claimed == pytest.approx(getattr(prediction.layers[0], name) / getattr(prediction.layers[0], name).max())
        assert trained == pytest.approx(raw[np.ix_(order, order)] / np.abs(raw).max(), abs=1e-12)
        assert known == pytest.approx(lowest[np.ix_(matching, matching)] / np.abs(lowest).max(), abs=1e-12)
        assert known == pytest.approx(trained, abs=1e-6)
    loss = panel(figure, "loss")
    heights = {float(np.asarray(line.get_ydata())[0]) for line in loss.lines if len(set(line.get_ydata())) == 1}
    assert prediction.best_known is not None
    assert {prediction.objective, prediction.best_known.objective, shown.bound} <= heights
    values = panel(figure, "singular values").lines[2].get_ydata()
    assert values == pytest.approx(np.linalg.svd(found.logits, compute_uv=False), abs=1e-9)
    assert prediction.best_known.name in caption_of(figure)


def test_matching_is_the_best_of_all_orders() -> None:
    """Against all 720 orders of six vectors without a symmetry."""
    rng = np.random.default_rng(4)
    gram, target = (points @ points.T for points in rng.standard_normal((2, K, 3)))
    ours, theirs = cosines(gram), cosines(target)
    best = max(float(np.sum(theirs * ours[np.ix_(order, order)])) for order in permutations(range(K)))
    order = class_order.matched(gram, target)
    assert float(np.sum(theirs * ours[np.ix_(order, order)])) == pytest.approx(best, rel=1e-12)


def test_pairs_stand_side_by_side() -> None:
    """Opposite vectors along orthogonal lines, in any order that they come in."""
    frame = np.kron(np.eye(3), [[1, -1], [-1, 1]])
    mixed = np.random.default_rng(2).permutation(K)
    order = class_order.by_structure(frame[np.ix_(mixed, mixed)])
    assert frame[np.ix_(mixed[order], mixed[order])] == pytest.approx(frame)


def test_runs_without_a_lower_value_are_refused_and_left_out(runs: Runs) -> None:
    (record,) = runs("M3-0")
    with pytest.raises(UserError, match="no run has both matrices and a claim with a known lower value"):
        refutation.refutation([record])
    known = doubted(record, CROSS_ENTROPY)
    other = runs("M1-0")
    assert "Not shown, because no value below their claim is known: 1." in caption_of(
        refutation.refutation([known, *other])
    )
    with pytest.raises(UserError):
        refutation.refutation([replace(known, measured=None)])
