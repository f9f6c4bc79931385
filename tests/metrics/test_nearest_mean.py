"""Whether classifier and nearest class mean agree (NC4), and the accuracies."""

from dataclasses import replace

import numpy as np
import pytest
from metric_cases import case_of, measured


def test_a_known_number_of_disagreements() -> None:
    """The classifier swaps classes 1 and 2, whose 3 + 2 of 9 samples stand at their means: exact counts."""
    labels = [0] * 4 + [1] * 3 + [2] * 2
    values = measured(case_of(np.eye(3)[labels], labels, [np.eye(3)[[0, 2, 1]]]))
    assert values["nc4"] == 5 / 9
    assert values["nc4_ties"] == 0
    assert values["train_accuracy"] == 4 / 9
    assert values["class.train_accuracy"] == [1, 0, 0]


def test_ties_are_counted_apart() -> None:
    """Classes 1 and 2 share mean and logits, as two collapsed classes do: 5 of 9 samples are tied, none disagrees."""
    labels = [0] * 4 + [1] * 3 + [2] * 2
    points = np.eye(2)[[0, 1, 1]]
    values = measured(case_of(points[labels], labels, [points]))
    assert values["nc4"] == 0
    assert values["nc4_ties"] == 5 / 9


def test_a_tie_of_one_side_agrees_if_the_other_is_among_the_tied() -> None:
    """The classifier cannot tell classes 1 and 2, the means can: 5 of 9 samples tied, none disagrees; exact counts."""
    labels = [0] * 4 + [1] * 3 + [2] * 2
    values = measured(case_of(np.eye(3)[labels], labels, [np.array([[1.0, 0, 0], [0, 1, 1], [0, 1, 1]])]))
    assert values["nc4"] == 0
    assert values["nc4_ties"] == 5 / 9


def test_the_test_split_is_compared_with_the_train_means() -> None:
    """Train means at 0 and 4, test means at 3 and 9, classifier split at 2: the test sample at 3 is nearest to the
    train mean 4, where the classifier puts it as well, so nothing disagrees; about the test means it would. Exact
    in binary arithmetic.
    """
    head, bias = [np.array([[-1.0], [1.0]])], [2.0, -2.0]
    case = case_of([[-1], [1], [3], [5]], [0, 0, 1, 1], head, bias, with_bias=True)
    case = replace(case, test_features=np.array([[2.5], [3.5], [9.0], [9.0]]), test_labels=np.array([0, 0, 1, 1]))
    values = measured(case)
    assert values["test.nc4"] == 0
    assert values["test_accuracy"] == 0.5
    assert values["test.nc1_trace"] == pytest.approx(0.125 / 9, rel=1e-14)  # spread 1/2 and 0 about 3 and 9
    assert values["test.nc1_train_means"] == pytest.approx((9.25 + 25) / 2 / 4 / 2, rel=1e-14)
    own = replace(case, features=case.test_features)
    assert measured(own)["nc4"] == 0.5
