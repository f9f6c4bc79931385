"""A prediction as JSON and as a table: every setting prints, and the numbers are those of the prediction."""

import json
import subprocess
import sys

import numpy as np
import pytest
from posed import free, make, random_settings

from ncrun.theory import predict
from ncrun.theory.report import as_json, as_table

CONTRACT = {"objective", "classes", "bias", "weight_gram", "feature_gram", "logits", "claim", "source", "references"}
CONTRACT |= {"best_known"}
CLASS_CONTRACT = {"count", "weight_norm_sq", "feature_norm_sq", "logit", "margin", "collapsed", "merged_with"}


REPORTED = [
    *random_settings(40, seed=9),
    free("ce", [40] * 4, 5e-3),
    free("ce", [40, 20, 20, 3], 5e-3, bias=True),
    free("ce", [40] * 6, 1e-3, 3),
    free("ce", [40, 20, 3], 1e-3, 3),
    free("ce", [40, 20, 3], 5e-3, feature_sign="nonnegative"),
    free("ce", [40, 20, 3], 5e-3, feature_sign="nonnegative", bias=True),
    free("mse", [40] * 5, 5e-4, 4, head="relu"),
    free("mse", [40, 4], 2e-2, 4, head="relu"),
    free("mse", [40, 20, 1], 2e-2, 2),
    free("ce", [40] * 4, 5e-3, decay_mode="parameters"),
    free("mse", [40] * 4, 5e-3, 3, head="relu", decay_mode="parameters"),
    free("ce", [40, 9, 3], 5e-3, feature_sign="nonnegative", decay_mode="parameters"),
    make((20,) * 4, 2, 2e-3, widths=(5, 2)),  # ties at a bottleneck
    make((9, 9, 9, 30), 3, 2e-3, bias=True, widths=(2, 6, 5)),
    make((5, 5, 2), 2, 1e-3, feature_decay=0.0),
    make((5, 5, 2), 2, 1e-3, loss="label_smoothing"),
    make((5, 5, 2), 2, 1e-3, head="tanh", feature_sign="complex", decay_mode="half"),
    make((10, 10), 1, 1e3),
    make((10, 10), 1, 1e3, bias=True),
    make((10, 20), 2, 1e3, bias=True),
    make((10,) * 4, 1, 10.0, widths=(2,)),
    make((30, 20, 4), 2, 2e-3, bias=True, feature_sign="nonnegative"),
    make((30, 20, 4), 2, 2e-3, free_features=False),
    make((30, 20, 4), 2, 1e-4, decay_mode="parameters", feature_decay=None),
    make((30, 20, 4), 2, 1e-4, bias=True, decay_mode="parameters", feature_decay=None),
]


def test_report_is_plain_json_and_a_table_for_every_setting() -> None:
    for problem in REPORTED:
        prediction = predict(problem)
        found = json.loads(json.dumps(as_json(prediction), allow_nan=False))
        assert set(found) >= CONTRACT
        assert len(found["classes"]) == problem.num_classes
        assert all(set(entry) >= CLASS_CONTRACT for entry in found["classes"])
        assert all(set(reference) == {"name", "objective", "source", "kind"} for reference in found["references"])
        assert (found["best_known"] is not None) == (found["claim"] == "refuted")
        table = as_table(prediction)
        assert f"claim: {prediction.claim}" in table
        assert "nan" not in table


def test_report_holds_the_numbers_of_the_geometry() -> None:
    """Exact: the report only copies."""
    prediction = predict(make((40, 20, 10, 1), 3, 1e-2, bias=True))
    found = as_json(prediction)
    margins = prediction.margins()
    assert margins is not None
    assert prediction.logits is not None
    assert prediction.bias is not None
    scores = prediction.logits + prediction.bias[:, None]
    for k, entry in enumerate(found["classes"]):
        assert entry["count"] == (40, 20, 10, 1)[k]
        assert entry["weight_norm_sq"] == found["weight_gram"][k][k]
        assert entry["feature_norm_sq"] == found["feature_gram"][k][k]
        assert entry["logit"] == found["logits"][k][k]
        assert entry["margin"] == margins[k] == scores[k, k] - max(np.delete(scores[:, k], k))
    assert found["classes"][3]["collapsed"] is True
    assert found["bias"] == pytest.approx([40 / 71, 20 / 71, 10 / 71, 1 / 71], rel=1e-15)


def test_a_prediction_needs_no_torch() -> None:
    code = "import sys, ncrun.theory.report; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_never_is_told_from_not_sought() -> None:
    """Both are null as a number, for JSON has no infinity."""
    found = as_json(predict(free("ce", [1000, 5, 5], 1e-3, bias=True)))["classes"]
    assert [entry["never_collapses"] for entry in found] == [True, False, False]
    assert [entry["decay_to_collapse"] is None for entry in found] == [True, False, False]
    many = predict(free("ce", [*range(30, 80), 100], 1e-4, bias=True))
    found = as_json(many)["classes"]
    assert [entry["never_collapses"] for entry in found][-1] is True
    not_sought = [entry for entry in found if entry["never_collapses"] is None]
    assert not_sought
    assert all(entry["decay_to_collapse"] is None for entry in not_sought)
    table = as_table(many)
    assert table.count("the threshold was not searched") == len(not_sought)
    assert table.count("  never") == 1
    limit = as_json(predict(free("mse", [40, 4], 1e-3, decay_mode="parameters")))["classes"]
    assert all(entry["never_collapses"] is None for entry in limit)


@pytest.mark.parametrize("depth", [1, 3])
def test_the_source_says_whether_it_speaks_of_a_bias(depth: int) -> None:
    """Theorem 2 of Dang et al. 2023 has a last-layer bias."""
    with_bias, without = (predict(free("ce", [40] * 4, 5e-3, depth, bias=bias)).source for bias in (True, False))
    assert with_bias == "Dang et al. 2023, Theorem 2 (cross-entropy, balanced, last-layer bias)"
    assert "docs/proofs.md" in without
    assert "without" in without
