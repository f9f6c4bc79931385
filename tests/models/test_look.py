"""What a stranger's network is asked before its problem is posed, and what is refused then."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from ncrun import own_file
from ncrun.errors import UserError
from ncrun.models.own import source
from ncrun.models.own.look import Found, look
from ncrun.models.own.spec import Module

FILE = str(Path(__file__).with_name("strangers.py"))
SHAPE = (1, 8, 8)


def spec(name: str, args: dict[str, Any] | None = None, **keys: Any) -> Module:
    return Module(path=f"{FILE}:{name}" if ":" not in name else name, args=args or {}, **keys)


def found(name: str, args: dict[str, Any] | None = None, **keys: Any) -> Found:
    given = spec(name, args, **keys)
    given.check()
    return look(given, SHAPE, 10)


def told(name: str, args: dict[str, Any] | None = None, **keys: Any) -> str:
    with pytest.raises(UserError) as refusal:
        found(name, args, **keys)
    return str(refusal.value).replace(FILE, "FILE")


@pytest.mark.parametrize(
    ("name", "sign", "how"),
    [
        ("Plain", "free", "last layer, second (Linear)"),
        ("LastReLU", "nonnegative", "last layer, 1 (ReLU)"),  # behind pooling and flattening
        ("LastNorm", "free", "last layer, norm (BatchNorm1d)"),
        # A function behind the last layer, or in its place, is not taken for the layer.
        ("FunctionalReLU", "nonnegative", "features on 8 images: none is negative"),
        ("InPlaceReLU", "nonnegative", "features on 8 images: none is negative"),
        ("Smooth", "free", "features on 8 images: "),
    ],
)
def test_the_sign(name: str, sign: str, how: str) -> None:
    asked = found(name)
    assert asked.sign == sign
    assert asked.how.startswith(f"from its {how}")


def test_constructors_are_given_what_they_ask_for() -> None:
    """The shape of the images and the number of classes by their names, and what is typed; the width follows."""
    assert found("Plain").width == 6
    assert found("Plain", {"width": 11}).width == 11
    assert found("Plain", {"input_shape": [1, 8, 8]}).width == 6  # what is typed wins
    assert found("made_by_a_function").width == 4
    assert found("asks", {"dim": 3, "heads": 5}).width == 15
    assert found("Classifier", head=["low", "top"]).width == 9


def test_its_own_head() -> None:
    """Its widths and bias; the layers are taken out of the network."""
    two = found("Classifier", head=["low", "top"])
    assert (two.width, two.head_widths, two.head_bias) == (9, (9, 7), True)
    one = found("Classifier", head="top")
    assert (one.width, one.head_widths, one.how) == (7, (7,), "from its last layer, low (Linear)")
    backbone, layers = spec("Classifier", head=["low", "top"]).parts(SHAPE, 10)
    assert layers is not None
    assert [layer.out_features for layer in layers] == [7, 10]
    assert backbone(torch.zeros(2, *SHAPE)).shape == (2, 9)


def test_the_same_weights_whatever_was_done_before() -> None:
    """Executing the file and looking at the network leave torch's random state alone."""
    source._executed.clear()
    torch.manual_seed(3)
    first = spec("Plain").parts(SHAPE, 10)[0].state_dict()
    found("Plain", {"width": 13})
    torch.manual_seed(3)
    second = spec("Plain").parts(SHAPE, 10)[0].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_file_that_changes_is_executed_anew(tmp_path: Path) -> None:
    """As in a notebook, whose process lives on while the file is edited."""
    file = tmp_path / "net.py"
    code = "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, {}))\n"
    for width in (3, 4):
        file.write_text(code.format(width))
        assert found(f"{file}:net").width == width


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (None, "model.path=: model=module needs a network, such as model.path=nets.py:TinyViT, torchvision:resnet18"),
        ("nets", "model.path=nets: names no network; it can be nets.py:TinyViT, torchvision:resnet18 or timm:"),
        ("none.py:Net", "model.path=none.py:Net: no such Python file (.py)"),
        ("none.py", "model.path=none.py: no such Python file (.py)"),
        ("torchvision:", "model.path=torchvision:: names no model of torchvision"),
        (
            "torchvision:resnet19",
            "model.path=torchvision:resnet19: torchvision has no image classifier of this name; did you mean 're",
        ),
        (
            "torchvision:fcos_resnet50_fpn",
            "model.path=torchvision:fcos_resnet50_fpn: torchvision has no image classifier of this name",
        ),
    ],
)
def test_paths_that_are_refused(path: str | None, line: str) -> None:
    asked = Module(path=path)
    with pytest.raises(UserError) as refusal:
        look(asked, SHAPE, 10)
    assert str(refusal.value).startswith(line)


@pytest.mark.parametrize(
    ("name", "keys", "line"),
    [
        ("Plian", {}, "model.path=FILE:Plian: has no such class; strangers.py has Plain, LastReLU, LastNorm,"),
        ("number", {}, "model.path=FILE:number: is no class; strangers.py has Plain,"),
        ("network", {}, "model.path=FILE:network: is an object; name its class, or a function that makes a new one"),
        ("nothing", {}, "model.path=FILE:nothing: returns a int, not a torch.nn.Module"),
        ("Breaks", {}, "model.path=FILE:Breaks: its constructor raised KeyError: 'nothing' (strangers.py, line "),
        ("asks", {"args": {"heads": 2}}, "model.args.dim: is missing; the constructor of asks needs it"),
        (
            "Plain",
            {"args": {"widht": 3}},
            "model.args.widht=3: Plain has no such argument; it takes input_shape, width, dropout; did you mean",
        ),
        ("nothing", {"args": {"x": 1}}, "model.args.x=1: nothing has no such argument; it takes none"),
        ("Plain", {"args": {"width": {"a": 1}}}, "model.args.width={'a': 1}: must be a number, a word, true, false,"),
        ("Plain", {"args": {"width": float("inf")}}, "model.args.width=inf: must be a number"),
        ("Plain", {"width": 7}, "model.width=7: Plain returns features of dimension 6"),
        ("Plain", {"feature_sign": "positive"}, "model.feature_sign=positive: not one of free, nonnegative, auto"),
        ("Pair", {}, "model.path=FILE:Pair: must return one tensor, not a tuple"),
        (
            "Unflattened",
            {},
            "model.path=FILE:Unflattened: must return features of shape (N, d), but for 8 images it returns (8, 1, 8,",
        ),
        ("Double", {}, "model.path=FILE:Double: returns float64 for images of float32"),
        ("Infinite", {}, "model.path=FILE:Infinite: returns numbers that are not finite before training"),
        (
            "BreaksLater",
            {},
            "model.path=FILE:BreaksLater: its forward pass in evaluation mode, on float32 images of shape (8, 1, 8, 8)"
            " (dataset.size and dataset.channels change it), raised RuntimeError: size mismatch",
        ),
        (
            "Biased",
            {},
            "model.path=FILE:Biased: returns 10 numbers, one for each class; set model.head=classifier.1 if they"
            " are logits, model.width=10 if they are features",
        ),
        ("Biased", {"head": "classifier"}, "model.head=classifier: only its last layer may have a bias; name only"),
        ("Biased", {"head": "body"}, "model.head=body: holds a Flatten, but a head consists of Linear layers"),
        (
            "Biased",
            {"head": "fc"},
            "model.head=fc: the network has no such layer; its linear layers are classifier.0, cl",
        ),
        ("Biased", {"head": ["classifier.1"] * 2}, "model.head=classifier.1,classifier.1: names a layer twice"),
        ("Biased", {"head": []}, "model.head=[]: must be the name of a linear layer, such as fc, or a list of names"),
        (
            "Scaled",
            {"head": "classifier.1"},
            "model.head=classifier.1: Scaled does not return the output of these layers",
        ),
        ("Classifier", {"head": "low"}, "model.head=low: has 7 outputs for 10 classes;"),
        (
            "Classifier",
            {"head": ["top", "low"]},
            "model.head=top,low: do not follow each other: 10 numbers out, 9 in",
        ),
        (
            "Mixed",
            {"head": "both"},
            "model.head=both: holds a ReLU, but a head consists of Linear layers; name",
        ),
        ("torchvision:resnet18", {"args": {"weights": "DEFAULT"}}, "model.args.weights: has no effect: torchvision's"),
        ("torchvision:squeezenet1_0", {}, "model.path=torchvision:squeezenet1_0: does not end in a linear layer"),
    ],
)
def test_networks_that_are_refused(name: str, keys: dict[str, Any], line: str) -> None:
    assert told(name, **keys).startswith(line)


def test_the_classes_of_a_file_are_told_without_executing_it(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text("raise SystemExit\nclass Net: pass\nclass Other: pass\n")
    with pytest.raises(UserError) as refusal:
        Module(path=str(file)).check()
    assert str(refusal.value) == f"model.path={file}: names no class; the file has {file}:Net, {file}:Other"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("def", "cannot be read as Python (invalid syntax, line 1)"),
        ("import nosuch", "raised ModuleNotFoundError: No module named 'nosuch' (net.py, line 1)"),
        ("x = 1\nraise SystemExit(3)", "raised SystemExit: 3 (net.py, line 2)"),
    ],
)
def test_files_that_cannot_be_executed(code: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(code)
    with pytest.raises(UserError) as refusal:
        look(Module(path=f"{file}:Net"), SHAPE, 10)
    assert str(refusal.value) == f"model.path={file}:Net: {line}"


def test_timm_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    line = told("timm:resnet18")
    assert line == "model.path=timm:resnet18: timm is not installed; pip install timm, or ncrun[integrations]"


def test_told_is_one_line() -> None:
    assert own_file.told(ValueError("\n one\ntwo")) == "ValueError: one"
    assert own_file.told(ValueError()) == "ValueError"
