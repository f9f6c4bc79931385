"""`CollapseMeter` and `SecondPass`: batch by batch the numbers of `ncrun.measure` on the whole features; refusals."""

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from samples import COUNTS, WIDTH, assert_same, fill, head, samples
from torch.nn.functional import cross_entropy

import ncrun
from ncrun.errors import UserError

K = len(COUNTS)
# What one pass cannot know at any depth, and what it cannot without the logits.
NEVER = {"class.nc1", "nc4", "nc4_ties"}
LOGITS = {"train_accuracy", "class.train_accuracy"}


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("loss", ["mse", "ce"])
@pytest.mark.parametrize("decays", [{"decay_weight": 1e-2, "decay_feature": 2e-3}, {}], ids=["decays", "no decays"])
def test_equal_to_the_whole(depth: int, biased: bool, loss: str, decays: dict[str, float]) -> None:
    features, labels = samples()
    weights, offset = head(depth)
    bias = offset if biased else None
    whole = ncrun.measure(features, labels, weights, bias, loss=loss, nonnegative_features=False, **decays)
    meter = fill(ncrun.CollapseMeter(K, loss=loss), features, labels)
    found = meter.compute(weights, bias, nonnegative_features=False, **decays)
    assert_same(found, whole)
    of_loss = {"loss", "data_term", "gap"} if loss == "ce" else set()
    assert set(found.absent) == NEVER | LOGITS | of_loss | {"class.nc1"}
    second = fill(ncrun.SecondPass(meter.means(), weights, bias, loss=loss), features, labels, batch=31)
    exact = second.compute(nonnegative_features=False, **decays)
    assert exact.absent == {}
    assert_same(exact, whole)
    assert exact.summary == whole.summary


def test_logits_of_the_same_forward_pass_decide_accuracy_and_loss() -> None:
    features, labels = samples(spread=3.0)
    (weight,), bias = head()
    logits = features @ weight.T + bias
    meter = ncrun.CollapseMeter(K, loss="ce")
    for part in torch.arange(len(labels)).split(16):
        meter.update(features[part], labels[part], logits[part])
    found = meter.compute(weight, bias, nonnegative_features=False, decay_weight=1e-2, decay_feature=1e-3)
    whole = ncrun.measure(
        features, labels, weight, bias, loss="ce", nonnegative_features=False, decay_weight=1e-2, decay_feature=1e-3
    )
    assert set(found.absent) == NEVER
    assert_same(found, whole)
    assert 0 < found.metrics["train_accuracy"] < 1


OPTIONS = {"label_smoothing": 0.1, "class_weights": "balanced", "logit_adjustment": 1.0}


@pytest.mark.parametrize("used", [("label_smoothing",), ("class_weights",), tuple(OPTIONS)], ids=str)
def test_options_of_the_loss(used: tuple[str, ...]) -> None:
    """What depends on the counts only a second pass can weigh; the data term is PyTorch's of the logits themselves."""
    features, labels = samples(spread=3.0)
    (weight,), bias = head()
    said = {"loss": "ce"} | {name: OPTIONS[name] for name in used}
    decays = {"decay_weight": 1e-2, "decay_feature": 1e-3}
    logits, counts = features @ weight.T + bias, torch.tensor(COUNTS).double()
    whole = ncrun.measure(features, labels, weight, bias, nonnegative_features=False, **said, **decays)
    tau, smoothing = (OPTIONS[name] if name in used else 0.0 for name in ("logit_adjustment", "label_smoothing"))
    shifted = logits + tau * (counts / counts.sum()).log()
    each = cross_entropy(shifted, labels, reduction="none", label_smoothing=smoothing)
    if "class_weights" in used:
        each = each * (counts.sum() / (K * counts))[labels]
    assert whole.metrics["data_term"] == pytest.approx(float(each.mean()), rel=1e-12)
    assert whole.metrics["train_accuracy"] == float((logits.argmax(dim=1) == labels).double().mean())
    meter = ncrun.CollapseMeter(K, **said)
    for part in torch.arange(len(labels)).split(16):
        meter.update(features[part], labels[part], logits[part])
    found = meter.compute(weight, bias, nonnegative_features=False, **decays)
    assert_same(found, whole)
    needs_counts = used != ("label_smoothing",)
    assert set(found.absent) - NEVER == ({"loss", "data_term", "gap"} if needs_counts else set())
    assert not needs_counts or "depends on the class counts" in found.absent["loss"]
    second = fill(ncrun.SecondPass(meter.means(), weight, bias, **said), features, labels, batch=31)
    assert_same(second.compute(nonnegative_features=False, **decays), whole)
    with pytest.raises(UserError, match=r"options=.* here, and options=\{\} there"):
        meter.merge(ncrun.CollapseMeter(K, loss="ce"))
    with pytest.raises(UserError, match=r"options=.* here, and options=\{\} there"):
        second.merge(ncrun.SecondPass(meter.means(), weight, bias, loss="ce"))


def test_a_meter_says_what_it_has_seen() -> None:
    assert repr(ncrun.CollapseMeter(3)) == "<ncrun.CollapseMeter: 3 classes, 0 samples seen>"
    features, labels = samples()
    shown = repr(fill(ncrun.CollapseMeter(K), features, labels))
    assert shown == f"<ncrun.CollapseMeter: {K} classes, {len(labels):,} samples seen>"


def test_memory_of_order_K_d_without_the_scatter_matrix() -> None:
    features, labels = samples()
    (weight,), _ = head()
    meter = fill(ncrun.CollapseMeter(K, scatter=False), features, labels)
    assert meter.sums.second is None
    found = meter.compute(weight, nonnegative_features=False)
    assert_same(found, ncrun.measure(features, labels, weight, nonnegative_features=False))
    assert set(found.absent) >= {"nc1", "head.1.nc1", "nc4"}
    assert not set(found.absent) & {"nc2_w", "nc2_h", "nc3", "nc1_trace", "cdnv", "etf_h", "class.margin"}
    assert "not known: nc1" in str(found)


def test_merged_in_any_order_and_pickled() -> None:
    """Parts in which classes are missing, about other pivots, and one that has seen nothing."""
    features, labels = samples()
    weights, bias = head(2)
    by_class = torch.argsort(labels)
    parts = [by_class[:50], by_class[50:70], by_class[70:], by_class[:0]]
    meters = [ncrun.CollapseMeter(K) for _ in parts]
    for meter, part in zip(meters[:3], parts, strict=False):
        fill(meter, features[part], labels[part])
    whole = ncrun.measure(features, labels, weights, bias, nonnegative_features=False)
    for order in ([0, 1, 2, 3], [3, 2, 0, 1]):
        total = ncrun.CollapseMeter(K)
        for each in order:
            total.merge(pickle.loads(pickle.dumps(meters[each])))
        assert_same(total.compute(weights, bias, nonnegative_features=False), whole)
    seconds = [ncrun.SecondPass(total.means(), weights, bias) for _ in parts]
    for second, part in zip(seconds[:3], parts, strict=False):
        fill(second, features[part], labels[part])
        seconds[3].merge(pickle.loads(pickle.dumps(second)))
    assert_same(seconds[3].compute(nonnegative_features=False), whole)


def test_a_merged_meter_is_its_own() -> None:
    features, labels = samples()
    one = fill(ncrun.CollapseMeter(K), features, labels)
    total = one.reduced()  # no ranks: a copy
    before = one.means().means.clone()
    fill(total, features + 1, labels)
    assert torch.equal(one.means().means, before)


@pytest.mark.parametrize("kind", ["numpy", "list", "float16", "bfloat16", "float32"])
def test_any_array(kind: str) -> None:
    """Below float64 the features are what they were rounded to; all further sums are float64."""
    features, labels = samples(dtype=getattr(torch, kind, torch.float64))
    (weight,), _ = head()
    whole = ncrun.measure(features, labels, weight, nonnegative_features=False)
    given: Any = {"numpy": features.numpy, "list": features.tolist}.get(kind, lambda: features.requires_grad_())()
    meter = ncrun.CollapseMeter(K)
    meter.update(given, labels.numpy() if kind == "numpy" else labels.to(torch.uint8))
    assert_same(meter.compute(weight, nonnegative_features=False), whole)


@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-7])
def test_near_collapse(spread: float) -> None:
    """Features 10 from the origin whose classes have a relative spread of `spread`: a variance from sums about the
    origin would have 1e-16 (10/spread)^2 = 1 of an error at the last, and the meter's has none to speak of. 1e-8 where
    the features' own float64 rounding, 1e-15 / spread, is seen by both."""
    features, labels = samples(spread)
    (weight,), bias = head()
    whole = ncrun.measure(features, labels, weight, bias, nonnegative_features=False)
    meter = fill(ncrun.CollapseMeter(K), features, labels)
    found = meter.compute(weight, bias, nonnegative_features=False)
    for key in ("nc1", "nc1_trace", "cdnv"):
        assert found.metrics[key] == pytest.approx(whole.metrics[key], rel=1e-8)
    halves = [fill(ncrun.CollapseMeter(K), features[half::2], labels[half::2]) for half in (0, 1)]
    halves[0].merge(halves[1])
    assert halves[0].compute(weight, bias, nonnegative_features=False).metrics["nc1"] == pytest.approx(
        whole.metrics["nc1"], rel=1e-8
    )


def test_of_a_test_split() -> None:
    features, labels = samples()
    test_features, test_labels = samples(1.0, counts=(5, 6, 7, 8), seed=3)
    weights, bias = head(2)
    whole = ncrun.measure(
        features, labels, weights, bias, nonnegative_features=False, test=(test_features, test_labels)
    )
    means = fill(ncrun.CollapseMeter(K), features, labels).means()
    second = fill(ncrun.SecondPass(means, weights, bias), features, labels)
    test_means = fill(ncrun.CollapseMeter(K, scatter=False), test_features, test_labels).means()
    tested = fill(ncrun.SecondPass(test_means, weights, bias, train_means=means), test_features, test_labels)
    assert_same(second.compute(nonnegative_features=False, test=tested), whole)
    with pytest.raises(UserError, match="train_means"):
        second.compute(nonnegative_features=False, test=second)


def first(meter: ncrun.CollapseMeter | None = None, **changes: Any) -> ncrun.CollapseMeter:
    features, labels = samples(**changes)
    return fill(meter or ncrun.CollapseMeter(K), features, labels)


def second(**changes: Any) -> ncrun.SecondPass:
    return ncrun.SecondPass(first(**changes).means(), *head())


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "labels beyond K": (
        lambda: ncrun.CollapseMeter(3).update([[1.0], [2.0]], [0, 3]),
        "labels: go from 0 to 3; expected 0 to 2",
    ),
    "labels below 0": (lambda: first().update(torch.ones(2, WIDTH).double(), [-1, 0]), "labels: go from -1 to 0"),
    "labels that are no integers": (lambda: ncrun.CollapseMeter(3).update([[1.0]], [0.5]), "labels: expected integers"),
    "labels of another number": (lambda: ncrun.CollapseMeter(3).update([[1.0]], [0, 1]), "labels: expected (1,)"),
    "features of another width": (
        lambda: first().update(torch.ones(2, 5).double(), [0, 1]),
        "features: have dimension 5, but earlier batches had 9",
    ),
    "features of another precision": (
        lambda: first().update(torch.ones(2, WIDTH), [0, 1]),
        "features: are float32, but earlier batches were float64",
    ),
    "features that are no matrix": (lambda: ncrun.CollapseMeter(3).update([1.0], [0]), "features: expected a matrix"),
    "whole numbers": (lambda: ncrun.CollapseMeter(3).update([[1]], [0]), "features: expected float16"),
    "not finite": (
        lambda: ncrun.CollapseMeter(3).update([[1.0], [float("nan")]], [0, 1]),
        "features: 1 of the batch's values are not finite",
    ),
    "logits of another shape": (
        lambda: ncrun.CollapseMeter(3).update([[1.0]], [0], [[1.0, 2.0]]),
        "logits: expected (1,3), one for each sample and class, found (1,2)",
    ),
    "one class": (lambda: ncrun.CollapseMeter(1), "num_classes=1: collapse needs at least two classes"),
    "unknown loss": (lambda: ncrun.CollapseMeter(3, loss="crossentropy"), "loss=crossentropy: not one of mse, ce"),
    "nothing seen": (lambda: ncrun.CollapseMeter(3).compute([[1.0]] * 3), "meter: has seen no sample yet"),
    "nothing seen, means": (lambda: ncrun.CollapseMeter(3).means(), "meter: has seen no sample yet"),
    "a class without a sample": (
        lambda: first(ncrun.CollapseMeter(6)).means(),
        "labels: class 4 has no sample yet; every class 0 to 5 needs one",
    ),
    "merge of other K": (
        lambda: first().merge(first(ncrun.CollapseMeter(5))),
        "merge: 4 classes here, and 5 there",
    ),
    "merge of other d": (lambda: first().merge(first(width=5)), "merge: features of dimension 9 here, and 5 there"),
    "merge of other precision": (
        lambda: first().merge(first(dtype=torch.float32)),
        "merge: features of precision float64 here, and float32 there",
    ),
    "merge of other loss": (
        lambda: first().merge(first(ncrun.CollapseMeter(K, loss="ce"))),
        "merge: loss=mse here, and loss=ce there",
    ),
    "merge without scatter": (
        lambda: first().merge(first(ncrun.CollapseMeter(K, scatter=False))),
        "merge: scatter=True here, and scatter=False there",
    ),
    "a classifier of other K": (
        lambda: first().compute(torch.ones(3, WIDTH)),
        "classifier: has 3 rows, but the meter has 4 classes",
    ),
    "a classifier of other d": (
        lambda: ncrun.SecondPass(first().means(), torch.ones(K, 5)),
        "classifier: reads 5 numbers, but features has 9",
    ),
    "second pass, nothing seen": (lambda: second().compute(), "meter: has seen no sample yet"),
    "second pass of other d": (
        lambda: second().update(torch.ones(2, 5), [0, 1]),
        "features: have dimension 5, but in the first pass 9",
    ),
    "second pass of fewer samples": (
        lambda: fill(second(), *samples(counts=(40, 25, 30, 6))).compute(),
        "second pass: saw 6 samples of class 3, but the first pass 7",
    ),
    "second pass of other samples": (
        lambda: fill(second(), *samples(seed=1)).compute(),
        "second pass: the mean of class 0 is",
    ),
    "merge of second passes about other means": (
        lambda: second().merge(second(seed=1)),
        "merge: the two have different class means",
    ),
    "merge of second passes of other heads": (
        lambda: second().merge(ncrun.SecondPass(first().means(), 2 * head()[0][0])),
        "merge: the two have different classifiers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    act, words = REFUSED[case]
    with pytest.raises(UserError) as refusal:
        act()
    assert str(refusal.value).startswith(words), refusal.value
    assert "\n" not in str(refusal.value)


def test_a_refused_batch_does_not_count() -> None:
    features, labels = samples()
    meter = fill(ncrun.CollapseMeter(K), features, labels)
    before = pickle.dumps(meter)
    for batch in ((features[:2] * -1e9, [0, 9]), (features[:2], [0, 1], [[1.0]])):
        with pytest.raises(UserError):
            meter.update(*batch)
    assert pickle.dumps(meter) == before


def test_the_sign_of_the_features_is_seen() -> None:
    features, labels = samples()
    assert bool((features > 0).all())
    (weight,), _ = head()
    meter = fill(ncrun.CollapseMeter(K), features, labels)
    with pytest.raises(UserError, match="none is negative"):
        meter.compute(weight)
    assert meter.compute(weight, nonnegative_features=True).problem.feature_sign == "nonnegative"
    meter.update(-features[:1], labels[:1])
    assert meter.compute(weight).problem.feature_sign == "free"
    with pytest.raises(UserError, match="has negative values"):
        meter.compute(weight, nonnegative_features=True)


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    """Features, sums and the second pass on the device; the classifier wherever it lies."""
    features, labels = samples()
    weights, bias = head(2)
    whole = ncrun.measure(features, labels, weights, bias, nonnegative_features=False)
    meter = fill(ncrun.CollapseMeter(K), features.cuda(), labels)
    assert meter.means().means.is_cuda
    assert_same(meter.compute(weights, bias, nonnegative_features=False), whole)
    meter.merge(fill(ncrun.CollapseMeter(K), features, labels))  # one that lies on the CPU
    second = fill(ncrun.SecondPass(meter.means(), weights, bias), features.cuda(), labels.cuda())
    second.merge(fill(ncrun.SecondPass(meter.means(), weights, bias), features, labels))
    twice = ncrun.measure(torch.cat([features] * 2), torch.cat([labels] * 2), weights, bias, nonnegative_features=False)
    assert_same(second.compute(nonnegative_features=False), twice)
