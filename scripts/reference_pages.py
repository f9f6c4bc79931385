"""The pages of docs/reference/, made from the code: commands, keys, metrics, theorems, experiments, drawings and Python.
scripts/write_docs.py writes and compares them."""

import contextlib
import inspect
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from itertools import product
from typing import Any
from unittest import mock

import numpy as np
import results_numbers

import ncrun
from ncrun import cli
from ncrun.config import bounds
from ncrun.config.experiments import Recipe, own_recipes, recipe
from ncrun.config.folders import experiment_files
from ncrun.config.meanings import defaults, in_yaml, meaning_of, summary_of
from ncrun.config.schema import choices
from ncrun.figures import DRAWINGS, FROM_THEORY, THEORY_WORDS
from ncrun.metrics import METRICS, at_level
from ncrun.metrics.metric import LEVELS
from ncrun.problem import Problem
from ncrun.targets import Targets
from ncrun.theory import THEOREMS, Theorem

# Characters in a line of a page.
WIDTH = "96"
# Decays of the problems that show a theorem's claims: nothing is lost, and everything is.
DECAY, STRONG = 1e-3, 1.0
COUNTS = ((9.0, 9.0), (20.0, 20.0, 20.0), (40.0, 20.0, 20.0))
TARGETS = Targets.of(np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, -2.0], [0.5, 1.0]]))
GROUPS = {"dataset": "Data sets", "model": "Models", "optimizer": "Optimisers"}


def table(*rows: Sequence[str]) -> str:
    """A Markdown table with a newline at its end; the first row is the header."""
    head, *body = ([cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows)
    return results_numbers.table(head, body) + "\n"


def commands() -> str:
    """What each says of itself."""
    parts = [
        "# Commands\n",
        "All commands with their options: the text that each prints with `--help`.\n",
        _block(_help([])),
    ]
    for command in cli.COMMANDS:
        parts += [f"## ncrun {command}\n", _block(_help([command, "--help"]))]
    return "\n".join(parts)


def _help(arguments: list[str]) -> str:
    """The help at a page's width, without the configuration that Hydra prints after it."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, mock.patch.dict(os.environ, COLUMNS=WIDTH):
        try:
            status = cli.run(arguments)
        except SystemExit as end:  # the end of argparse's help
            status = int(end.code or 0)
    assert not status, arguments
    return printed.getvalue().split("\n== Config ==")[0].strip("\n")


def _block(text: str) -> str:
    return f"```text\n{text}\n```\n"


def keys() -> str:
    """The keys of every run, and of each choice of a group."""
    takes = dict(bounds.table())
    head = ("key", "default", "meaning", "takes")
    of_all = [
        (f"`{key}`", _value(value), _sentence(meaning_of(key)), takes.get(key, "")) for key, value in defaults().items()
    ]
    parts = [
        "# Keys\n",
        "All keys of a configuration. `ncrun train KEY=VALUE` sets one, and `ncrun train --help KEY` explains it. The column *takes* lists the numbers that are accepted.\n",
    ]
    parts += ["## Keys of every run\n", table(head, *of_all)]
    for group, title in GROUPS.items():
        parts += [f"## {title}\n", f"`{group}=NAME` chooses one, and `{group}.KEY` sets its keys.\n"]
        for name, choice in choices()[group].items():
            own = [each for each in fields(choice) if each.name != "name"]
            parts += [f"### {name}\n", f"{summary_of(choice)}\n"]
            if own:
                rows = [
                    (
                        f"`{group}.{each.name}`",
                        _value(getattr(choice, each.name)),
                        _sentence(meaning_of(f"{group}.{each.name}", choice)),
                        takes.get(f"{group}.{each.name}", ""),
                    )
                    for each in own
                ]
                parts.append(table(head, *rows))
    return "\n".join(parts)


def _value(value: Any) -> str:
    return f"`{in_yaml(value)}`"


def _sentence(text: str) -> str:
    """Escapes Markdown's signs, because a key's meaning is written for a terminal."""
    return re.sub(r"([*_<>])", r"\\\1", text)


def metrics() -> str:
    """The definition of each column, its level, and its label on an axis."""
    parts = [
        "# Metrics\n",
        "All columns of `metrics.jsonl`, which has one line for each measured epoch. They are computed in evaluation mode, without augmentation, over all training samples, and summed in float64. A value that is not determined is null.\n",
    ]
    for level, (pattern, where) in LEVELS.items():
        found = [each for each in METRICS if each.levels[0] == level]
        if not found:
            continue
        parts += [f"## `{pattern}`: {where}\n"]
        rows = [
            (
                f"`{each.key}`",
                each.words,
                each.definition,
                ", ".join(f"`{LEVELS[at][0]}`" for at in each.levels if at != level),
            )
            for each in found
        ]
        parts.append(table(("column", "on an axis", "definition", "also measured as"), *rows))
    parts += ["## What is measured at each level\n"]
    parts.append(
        table(
            ("level", "keys"),
            *(
                (f"`{pattern}`", ", ".join(f"`{each.key}`" for each in at_level(level)))
                for level, (pattern, _) in LEVELS.items()
            ),
        )
    )
    return "\n".join(parts)


def theorems() -> str:
    """The conditions of each theorem, and its answers for some problems that it covers."""
    parts = [
        "# Theorems\n",
        "All theorems with their conditions. For every problem exactly one theorem answers. If none does, the claim is `none`, with the reasons. [](../trust.md) explains the claims, and [](../proofs.md) has our own proofs. The columns *claims* and *source* show what a theorem answers for some small problems.\n",
    ]
    found = {theorem.key: _claims(theorem) for theorem in THEOREMS}
    shared = [
        condition
        for condition in next(iter(THEOREMS)).conditions
        if all(condition in each.conditions for each in THEOREMS)
    ]
    rows = [
        (
            f"`{each.key}`",
            "; ".join(condition.words for condition in each.conditions if condition not in shared),
            ", ".join(f"`{claim}`" for claim in found[each.key][0]),
            "; ".join(found[each.key][1]).replace("docs/proofs.md", "[proofs](../proofs.md)"),
        )
        for each in THEOREMS
    ]
    parts.append(f"All of them need {'; '.join(condition.words for condition in shared)}.\n")
    parts.append(table(("theorem", "holds for", "claims", "source"), *rows))
    return "\n".join(parts)


def _claims(theorem: Theorem) -> tuple[list[str], list[str]]:
    """The grades and the sources of a theorem for those of the problems below that it covers."""
    said = [theorem.predict(problem) for problem in _problems() if theorem.covers(problem)]
    return list(dict.fromkeys(each.claim for each in said)), list(
        dict.fromkeys(each.source for each in said if each.source)
    )


def _problems() -> Iterator[Problem]:
    """Small problems of every kind: loss, head, decay mode, feature sign, bias, depth, counts; also with targets."""
    options: dict[str, Any]
    for loss, head, mode, sign, bias, depth in product(
        ("mse", "ce"), ("linear", "relu"), ("features", "parameters"), ("free", "nonnegative"), (False, True), (1, 2)
    ):
        feature = DECAY if mode == "features" else None
        options = {"decay_mode": mode, "feature_sign": sign, "head": head}
        for counts in COUNTS:
            for decay, width in ((DECAY, len(counts) + 2), (STRONG, len(counts) + 2), (DECAY, 1)):
                decays = (decay,) * depth
                strong = None if feature is None else decay
                plain = Problem(loss, counts, (width,) * depth, bias, decays, strong, **options)
                yield plain
                if mode == "features" and decay == DECAY and width > 1:
                    yield replace(plain, bias_decay=decay)
                    yield replace(plain, logit_adjustment=1.0)
        yield Problem(loss, (), (4,) * depth, bias, (DECAY,) * depth, feature, **options, targets=TARGETS)


def experiments() -> str:
    """What each experiment shows, trains, costs and draws."""
    recipes, own = {name: recipe(name) for name in experiment_files()}, own_recipes()
    parts = [
        "# Experiments\n",
        "All experiments, with the first lines of their files: command, cost, what to expect. `ncrun train -m experiment=NAME scale=SCALE` trains one. `ncrun figures NAME --scale SCALE` trains what is missing and draws it.\n",
        table(
            ("experiment", "what it shows", "scales"),
            *(
                (f"[{name}](#{name.replace('/', '')})", own[name]["shows"], _scales(about))
                for name, about in recipes.items()
            ),
        ),
    ]
    for name, file in experiment_files().items():
        about = recipes[name]
        comment = [line.removeprefix("#").strip() for line in file.read_text().splitlines() if line.startswith("#")]
        figures = ", ".join(f"`{each}`" for each in about.figures)
        parts += [
            f"## {name}\n",
            _block("\n".join(line for line in comment if not line.startswith("@package"))),
            f"Scales: {_scales(about)}. Figures: {figures}.\n",
        ]
    return "\n".join(parts)


def _scales(about: Recipe) -> str:
    return ", ".join(f"`{each}`" for each in about.scales) or "the same at any"


def drawings() -> str:
    """By name."""
    rows = [(f"`{each.key}`", each.words) for each in DRAWINGS]
    rows += [(f"`{name}`", THEORY_WORDS[name]) for name in FROM_THEORY]
    return "\n".join(
        [
            "# Drawings\n",
            "All kinds of figures. `ncrun plot RUN ... kind=NAME` draws your own runs, and `ncrun figures NAME` draws one that needs no run. [](../plots.md) shows how.\n",
            table(("name", "what it shows"), *rows),
        ]
    )


def python() -> str:
    """Every public name, its signature and its docstring, and those of its public methods."""
    parts = [
        "# Python\n",
        "All public names of `ncrun`, from their docstrings. [](../python.md) shows examples, [](../your_loop.md) the meters, and [](../extend.md) what a file of yours may register.\n",
    ]
    for name in sorted(ncrun.NAMES, key=str.lower):
        thing = getattr(ncrun, name)
        parts += [f"## ncrun.{name}\n", _signature(name, thing), _prose(thing)]
        if inspect.isclass(thing):
            for own, member in vars(thing).items():
                function = getattr(member, "__func__", member)
                if not own.startswith("_") and isinstance(member, property):
                    parts.append(f"**`.{own}`** {_prose(member)}")
                elif not own.startswith("_") and inspect.isfunction(function):
                    parts += [f"**`.{own}()`**\n", _signature(own, function), _prose(function)]
    return "\n".join(part for part in parts if part)


def _signature(name: str, thing: Any) -> str:
    """A signature as code, with a line for each argument if it is long."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):  # a class that users do not construct
        return ""
    arguments = [_argument(str(each)) for key, each in signature.parameters.items() if key != "self"]
    plain = f"{name}({', '.join(arguments)})"
    if len(plain) <= int(WIDTH):
        return f"```python\n{plain}\n```\n"
    lines = "".join(f"    {each},\n" for each in arguments)
    return f"```python\n{name}(\n{lines})\n```\n"


def _argument(text: str) -> str:
    """Without module names and addresses; an object as a default is only named."""
    text = re.sub(r"\b(ncrun|typing|collections|torch)(\.\w+)*\.", "", text)
    text = re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)
    return re.sub(r"= (\w+)\(.*\)$", r"= \1(...)", text)


def _prose(thing: Any) -> str:
    """A docstring's paragraphs; indented ones are code."""
    paragraphs = (inspect.getdoc(thing) or "").split("\n\n")
    blocks = [_block(each) if each.startswith("    ") else _sentence(each) + "\n" for each in paragraphs]
    return "\n".join(blocks)


PAGES: dict[str, Callable[[], str]] = {
    "commands": commands,
    "keys": keys,
    "metrics": metrics,
    "theorems": theorems,
    "experiments": experiments,
    "drawings": drawings,
    "python": python,
}
