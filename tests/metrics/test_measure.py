"""`ncrun measure` and `ncrun.measure`: against what a real run logged, against exact frames, and what is refused."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PATIENCE_S, Command, Refused, RunOf, built, contents, rows
from torch import nn

import ncrun as package
from ncrun.data.tensors import load
from ncrun.errors import UserError
from ncrun.models.head import LinearHead, new_layers
from ncrun.theory import Problem, predict

COUNTS = "counts=[6,6,6,6,6,5,5,5,4,4]"
SMALL = ("model.depth=1", "model.width=8", "epochs=2", "threads=1", COUNTS, "decay.weight=1e-2", "decay.feature=2e-3")
# The same float64 sums over the same float32 features; only the order of some of them may differ.
TOLERANCE = {"rel": 1e-9, "abs": 1e-12}
# What needs the training, not only its result.
OF_TRAINING = {"epoch", "step", "lr", "seconds"}


def arrays_of(directory: Path, overrides: list[str], run_of: RunOf) -> dict[str, Any]:
    """What a user would save: the features of both splits, in evaluation mode, and the head, from the checkpoint."""
    run = run_of(*overrides)
    network = built(run)
    network.load_state_dict(torch.load(directory / "checkpoint.pt", weights_only=True)["network"])
    network.eval()
    data = load(run.data, torch.device("cpu"), torch.float32)
    layers = [layer.weight.detach().numpy() for layer in network.head.layers]
    names = ["classifier"] if len(layers) == 1 else [f"classifier_{m + 1}" for m in range(len(layers))]
    with torch.no_grad():
        arrays = {
            "features": network.features(data.train_images).numpy(),
            "labels": data.train_labels.numpy(),
            "test_features": network.features(data.test_images).numpy(),
            "test_labels": data.test_labels.numpy(),
        }
    if run.problem.bias:
        arrays["bias"] = network.head.layers[-1].bias.detach().numpy()
    return arrays | dict(zip(names, layers, strict=True))


@pytest.mark.parametrize(
    ("overrides", "flags"),
    [
        ([], []),
        (["head.depth=3", "head.bias=true"], []),
        (["loss=ce", "head.bias=true"], ["--loss", "ce"]),
        (["model.features=relu"], ["--relu-features"]),
        (
            ["loss=ce", "label_smoothing=0.1", "class_weights=balanced", "logit_adjustment=1"],
            ["--loss", "ce", "--label-smoothing", "0.1", "--class-weights", "balanced", "--logit-adjustment", "1"],
        ),
    ],
    ids=str,
)
def test_equals_what_a_run_logged(
    overrides: list[str], flags: list[str], ncrun: Command, undrawn: None, workdir: Path, run_of: RunOf
) -> None:
    """Every column of the last row, and the prediction, from the arrays alone."""
    overrides = [*SMALL, *overrides]
    assert ncrun("train", *overrides, "run_dir=run").status == 0
    np.savez(workdir / "net.npz", **arrays_of(workdir / "run", overrides, run_of))
    result = ncrun("measure", "net.npz", "--decay-weight", "1e-2", "--decay-feature", "2e-3", "--json", *flags)
    assert (result.status, result.err) == (0, "")
    found = json.loads(result.out)
    logged = {key: value for key, value in rows(workdir / "run")[-1].items() if key not in OF_TRAINING}
    assert set(found["metrics"]) == set(logged)
    for key, value in logged.items():
        measured = found["metrics"][key]
        if value is None or isinstance(value, list):
            assert measured == (None if value is None else pytest.approx(value, **TOLERANCE)), key
        else:
            assert measured == pytest.approx(value, **TOLERANCE), key
    assert found["theory"] == json.loads((workdir / "run" / "theory.json").read_text())
    assert json.loads((workdir / "run" / "manifest.json").read_text())["summary"] == found["summary"]


def optimum(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and a classifier that realise a predicted geometry without a bias: from its Gram matrices."""
    prediction = predict(problem)
    weight_gram, feature_gram = prediction.layers[0].weight_gram, prediction.layers[0].feature_gram
    counts = np.array(problem.counts, dtype=int)
    weights, means = np.sqrt(np.diag(weight_gram)), np.sqrt(np.diag(feature_gram))
    assert np.allclose(weight_gram, np.diag(weights**2))  # squared loss without a bias: an orthogonal frame
    labels = np.repeat(np.arange(len(counts)), counts)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(problem.widths[0], len(counts))))[0]
    return means[labels, None] * turn.T[labels], labels, np.diag(weights) @ turn.T


def test_an_exact_optimum_is_recognised() -> None:
    """Imbalanced orthogonal frame: no gap, no distance, and far from the balanced prediction. 1e-7 where it is the
    square root of a float64 rounding."""
    problem = Problem("mse", (40.0, 20.0, 10.0), (7,), False, (5e-3,), 5e-3)
    features, labels, weights = optimum(problem)
    found = package.measure(features, labels, weights, decay_weight=5e-3, decay_feature=5e-3)
    metrics = found.metrics
    assert metrics["gap"] == pytest.approx(0, abs=1e-12)
    assert metrics["loss"] == pytest.approx(predict(problem).objective, rel=1e-12)
    for key in ("nc2_w", "nc2_h", "nc3", "nc1", "nc4"):
        assert metrics[key] == pytest.approx(0, abs=1e-7), key
    for part in ("within_class", "duality", "geometry"):
        assert metrics[f"ledger.{part}"] == pytest.approx(0, abs=1e-14)
    assert metrics["balanced.nc2_w"] > 0.1
    assert metrics["class.margin"] == pytest.approx([entry["margin"] for entry in found.theory["classes"]], rel=1e-12)
    assert found.theory["claim"] == "proven"


def simplex(num_classes: int, per_class: int, spread: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    frame = np.eye(num_classes) - 1 / num_classes
    labels = np.repeat(np.arange(num_classes), per_class)
    return frame[labels] + spread * rng.normal(size=(len(labels), num_classes)), labels, frame


def test_a_simplex_without_decays_is_at_the_shape_of_vanishing_decay() -> None:
    found = package.measure(*simplex(4, 5), loss="ce")
    for key in ("etf_w", "etf_h", "duality", "nc2_w", "nc2_h", "nc3", "nc4", "nc1"):
        assert found.metrics[key] == pytest.approx(0, abs=1e-12), key
    assert found.metrics["loss"] is found.metrics["gap"] is found.metrics["balance"] is None
    assert found.theory["claim"] == "transferred"
    assert found.theory["scale_free"]
    assert "shape expected at vanishing decay" in found.summary


def test_a_deep_head_is_its_product() -> None:
    """Two layers against their product as one: what does not know of layers is the same; balance sees them."""
    features, labels, frame = simplex(4, 50, spread=0.2)
    lower = np.random.default_rng(2).normal(size=(6, 4))
    upper = frame @ np.linalg.pinv(lower)
    deep = package.measure(features, labels, [lower, upper], decay_weight=1e-3)
    flat = package.measure(features, labels, upper @ lower)
    for key in ("nc1", "nc4", "etf_w", "etf_h", "duality", "train_accuracy", "class.margin"):
        assert deep.metrics[key] == pytest.approx(flat.metrics[key], rel=1e-9), key
    wanted = np.linalg.norm(upper.T @ upper - lower @ lower.T) / np.linalg.norm(lower @ lower.T)
    assert deep.metrics["balance"] == pytest.approx(wanted, rel=1e-12)
    assert deep.metrics["head.2.nc1"] is not None


def test_tensors_and_half_precision_are_read() -> None:
    features, labels, weights = simplex(3, 20, spread=0.1)
    half = features.astype(np.float16)
    wanted = package.measure(half.astype(np.float32), labels, weights)
    for given in (half, torch.tensor(half), torch.tensor(half, requires_grad=True)):
        assert package.measure(given, torch.tensor(labels), torch.tensor(weights)).metrics == wanted.metrics
    bfloat = torch.tensor(features).to(torch.bfloat16)
    assert package.measure(bfloat, labels, weights).metrics == package.measure(bfloat.float(), labels, weights).metrics


def test_a_module_is_its_weights() -> None:
    """nn.Linear, nn.Sequential of them, also with one ReLU used twice, and the heads of ncrun's own networks."""
    torch.manual_seed(0)
    features, labels, _ = simplex(4, 20, spread=0.2)
    last = nn.Linear(4, 4).double()
    wanted = package.measure(features, labels, last.weight, last.bias)
    assert package.measure(features, labels, last).metrics == wanted.metrics
    assert wanted.problem.bias
    # So wide that no sample is left without a living ReLU: its logits would tie, and argmax is no judge of that.
    sizes = [(4, 32), (32, 32), (32, 4)]
    layers = [nn.Linear(*size, bias=False).double() for size in sizes]
    linear = nn.Sequential(nn.Flatten(), nn.Sequential(layers[0], nn.Dropout()), *layers[1:])
    arrays = package.measure(features, labels, [layer.weight for layer in layers])
    assert package.measure(features, labels, linear).metrics == arrays.metrics
    act = nn.ReLU()
    relu = package.measure(features, labels, nn.Sequential(layers[0], act, layers[1], act, layers[2]))
    assert relu.problem == replace(arrays.problem, head="relu")
    outputs = torch.tensor(features)
    for m, layer in enumerate(layers):
        outputs = (outputs.relu() if m else outputs) @ layer.weight.T
    assert (outputs.amax(dim=1) != 0).all()
    accuracy = float((outputs.argmax(dim=1) == torch.tensor(labels)).double().mean())
    assert relu.metrics["train_accuracy"] == pytest.approx(accuracy, abs=1e-15)
    own = LinearHead(new_layers((4, 4), 4, bias=True)).double()
    by_hand = package.measure(features, labels, own.weights, own.layers[-1].bias)
    assert package.measure(features, labels, own).metrics == by_hand.metrics


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (nn.Conv2d(3, 3, 1), "is a module Conv2d; give an nn.Linear"),
        (nn.Sequential(nn.Linear(3, 3, bias=False), nn.GELU(), nn.Linear(3, 3)), "holds a layer GELU"),
        (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), "layer 1 has a bias"),
        (nn.Sequential(nn.Linear(3, 3), nn.ReLU()), "has a ReLU in some places only"),
        (nn.Sequential(nn.Flatten()), "holds no nn.Linear"),
        (nn.Linear(2, 3), "reads 2 numbers, but features has 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused_modules(module: nn.Module, line: str) -> None:
    with pytest.raises(UserError, match=rf"^classifier: {line}"):
        package.measure(*simplex(3, 4)[:2], module)
    with pytest.raises(UserError, match=r"^bias: the classifier is a module with its own bias"):
        package.measure(*simplex(3, 4)[:2], nn.Linear(3, 3), np.zeros(3))


def test_short_in_a_terminal_and_whole_in_a_notebook() -> None:
    features, labels, weights = simplex(3, 4, spread=0.1)
    found = package.measure(features, labels, weights, decay_weight=1e-3, decay_feature=1e-3)
    assert repr(found) == f"<ncrun.Measurement: 3 classes; {found.summary}>"
    table = found.table()
    assert list(table["margin"]) == found.metrics["class.margin"]
    assert list(table["predicted margin"]) == [entry["margin"] for entry in found.theory["classes"]]
    assert "predicted nc1" not in table
    shown = found._repr_html_()
    assert "predicted margin" in shown
    assert "nc2_w" in shown


def test_the_sign_of_the_features_has_to_be_said_where_it_cannot_be_seen() -> None:
    features, labels, weights = simplex(3, 4)
    positive = features - features.min() + 0.1
    with pytest.raises(UserError, match=r"none is negative.*--relu-features.*--free-features"):
        package.measure(positive, labels, weights)
    for choice, sign in ((True, "nonnegative"), (False, "free")):
        found = package.measure(positive, labels, weights, loss="ce", nonnegative_features=choice)
        assert found.problem.feature_sign == sign
    with pytest.raises(UserError, match="has negative values"):
        package.measure(features, labels, weights, nonnegative_features=True)
    assert package.measure(features, labels, weights).problem.feature_sign == "free"


def test_table_for_people(ncrun: Command, workdir: Path) -> None:
    features, labels, weights = simplex(3, 5, spread=0.1)
    np.savez(workdir / "net.npz", features=features, labels=labels, classifier=weights)
    result = ncrun("measure", "net.npz", "--decay-weight", "1e-3", "--decay-feature", "1e-3")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert (
        lines[0] == "3 classes, 15 samples, free features of dimension 3, linear head of depth 1, squared loss, no bias"
    )
    assert "from the predicted geometry" in lines[1]
    (start,) = [i for i, line in enumerate(lines) if line.split()[:2] == ["class", "count"]]
    assert "margin (predicted)" in lines[start]
    assert [line.split()[:2] for line in lines[start + 1 : start + 4]] == [[str(k), "5"] for k in range(3)]
    assert any(re.fullmatch(r"nc1 +\d\.\d+", line) for line in lines)
    assert "[" not in result.out


GOOD = dict(zip(("features", "labels", "classifier"), simplex(3, 4), strict=True))


def altered(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (GOOD | changes).items() if value is not None}


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    changed = array.copy()
    changed[0, 0] = value
    return changed


LABELS = GOOD["labels"]


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        (altered(labels=None), ["lacks labels", "features, classifier"]),
        (altered(classifier=None), ["lacks classifier", "features, labels"]),
        (altered(classifier=None, classifier_1=np.eye(3), classifier_3=np.eye(3)), ["lacks classifier_2"]),
        (altered(classifier_1=np.eye(3)), ["both classifier and classifier_1"]),
        (altered(test_labels=LABELS), ["test_features and test_labels"]),
        (altered(baised=np.zeros(3)), ["baised", "bias"]),
        (altered(features=GOOD["features"][0]), ["features: expected a matrix", "(3,)"]),
        (altered(features=np.zeros((0, 3))), ["features", "(0,3)"]),
        (altered(features=np.ones((12, 3), dtype=int)), ["features", "float32", "int64"]),
        (altered(features=with_value(GOOD["features"], np.nan)), ["features: 1 of its values"]),
        (altered(classifier=with_value(GOOD["classifier"], np.inf)), ["classifier: 1 of its values"]),
        (altered(features=1e200 * GOOD["features"]), ["too large"]),
        (altered(labels=LABELS[:-1]), ["labels: expected (12,)", "(11,)"]),
        (altered(labels=LABELS.astype(float)), ["labels: expected integers", "float64"]),
        (altered(labels=LABELS + 1), ["labels: go from 1 to 3", "0 to 2"]),
        (altered(labels=np.minimum(LABELS, 1)), ["labels: class 2 has no sample"]),
        (altered(labels=np.array([{}] * 12, dtype=object)), ["labels holds Python objects"]),
        (altered(classifier=np.eye(3, 5)), ["classifier: reads 5", "features has 3", "(3,5)"]),
        (altered(classifier=None, classifier_1=np.eye(4, 3), classifier_2=np.eye(3)), ["classifier_2", "classifier_1"]),
        (altered(bias=np.zeros(2)), ["bias: expected (3,)", "(2,)"]),
        (altered(bias=np.zeros((3, 1))), ["bias: expected a vector", "(3,1)"]),
        (altered(test_features=np.zeros((2, 4)), test_labels=LABELS[:2]), ["test_features", "dimension 3", "4"]),
        (altered(test_features=GOOD["features"][:2], test_labels=LABELS[:2]), ["test_labels: class 1 has no sample"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_refused_files(arrays: dict[str, Any], parts: list[str], refused: Refused, workdir: Path) -> None:
    np.savez(workdir / "net.npz", **arrays)
    line = refused("measure", "net.npz")
    for part in parts:
        assert part in line


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["FILE.npz"]),
        (["nowhere.npz"], ["nowhere.npz", "no such file"]),
        (["text.npz"], ["text.npz", "not an .npz file"]),
        (["single.npy"], ["single.npy", "single array"]),
        (["net.npz", "--loss", "hinge"], ["'hinge'", "mse"]),
        (["net.npz", "--decay-feature", "1e-3"], ["decay_feature=0.001", "decay_weight"]),
        (["net.npz", "--decay-weight", "1e-3,1e-3"], ["decay_weight", "found 2"]),
        (["net.npz", "--label-smoothing", "0.1"], ["label_smoothing=0.1", "loss=mse"]),
        (["net.npz", "--loss", "ce", "--class-weights", "1,2,3,4,5,6,7"], ["class_weights: has 7 entries"]),
        (["net.npz", "--decay-weight", "much"], ["--decay-weight", "'much'"]),
        (["net.npz", "--decay-weight", "-1"], ["decay_weight=-1"]),
        (["net.npz", "--decay-weight", "nan", "--decay-feature", "1"], ["decay_weight=nan"]),
        (["net.npz", "--relu-features"], ["--relu-features", "negative values"]),
        (["net.npz", "--relu-features", "--free-features"], ["not allowed with"]),
    ],
    ids=" ".join,
)
def test_refused_commands(arguments: list[str], parts: list[str], refused: Refused, workdir: Path) -> None:
    np.savez(workdir / "net.npz", **GOOD)
    np.save(workdir / "single.npy", GOOD["features"])
    (workdir / "text.npz").write_text("features")
    line = refused("measure", *arguments)
    for part in parts:
        assert part in line


def test_the_example_in_the_readme(ncrun: Command, workdir: Path) -> None:
    """Its Python block is run as it stands."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "ncrun.measure(" in code]
    found: dict[str, Any] = {}
    exec(block, found)  # what a reader would paste
    assert found["found"].metrics["nc1"] > 0
    assert found["found"].theory["claim"] == "proven"
    assert contents(workdir) == {}


def test_importing_ncrun_stays_light() -> None:
    code = "import sys, ncrun; assert not {'torch', 'numpy'} & set(sys.modules)"
    code += "; ncrun.measure; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)
    with pytest.raises(AttributeError, match="nosuch"):
        package.nosuch  # noqa: B018


@pytest.mark.parametrize("name", ["features", "classifier", "test_features"])
@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e-200, 1e-160])
def test_numbers_whose_squares_vanish_are_refused(name: str, size: float) -> None:
    arrays = dict(zip(("features", "labels", "classifier"), simplex(3, 4, 0.1), strict=True))
    arrays["test_features"] = arrays["features"]
    arrays[name] = arrays[name] * size
    with pytest.raises(UserError, match=rf"^{name}: .* too small to measure") as error:
        package.measure(
            arrays["features"],
            arrays["labels"],
            arrays["classifier"],
            decay_weight=1e-3,
            decay_feature=1e-3,
            nonnegative_features=False,
            test=(arrays["test_features"], arrays["labels"]),
        )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("decay", [1e-300, 1e-320])
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_decays_near_the_smallest_numbers(loss: str, decay: float) -> None:
    """What is predicted is a number or `none`; the gap to it is a number or null, and never a division by zero."""
    features, labels, classifier = simplex(3, 4, 0.1)
    found = package.measure(
        features, labels, classifier, loss=loss, decay_weight=decay, decay_feature=decay, nonnegative_features=False
    )
    assert (found.metrics["gap"] is None) == (found.theory["claim"] == "none")
    assert (found.theory["objective"] is None) == (found.theory["claim"] == "none")


def test_all_zero_features_can_be_measured() -> None:
    features, labels, classifier = simplex(3, 4)
    assert package.measure(0 * features, labels, classifier, nonnegative_features=False).metrics["nc1"] is None


def test_a_single_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"^classifier: has one row; collapse needs at least two classes$"):
        package.measure(np.ones((4, 3)), np.zeros(4, dtype=int), np.ones((1, 3)), nonnegative_features=False)


ON_TARGETS = ("dataset=linnerud", "head.bias=true", "head.depth=2", "head.width=2", "dtype=float32")


def test_targets_equal_what_a_run_logged(ncrun: Command, undrawn: None, workdir: Path, run_of: RunOf) -> None:
    """Every column of the last row of a run on numbers, the test split's too, and the prediction."""
    overrides = [*(key for key in SMALL if key != COUNTS), *ON_TARGETS]
    assert ncrun("train", *overrides, "run_dir=run").status == 0
    arrays = arrays_of(workdir / "run", overrides, run_of)
    for split in ("", "test_"):
        arrays[f"{split}targets"] = arrays.pop(f"{split}labels")
    np.savez(workdir / "net.npz", **arrays)
    decays = ("--decay-weight", "1e-2", "--decay-feature", "2e-3")
    result = ncrun("measure", "net.npz", *decays, "--json")
    assert (result.status, result.err) == (0, "")
    found = json.loads(result.out)
    logged = {key: value for key, value in rows(workdir / "run")[-1].items() if key not in OF_TRAINING}
    assert set(found["metrics"]) == set(logged)
    for key, value in logged.items():
        assert found["metrics"][key] == (None if value is None else pytest.approx(value, **TOLERANCE)), key
    assert found["theory"] == json.loads((workdir / "run" / "theory.json").read_text())
    lines = ncrun("measure", "net.npz", *decays).out.splitlines()
    assert lines[0].startswith("targets of 3 numbers, 16 samples, free features of dimension 8, linear head of depth 2")
    (start,) = [i for i, line in enumerate(lines) if line.split()[:2] == ["direction", "deviation"]]
    assert "kept (predicted)" in lines[start]
    kept = [entry["kept"] for entry in found["theory"]["directions"]]
    assert [line.split()[-1] for line in lines[start + 1 : start + 4]] == [f"({value:.4g})" for value in kept]


def test_one_number_is_a_target_and_an_optimum_is_one() -> None:
    """The exact optimum of one layer without a bias: W = s u^T and h_i = t y_i u with s^2 = sqrt(N lam_H / lam_W)
    (sigma - sqrt(N lam_H lam_W)), and t what the normal equations then leave; the value 1/2 of the squares not kept."""
    rng = np.random.default_rng(1)
    targets, lam_w, lam_h = rng.standard_normal(40) + 1, 1e-2, 1e-3
    N, sigma = len(targets), np.sqrt(np.mean(targets**2))
    power = np.sqrt(N * lam_h / lam_w) * (sigma - np.sqrt(N * lam_h * lam_w))
    direction = np.full(5, 1 / np.sqrt(5))
    weights = np.sqrt(power) * direction[None]
    features = np.outer(targets, direction) * np.sqrt(power) / (power + N * lam_h)
    found = package.measure(features, None, weights, targets=targets, decay_weight=lam_w, decay_feature=lam_h)
    assert found.theory["claim"] == "proven"
    assert abs(found.metrics["gap"]) < 1e-12
    assert found.metrics["nrc1"] == pytest.approx(0, abs=1e-12)
    assert found.metrics["direction.weight_norm_sq"] == pytest.approx([power], rel=1e-12)
    table = found.table()
    assert list(table["predicted kept"]) == pytest.approx(found.metrics["direction.kept"], rel=1e-12)
    assert repr(found).startswith("<ncrun.Measurement: targets of 1 number; ")
    assert "predicted kept" in found._repr_html_()


TARGETS = {"features": GOOD["features"], "targets": np.arange(36.0).reshape(12, 3), "classifier": GOOD["classifier"]}


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"labels": LABELS}, ["holds labels and targets"]),
        ({"targets": np.zeros((11, 3))}, ["targets: expected (12,3)", "(11,3)"]),
        ({"targets": np.zeros(12)}, ["targets: expected (12,3)", "(12,1)"]),
        ({"targets": with_value(TARGETS["targets"], np.nan)}, ["targets: row 0", "not finite"]),
        ({"targets": np.array(["a"] * 12)}, ["targets: must be an array of numbers"]),
        ({"test_targets": np.zeros((2, 3))}, ["test_features and test_targets must both be there"]),
        ({"test_features": np.ones((2, 3)), "test_labels": LABELS[:2]}, ["test_targets must both be there"]),
        ({"test_features": np.ones((2, 3)), "test_targets": np.ones((3, 3))}, ["test_targets: expected (2,3)"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_refused_targets(arrays: dict[str, Any], parts: list[str], refused: Refused, workdir: Path) -> None:
    np.savez(workdir / "net.npz", **TARGETS | arrays)
    line = refused("measure", "net.npz")
    for part in parts:
        assert part in line


def test_labels_or_targets() -> None:
    features, labels, weights = simplex(3, 4)
    with pytest.raises(UserError, match=r"^labels and targets: one of them is needed"):
        package.measure(features, None, weights)
    with pytest.raises(UserError, match=r"^labels and targets: give one of them"):
        package.measure(features, labels, weights, targets=labels)
    with pytest.raises(UserError, match=r"^loss=ce: needs classes"):
        package.measure(features, None, weights, targets=np.ones((12, 3)), loss="ce")
