"""What a finished free-feature run is called: every word, from rows made by hand, and where the loss alone misleads."""

import math
from typing import Any

import pytest

from ncrun.records.lost import lost
from ncrun.records.summary import describe
from ncrun.records.verdict import NEAR_LOSS, SETTLED, WORDS, judge
from ncrun.theory import Problem, predict
from ncrun.theory.report import as_json

OPTIMUM = 0.5
ROW = {
    "loss": OPTIMUM,
    "data_term": 0.2,
    "stationarity": 1e-12,
    "nc2_w": 1e-6,
    "nc2_h": 1e-6,
    "nc3": 1e-6,
    "class.margin": [2.0, 1.0, 0.5],
}
MARGINS = [2.0, 1.0, 0.5]


def theory(claim: str = "proven", margins: list[float | None] = MARGINS, **changes: Any) -> dict[str, Any]:
    classes = [{"margin": m, "collapsed": None if m is None else m <= 0} for m in margins]
    return {"claim": claim, "objective": OPTIMUM, "data_term": 0.2, "classes": classes, **changes}


def word(row: dict[str, Any], of: dict[str, Any] | None = None) -> str:
    verdict = judge({**ROW, **row}, of or theory())
    assert verdict.word in WORDS
    return verdict.word


@pytest.mark.parametrize(("claim", "expected"), [("proven", "global optimum"), ("certified", "global optimum")])
def test_at_a_proven_optimum(claim: str, expected: str) -> None:
    assert word({}, theory(claim)) == expected
    assert word({"loss": OPTIMUM * (1 + 0.5 * NEAR_LOSS)}, theory(claim)) == expected


@pytest.mark.parametrize("claim", ["open", "refuted"])
def test_at_and_below_an_unproven_claim(claim: str) -> None:
    assert word({}, theory(claim)) == "at the claim"
    assert word({"loss": 0.49}, theory(claim)) == "lower than the claim"
    # also with another geometry, or before it has come to rest: the value is enough
    assert word({"loss": 0.49, "stationarity": 0.1, "class.margin": [0, 0, 0]}, theory(claim)) == "lower than the claim"


def test_below_a_proof_is_not_hidden() -> None:
    """By more than rounding it would be a bug, and is named."""
    assert word({"loss": OPTIMUM * (1 - 1e-6)}) == "lower than the claim"
    assert word({"loss": OPTIMUM * (1 - 1e-11)}) == "global optimum"


def test_missing_class_at_the_optimal_loss() -> None:
    """The counter-example: one of four classes given up costs a part in 1e4 of the loss, and is no rounding."""
    verdict = judge({**ROW, "loss": OPTIMUM * (1 + 0.9 * NEAR_LOSS), "class.margin": [2.0, 1.0, 1e-9]}, theory())
    assert (verdict.word, verdict.missing) == ("missing classes", (2,))
    assert verdict.excess == pytest.approx(0.9 * NEAR_LOSS)


def test_class_that_the_optimum_gives_up_is_not_missing() -> None:
    assert word({"class.margin": [2.0, 1.0, -1e-12]}, theory(margins=[2.0, 1.0, 0.0])) == "global optimum"
    assert word({"class.margin": [2.0, 0.0, 0.5]}, theory(margins=[2.0, 1.0, 0.0])) == "missing classes"


def test_optimum_that_is_zero() -> None:
    """Reaching it is the optimum, not death."""
    zero = theory(margins=[0.0, 0.0, 0.0])
    assert word({"class.margin": [0.0, 0.0, 0.0], "nc2_w": None, "nc2_h": None, "nc3": None}, zero) == "global optimum"


def test_dead() -> None:
    verdict = judge({**ROW, "loss": 0.6, "class.margin": [0.0, 0.0, 0.0]}, theory())
    assert (verdict.word, verdict.missing) == ("dead", (0, 1, 2))
    assert word({"class.margin": [1e-20] * 3}, theory("none", [None] * 3, objective=None)) == "dead"


def test_not_at_rest() -> None:
    assert word({"stationarity": 2 * SETTLED * OPTIMUM}) == "not converged"
    assert word({"stationarity": 0.5 * SETTLED * OPTIMUM}) == "global optimum"
    assert word({"stationarity": 2 * SETTLED * OPTIMUM, "class.margin": [2.0, 1.0, 0.0]}) == "not converged"


@pytest.mark.parametrize(
    "change",
    [
        {"loss": OPTIMUM * (1 + 2 * NEAR_LOSS)},
        {"data_term": 0.21},
        {"nc2_w": 0.2},
        {"nc2_h": 0.2},
        {"nc3": 0.2},
    ],
    ids=str,
)
def test_local_optimum(change: dict[str, float]) -> None:
    """At rest with every class there, but for the loss, the fit or one of the shapes not the optimum."""
    assert word(change) == "local optimum"
    assert word(change, theory("open")) == "local optimum"


@pytest.mark.parametrize("claim", ["none", "transferred"])
def test_without_a_claim(claim: str) -> None:
    verdict = judge(ROW, theory(claim, [None] * 3, data_term=None))
    assert (verdict.word, verdict.excess, verdict.missing) == ("no claim", None, ())


def test_every_word_is_explained_and_used_here() -> None:
    used = {"global optimum", "at the claim", "lower than the claim", "missing classes", "dead", "not converged"}
    assert set(WORDS) == used | {"local optimum", "no claim"}


def test_real_optimum_and_its_counter_example() -> None:
    """Four classes, non-negative features, the rarest just within its border: giving it up costs a part in 1e4."""
    problem = Problem("ce", (200.0, 100.0, 60.0, 2.0), (8,), False, (3.2e-3,), 3.2e-3, feature_sign="nonnegative")
    prediction = as_json(predict(problem))
    margins = [entry["margin"] for entry in prediction["classes"]]
    row = {**ROW, "loss": prediction["objective"], "data_term": prediction["data_term"], "class.margin": margins}
    assert word(row, prediction) == "global optimum"
    share, margin = 2 / 362, margins[3]
    kept = share * math.log1p(3 * math.exp(-margin)) + 3.2e-3 * math.sqrt(2 * 3 / 4) * margin
    without = {**row, "loss": row["loss"] + share * math.log(4) - kept, "class.margin": [*margins[:3], 0.0]}
    assert 0 < without["loss"] / row["loss"] - 1 < NEAR_LOSS
    verdict = judge(without, prediction)
    assert (verdict.word, verdict.missing) == ("missing classes", (3,))


def test_bottleneck_that_chooses_between_equal_classes() -> None:
    """Three classes through two dimensions: the optimum keeps any plane of them, such as one without class 0."""
    problem = Problem("mse", (4.0, 4.0, 4.0), (2,), False, (1e-2,), 2e-3)
    prediction = as_json(predict(problem))
    row = {**ROW, "loss": prediction["objective"], "data_term": 0.2, "class.margin": [0.0, 0.8, 0.8]}
    assert word(row, prediction) == "global optimum"


@pytest.mark.parametrize("margins", [[1.0, 5e-4], [5e-4, 2e-4], [1.0, 0.04], [1.0, 0.3]], ids=str)
@pytest.mark.parametrize("predicted", [[None, None], [0.9, 0.8], [0.9, 1e-4], [0.9, 0.0]], ids=str)
def test_verdict_and_summary_agree_on_lost_classes(margins: list[float], predicted: list[float | None]) -> None:
    """What the summary calls lost, the verdict calls missing, but for classes that the optimum gives up."""
    prediction = theory("none" if predicted[0] is None else "proven", predicted)
    prediction |= {"note": "", "attainable": True, "scale_free": False, "best_known": None}
    for entry in prediction["classes"]:
        entry["count"] = 10
    row = {**ROW, "loss": 0.6, "class.margin": margins, "etf_w": 0.1, "etf_h": 0.1, "gap": None}
    missing, summary = judge(row, prediction).missing, describe(row, prediction)
    gone = lost(margins, prediction["classes"])
    assert set(missing) == {k for k in gone if predicted[k] != 0.0}
    assert ("no class lost" in summary) == (not gone)


@pytest.mark.parametrize("predicted", [[None, None], [1.0, 0.8]], ids=str)
def test_margin_of_nothing_is_lost(predicted: list[float | None]) -> None:
    assert lost([1.0, 5e-4], theory(margins=predicted)["classes"]) == (1,)
    assert lost([1.0, 0.3], theory(margins=predicted)["classes"]) == ()


def test_small_margin_that_is_predicted_is_not_lost() -> None:
    assert lost([1.0, 5e-4], theory(margins=[1.0, 5e-4])["classes"]) == ()
