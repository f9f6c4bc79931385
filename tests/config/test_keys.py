"""What keys mean: said for every one, where it is asked for; and the hints for what others call them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Command, Refused, contents
from omegaconf import OmegaConf

from ncrun.config import meanings
from ncrun.config.schema import choices, known_keys
from ncrun.errors import nearest


def test_every_key_is_explained() -> None:
    for group, of_group in choices().items():
        for choice in of_group.values():
            for name in (each for each in known_keys() if each.startswith(f"{group}.")):
                if name.partition(".")[2] in vars(choice):
                    assert len(meanings.meaning_of(name, choice)) > 5, f"{choice.name}: {name}"
    for key in known_keys():
        if key.partition(".")[0] not in choices():
            assert len(meanings.meaning_of(key)) > 5, key


def test_docstrings_of_choices_are_read_by_their_entries() -> None:
    @dataclass(frozen=True)
    class Base:
        """width: of all
        layers.
        depth, height: both. Not an entry: this.

        hidden: no more of it.
        """

        width: int = 1

    @dataclass(frozen=True)
    class Own(Base):
        """A network: of mine.

        depth: so many.
        """

        depth: int = 2

    assert meanings.meaning_of("model.width", Own()) == "of all layers."
    assert meanings.meaning_of("model.depth", Own()) == "so many."  # its own words first
    assert meanings.meaning_of("model.height", Own()) == "both. Not an entry: this."
    assert meanings.meaning_of("model.none", Own()) == ""
    assert meanings.summary_of(Own()) == "A network: of mine."


def test_what_a_choice_is_given_lies_deeper() -> None:
    """A dictionary of a user's own keys, which nobody can explain, is YAML all the same."""
    config = {"model": {"name": "mlp", "args": {"depth": 3, "none": {}}}, "seed": 0}
    text = meanings.explained(config, {"model": choices()["model"]["mlp"]})
    assert OmegaConf.create(text) == config
    assert "    depth: 3\n" in text


def test_cfg_job_prints_what_a_run_has_with_its_meaning(ncrun: Command, workdir: Path) -> None:
    """As YAML; what was left out is filled in, and the same command line written out from it is the same run."""
    result = ncrun("train", "--cfg", "job", "imbalance=0.1", "model=resnet18")
    assert (result.status, result.err) == (0, "")
    printed = OmegaConf.create(result.out)
    assert (printed.imbalance, printed.epochs, printed.loss, printed.batch_size) == (0.1, 300, "mse", 128)
    assert printed.model == {"name": "resnet18", "width": 1.0, "feature_norm": True}
    assert printed.decay == {"mode": "features", "weight": 5e-4, "feature": 1e-5, "bias": 0.0}
    for line in result.out.splitlines():
        assert line.endswith(":") or "  # " in line, line
    assert contents(workdir) == {}


def test_cfg_job_refuses_what_cannot_be_trained(refused: Refused) -> None:
    assert "loss=crossentropy" in refused("train", "--cfg", "job", "loss=crossentropy")


@pytest.mark.parametrize("command", ["train", "theory"])
@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        (["head.depth"], ["head.depth: number M of linear layers"]),
        (["seed", "decay"], ["seed: ", "(default: 0)", "decay.mode: ", "decay.weight: lam_W", "decay.feature: lam_H"]),
        (["model.width"], ["model=ufm, ufm_relu, dufm: model.width: d", "(default: 64)", "model=mlp"]),
        (["optimizer"], ["optimizer=adam", "optimizer=lbfgs", "optimizer.momentum", "(default: 0.9)"]),
    ],
    ids=str,
)
def test_help_of_keys(command: str, keys: list[str], parts: list[str], ncrun: Command) -> None:
    result = ncrun(command, "--help", *keys)
    assert (result.status, result.err) == (0, "")
    for part in parts:
        assert part in result.out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "lr=0.1"], "'optimizer.lr'"),
        (["train", "weight_decay=1e-3"], "'decay.weight'"),
        (["train", "loss=crossentropy"], "'ce'"),
        (["train", "--help", "lr"], "'optimizer.lr'"),
    ],
    ids=" ".join,
)
def test_what_others_call_it_is_answered_with_our_name(arguments: list[str], hint: str, refused: Refused) -> None:
    assert f"did you mean {hint}?" in refused(*arguments)


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("NC1", ["nc1", "nc4"], "nc1"),
        ("batch-size", ["batch_size", "seed"], "batch_size"),
        ("momentum", ["optimizer.lr", "optimizer.momentum"], "optimizer.momentum"),
        ("head.detph", ["head.depth", "head.width"], "head.depth"),
        ("weight_decay", ["loss"], None),  # not what is not there
    ],
)
def test_nearest(word: str, known: list[str], found: str | None) -> None:
    assert nearest(word, known) == (f"; did you mean '{found}'?" if found else "")
