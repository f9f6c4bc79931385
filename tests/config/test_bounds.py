"""Numbers at their bounds, and beyond: every prediction is finite or none, and what is out of bounds is one line."""

import json
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Command, Refused
from omegaconf import OmegaConf

from ncrun.config import resolve
from ncrun.config.bounds import REAL, WHOLE
from ncrun.config.compose import compose
from ncrun.errors import UserError
from ncrun.models import MODELS
from ncrun.run import Job
from ncrun.theory import predict
from ncrun.theory.report import as_json, as_table
from ncrun.training.memory import refuse_what_is_too_large
from ncrun.training.schedule import learning_rate, measured_epochs

FREE = ("model=ufm", "counts=[3,2,2]")
SETTINGS = {
    "squared loss": (*FREE, "head.depth=3"),
    "cross-entropy, balanced": ("model=ufm", "counts=[2,2,2]", "loss=ce", "head.depth=2"),
    "cross-entropy": (*FREE, "loss=ce", "head.bias=true"),
    "features >= 0": ("model=ufm_relu", "counts=[3,2,2]"),
    "ReLU head": ("model=dufm", "counts=[2,2,2]"),
    "network": ("optimizer=sgd", "head.depth=2"),
    "convolutional": ("model=densenet", "dataset.size=32"),
}


def bounds_of(key: str) -> list[Any]:
    """The least and the largest that a key takes, and what is next to them out of bounds."""
    found: list[Any] = []
    for table in (WHOLE, REAL):
        if key in table:
            bounds = table[key]
            found += [bounds.least, bounds.most, *([0] if bounds.besides.startswith("0,") else [])]
            found += [bounds.most * 2]
    return found


@pytest.fixture(scope="module")
def resolved() -> Callable[..., Job]:
    """resolved("squared loss", epochs=1): a setting, composed once, with some keys set to what no command line needs to
    spell."""
    composed = {name: compose(typed) for name, typed in SETTINGS.items()}

    def with_keys(setting: str, keys: dict[str, Any]) -> Job:
        config = composed[setting].copy()
        OmegaConf.set_struct(config, False)
        for key, value in keys.items():
            OmegaConf.update(config, key, value)
        return resolve(config, [*SETTINGS[setting], *(f"{key}={value}" for key, value in keys.items())])

    return with_keys


def check(resolved: Callable[..., Job], setting: str, keys: dict[str, Any]) -> str:
    """Refused in one line, "none", or finite; which of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            problem = resolved(setting, keys).runs[0].problem
        except UserError:
            return "refused"
        prediction = predict(problem)
        json.dumps(as_json(prediction), allow_nan=False)
        assert "nan" not in as_table(prediction).replace("dominant", "")
    assert prediction.objective is None or 0 < prediction.objective < math.inf
    return prediction.claim


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_number_at_its_bounds(setting: str, resolved: Callable[..., Job]) -> None:
    """Alone, and all decays of a problem at either end. What theory does not see is tried in the first setting."""
    seen = ("counts", "decay.feature", "decay.weight", "head.depth", "head.width", "model.width")
    for key in sorted({*WHOLE, *REAL}) if setting == "squared loss" else seen:
        for value in bounds_of(key):
            several = {"counts": [value] * (10 if setting in ("network", "convolutional") else 3), "path": [value]}
            check(resolved, setting, {key: several.get(key, value)})
    for weight in (1e-30, 1e30):
        for feature in (1e-30, 1e30):
            answer = check(resolved, setting, {"decay.weight": weight, "decay.feature": feature})
            assert answer != "refused"
    assert check(resolved, setting, {"decay.weight": 1e-30}) in ("proven", "certified", "open", "refuted", "none")


@pytest.mark.parametrize(
    "typed",
    [
        "decay.weight=5e-324",
        f"path=[1{'0' * 400}]",
        f"model.width=1{'0' * 300}",
        f"model.feature_std=1{'0' * 400}",
        f"optimizer=sgd schedule.step=1{'0' * 400}",
        f"head.depth={2**63}",
    ],
)
def test_numbers_that_floats_and_c_do_not_hold(typed: str, ncrun: Command) -> None:
    *_, last = typed.split()
    result = ncrun("theory", *FREE, *typed.split())
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"ncrun: {last.partition('=')[0]}")
    assert len(result.err) < 300


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        (f"counts=[1{'0' * 300},1]", "counts: has a number of 301 digits"),
        (f"counts=[{','.join('1' * 1501)}]", "counts: has 1501 entries; at most 1500"),
        (f"counts=[{','.join('1' * 300)}] head.depth=1000", "head.depth=1000: with 300 classes at most 555 layers"),
        (f"path=[{','.join('1' * 1001)}]", "path: has 1001 entries; at most 1000"),
        ("path=[1e3] decay.weight=1e29", "path=1000 makes decay.weight=1e+32: must be 0, or from 1e-30"),
        ("restarts=1000000000000 optimizer=sgd", "restarts=10^12: must be from 1 to 1000"),
        (
            f"restarts=2 optimizer=sgd seed={2**63 - 1}",
            "restarts=2 makes the largest seed=9223372036854775808: must be",
        ),
        ("epochs=1000000000 measure=1", "measure=1: measures 1000000000 times in epochs=1000000000; at most"),
        ("optimizer=sgd schedule.gamma=10 schedule.step=1 epochs=300", "schedule.gamma=10: raises the learning rate"),
    ],
)
def test_what_is_made_of_numbers_has_bounds_too(typed: str, start: str, refused: Refused) -> None:
    counts = [] if typed.startswith("counts") else ["counts=[3,2]"]
    assert refused("theory", "model=ufm", *counts, *typed.split()).startswith(start)


def test_the_longest_training_takes_no_memory_for_its_epochs() -> None:
    """A billion of them: their list would have 8 GB."""
    assert len(measured_epochs("log", 10**9, True)) < 210
    assert learning_rate(1e30, 10**9, 10**9, (), 1, 1e-10) == 0


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        ("model.width=1000000", "model.width, model.depth or head.width: 6e+12 parameters need 9.6e+04 GB"),
        ("dataset.size=4096 model.width=1", "counts or dataset.size: 2.42e+10 numbers of data need 97"),
        ("model=ufm counts=[1000000000000,1]", "counts, model.width or head.width: 6.4e+13 parameters need"),
        ("model=ufm counts=[9000,9000] optimizer=sgd restarts=1000", "in each of 1000 runs need 27.7 GB"),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_taken(
    typed: str, start: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncrun.training.memory.device_memory", lambda device: 16e9)
    line = refused("train", *(["-m"] if "restarts" in typed else []), "device=cpu", *typed.split())
    assert start in line
    assert line.endswith("this machine has 16 GB of memory")


@pytest.mark.parametrize("name", ["mlp", "deep_linear", "resnet18", "resnet20", "vgg11", "vgg16", "densenet"])
def test_parameters_are_known_before_they_are_made(name: str) -> None:
    """To 5 %: the estimate leaves out biases, and of a convolutional network what is linear in its width."""
    spec = MODELS[name]
    with torch.device("meta"):  # shapes without numbers
        made = sum(parameter.numel() for parameter in spec.backbone((3, 32, 32)).parameters())
    assert spec.num_parameters((3, 32, 32)) == pytest.approx(made, rel=0.05)


def test_what_is_not_known_to_be_too_large_passes(resolved: Callable[..., Job]) -> None:
    refuse_what_is_too_large(resolved("squared loss", {}).runs, torch.device("cpu"))
