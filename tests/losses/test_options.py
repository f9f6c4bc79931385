"""Options of the cross-entropy as users say them: what they are made into, and one line for each that will not do."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn.functional import cross_entropy

import ncrun
from ncrun.errors import UserError
from ncrun.losses import LOSSES, Options, described
from ncrun.problem import Problem

COUNTS = (50.0, 20.0, 5.0)
CE = LOSSES["ce"]


def posed(counts: tuple[float, ...] = COUNTS, **options: Any) -> Problem:
    return Options(**options).posed(Problem("ce", counts, (8,), False, (1e-3,), 1e-3), CE)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """To rounding."""
    labels = np.repeat([0, 1, 2], [50, 20, 5])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert posed(class_weights="balanced").class_weights == pytest.approx(tuple(expected), rel=1e-15)


def test_the_data_term_is_what_each_option_says() -> None:
    """On the samples of all classes, from PyTorch's parts: weights without its division by their sum. 1e-13: rounding.
    Twice, and in two types: numbers that are kept on a device are kept for each."""
    logits = torch.randn(75, 3, generator=torch.manual_seed(1), dtype=torch.float64)
    labels = torch.arange(3).repeat_interleave(torch.tensor([50, 20, 5]))
    loss = Options(0.2, "balanced", 1.5).on(CE, COUNTS)
    shifted = logits + 1.5 * torch.tensor([50, 20, 5], dtype=torch.float64).div(75).log()
    weights = torch.tensor([0.5, 1.25, 5.0], dtype=torch.float64)
    each = cross_entropy(shifted, labels, reduction="none", label_smoothing=0.2)
    expected = float((each * weights[labels]).sum())
    for _ in range(2):
        assert float(loss.data_sum(logits, labels)) == pytest.approx(expected, rel=1e-13)
        assert float(loss.data_sum(logits.float(), labels)) == pytest.approx(expected, rel=1e-5)


def test_what_changes_nothing_is_no_option() -> None:
    """So that a theorem about the plain loss answers."""
    assert posed((7.0,) * 3, class_weights="balanced", logit_adjustment=1).has_plain_loss
    assert posed(class_weights=[1, 1.0, 1]).has_plain_loss
    assert posed(class_weights=[2, 2, 2]).class_weights == (2.0, 2.0, 2.0)  # twice the data term is another problem
    assert posed(class_weights="balanced", logit_adjustment=1).balanced().has_plain_loss
    assert posed(class_weights=np.array([1, 2, 3]), label_smoothing=np.float32(0.5)).class_weights == (1, 2, 3)


def test_in_words() -> None:
    assert described(posed()) == "cross-entropy"
    words = described(posed(class_weights="balanced", label_smoothing=0.1, logit_adjustment=1))
    assert words == "cross-entropy with balanced class weights and label smoothing 0.1 and logit adjustment 1"
    assert described(posed(class_weights=[1, 2, 4])) == "cross-entropy with class weights 1 to 4"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing=1: must lie in \[0, 1\)"),
        ({"label_smoothing": -0.1}, r"label_smoothing=-0.1: must lie in \[0, 1\)"),
        ({"label_smoothing": "much"}, "label_smoothing=much: must be a number"),
        ({"label_smoothing": True}, "label_smoothing=True: must be a number"),
        ({"logit_adjustment": float("nan")}, "logit_adjustment=nan: must be finite and not negative"),
        ({"logit_adjustment": -1}, "logit_adjustment=-1: must be finite"),
        ({"class_weights": "balnced"}, "class_weights=balnced: .*; did you mean 'balanced'"),
        ({"class_weights": [1, 2]}, "class_weights: has 2 entries; must be balanced or a list of 3 positive"),
        ({"class_weights": [1, 0, 2]}, "class_weights: the weight of class 1 must be finite and positive, not 0"),
        ({"class_weights": [1, 2, np.inf]}, "class_weights: the weight of class 2 must be finite"),
        ({"class_weights": [1, 2, "x"]}, "class_weights=x: must be a number"),
        ({"class_weights": {"a": 1}}, "class_weights=.*: must be balanced or a list"),
        ({"class_weights": np.eye(3)}, "class_weights=.*: must be a number"),
        ({"class_weights": 3.0}, "class_weights=3.0: must be balanced or a list"),
    ],
    ids=str,
)
def test_refused_in_one_line(options: dict[str, Any], words: str) -> None:
    for call in (lambda: ncrun.predict(COUNTS, "ce", **options), lambda: ncrun.CollapseMeter(3, loss="ce", **options)):
        with pytest.raises(UserError, match=words) as refused:
            call()
        assert "\n" not in str(refused.value)


def test_other_losses_have_none() -> None:
    with pytest.raises(UserError, match=r"label_smoothing=0\.1: has no effect with loss=mse, which has no such option"):
        ncrun.predict(COUNTS, label_smoothing=0.1)
