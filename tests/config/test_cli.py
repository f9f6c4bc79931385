"""The command line: help, Hydra's own flags, completion, and what is imported to answer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, Command, Refused, contents

from ncrun import __version__, cli
from ncrun.config.folders import experiments
from ncrun.figures import DRAWINGS

NAMES = [
    *("cifar10", "cifar100", "diabetes", "digits", "emnist_letters", "fashion_mnist", "image_folder", "linnerud"),
    *("mnist", "npz", "svhn"),
]
DATA_SETS = [f"dataset={name}" for name in NAMES]
NCRUN = Path(sys.executable).with_name("ncrun")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help(arguments: list[str], ncrun: Command) -> None:
    result = ncrun(*arguments)
    assert (result.status, result.err) == (0, "")
    for command in (
        "ncrun train",
        "ncrun theory",
        "ncrun figures",
        "ncrun plot",
        "ncrun table",
        "ncrun measure",
        "dataset=cifar10 imbalance=0.1",
        "install=bash",
    ):
        assert command in result.out


def test_version(ncrun: Command) -> None:
    assert ncrun("--version").out == f"ncrun {__version__}\n"


def test_help_of_train_shows_choices_and_keys(ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", "--help")
    assert (result.status, result.err) == (0, "")
    assert f"dataset: {', '.join(NAMES)}\n" in result.out
    assert "head:\n  depth: null\n" in result.out
    assert contents(workdir) == {}


def test_help_of_theory_is_its_own(ncrun: Command) -> None:
    result = ncrun("theory", "--help")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("ncrun theory [KEY=VALUE ...] [--json]")
    for word in ("margin", "lost", "minority collapse", "--help KEY", "one line for each job"):
        assert word in result.out


def test_theory_of_a_grid_is_a_document_a_line(ncrun: Command, workdir: Path) -> None:
    result = ncrun("theory", "-m", "model=ufm", "counts=[5,3]", "head.depth=1,2", "--json")
    documents = [json.loads(line) for line in result.out.splitlines()]
    assert [each["typed"][-1] for each in documents] == ["head.depth=1", "head.depth=2"]
    for depth, document in zip((1, 2), documents, strict=True):
        alone = json.loads(ncrun("theory", "model=ufm", "counts=[5,3]", f"head.depth={depth}", "--json").out)
        assert {key: value for key, value in document.items() if key != "typed"} == alone


def test_theory_tells_remedies_where_they_are_asked_for(ncrun: Command, workdir: Path) -> None:
    posed = ["theory", "model=ufm", "loss=ce", "counts=[60,20,4]", "decay.weight=4e-2", "decay.feature=4e-2"]
    assert ncrun(*posed).out.endswith("Class weights that keep them: ncrun theory --remedies\n")
    assert "the same margin for all classes: class_weights=[" in ncrun(*posed, "--remedies").out
    found = json.loads(ncrun(*posed, "--remedies", "--json").out)["remedies"]
    margins = found["equal_margin_weights"]["margins"]
    assert max(margins) - min(margins) <= 1e-5 * max(margins)  # what is promised
    assert found["as_it_is"]["collapsed"] == [False, False, True]
    assert "remedies" not in json.loads(ncrun(*posed, "--json").out)


def test_info_lists_the_config_path(ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", "--info", "searchpath")
    assert result.status == 0
    assert "configs" in result.out
    assert contents(workdir) == {}


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["trian"], ["trian", "train, theory, figures, plot, table, runs, rerun, report, verify, measure"]),
        (["--bogus"], ["--bogus"]),
        (["figures", "nosuch"], ["nosuch", "dang2023/mlp-balanced"]),
        (["figures", "dang2023/mlp-balance"], ["'dang2023/mlp-balanced'"]),
        (["figures", "--scale", "bogus"], ["--scale", "'bogus'", "cpu"]),
        (["figures", "--jobs", "0"], ["--jobs=0"]),
        (["figures", "--jobs", "two"], ["--jobs", "'two'"]),
        (["figures", "--from", "nowhere"], ["--from=nowhere"]),
        (["figures", "--from", "."], ["--from=.", "no finished run"]),
        (["figures", "--bogus"], ["--bogus"]),
        (["theory", "--jsn"], ["--jsn"]),
    ],
    ids=" ".join,
)
def test_unknown_words_and_flags(arguments: list[str], parts: list[str], refused: Refused) -> None:
    line = refused(*arguments)
    for part in parts:
        assert part in line


def test_figures_list(ncrun: Command, workdir: Path) -> None:
    lines = ncrun("figures", "--list").out.splitlines()
    names = [line.split()[0] for line in lines]
    assert all(
        len(line.removeprefix(name).replace(" core ", "").split()) > 3 for line, name in zip(lines, names, strict=True)
    )
    assert sum(" core " in line for line in lines) == 8
    assert len(names) == len(set(names))
    without_figure = {"sukenik2023/head"}  # trained for sukenik2023/frozen-head
    assert set(names) == {*experiments(), "theory/etf-map"} - without_figure
    assert contents(workdir) == {}


def test_theory_prints_the_contract_as_json(ncrun: Command, workdir: Path) -> None:
    result = ncrun("theory", "--json", "counts=[100,90,80,70,60,50,40,30,20,10]", "head.depth=2", "head.bias=true")
    assert (result.status, result.err) == (0, "")
    prediction = json.loads(result.out)
    assert prediction["claim"] == "proven"
    assert 0 < prediction["objective"] < 0.5
    assert prediction["source"]
    assert [entry["count"] for entry in prediction["classes"]] == [100, 90, 80, 70, 60, 50, 40, 30, 20, 10]
    wanted = {"count", "weight_norm_sq", "feature_norm_sq", "logit", "margin", "collapsed", "merged_with"}
    assert all(wanted <= set(entry) for entry in prediction["classes"])
    assert len(prediction["bias"]) == 10
    for matrix in ("weight_gram", "feature_gram", "logits"):
        assert [len(row) for row in prediction[matrix]] == [10] * 10
    for k, entry in enumerate(prediction["classes"]):
        assert entry["weight_norm_sq"] == prediction["weight_gram"][k][k]
        assert entry["feature_norm_sq"] == prediction["feature_gram"][k][k]
    assert contents(workdir) == {}


def test_theory_prints_best_known(ncrun: Command) -> None:
    assert "best_known" in json.loads(ncrun("theory", "--json").out)


def test_theory_prints_a_row_for_each_class(ncrun: Command) -> None:
    lines = ncrun("theory", "dataset=cifar10", "imbalance=0.1").out.splitlines()
    (start,) = [i for i, line in enumerate(lines) if line.split()[:2] == ["class", "count"]]
    table = [line.split() for line in lines[start + 1 : start + 11]]
    assert [row[0] for row in table] == [str(k) for k in range(10)]
    assert (table[0][1], table[9][1]) == ("5000", "500")


@pytest.mark.parametrize("arguments", [["theory"], ["train", "--help"]], ids=" ".join)
def test_output_that_nobody_reads(arguments: list[str], workdir: Path) -> None:
    """ncrun theory | true"""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [NCRUN, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S
        )
    finally:
        os.close(writing)
    assert result.stderr == ""


def complete(line: str, ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    result = ncrun("-sc", "query=bash")
    assert (result.status, result.err) == (0, "")
    return result.out.split()


@pytest.mark.parametrize(
    ("line", "choices"),
    [
        ("ncrun train dataset=", DATA_SETS),
        ("ncrun theory dataset=", DATA_SETS),
        ("ncrun rerun runs/a head.f", ["head.frozen="]),
        ("ncrun rerun runs/a dataset=c", ["dataset=cifar10", "dataset=cifar100"]),
        ("ncrun runs --state d", ["damaged", "done"]),
        ("ncrun runs --where head.f", ["head.frozen="]),
        ("ncrun train dataset=c", ["dataset=cifar10", "dataset=cifar100"]),
        ("ncrun train epochs=3 dataset=d", ["dataset=diabetes", "dataset=digits"]),
        ("ncrun train  optimizer=", ["optimizer=adam", "optimizer=lbfgs", "optimizer=sgd"]),
        ("ncrun train head.", ["head.bias=", "head.depth=", "head.frozen=", "head.relu=", "head.width="]),
        ("ncrun train data", ["data_dir=", "dataset.", "dataset="]),
        ("/usr/bin/ncrun train scale=c", ["scale=cpu"]),
        ("ncrun ", list(cli.COMMANDS)),
        ("ncrun plot runs/a hu", ["hue="]),
        ("ncrun plot runs/a hue=head.d", ["hue=head.depth"]),
        ("ncrun plot runs/a style=loss,epo", ["style=loss,epochs"]),
        ("ncrun plot ru", []),
        ("ncrun plot runs/a kind=c", [f"kind={each.key}" for each in DRAWINGS if each.key.startswith("c")]),
        ("ncrun plot runs/a y=class.m", ["y=class.margin"]),
        ("ncrun figures dang2023/ph", ["dang2023/phase"]),
        ("ncrun figures --scale ", ["cpu", "real", "paper"]),
        ("ncrun figures --l", ["--list"]),
        ("ncrun table runs --format ", ["text", "markdown", "csv", "latex"]),
        ("ncrun measure a.npz --loss ", ["mse", "ce"]),
        ("ncrun measure ", []),
        ("ncrun nosuch ", []),
    ],
)
def test_completion(line: str, choices: list[str], ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(complete(line, ncrun, monkeypatch)) == sorted(choices)


def test_completion_of_the_command_itself(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "train" in complete("ncrun tr", ncrun, monkeypatch)


def test_completion_of_experiments(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "experiment=dang2023/mlp-imbalanced" in complete("ncrun train experiment=d", ncrun, monkeypatch)


def test_completion_script(ncrun: Command) -> None:
    script = ncrun("-sc", "install=bash").out
    assert "hydra_bash_completion()" in script
    assert "complete" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_in_bash(workdir: Path) -> None:
    """The printed script, evaluated by bash, and its function called as bash calls it after a TAB."""
    script = """
        prog=$0
        eval "$(ncrun -sc install=bash)"
        complete -p ncrun
        ask() {
            COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=($1); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            COMPREPLY=(); hydra_bash_completion
            echo "${COMPREPLY[@]}"
        }
        ask "ncrun tr"
        ask "ncrun train dataset="
        ask "ncrun train dataset=fa"
    """
    environment = {**os.environ, "PATH": f"{NCRUN.parent}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        timeout=PATIENCE_S,
    )
    assert result.stderr == ""
    installed, command, data_sets, one = result.stdout.splitlines()
    assert "hydra_bash_completion ncrun" in installed
    assert command == "train"
    assert sorted(data_sets.split()) == DATA_SETS
    assert one == "dataset=fashion_mnist"


# Python with `forbidden` modules made impossible to import, so that a mere attempt shows.
FORBIDDING = """
import sys
for name in {forbidden!r}:
    sys.modules[name] = None
from ncrun import cli
sys.exit(max(cli.run(arguments) for arguments in {commands!r}))
"""


@pytest.mark.parametrize(
    ("forbidden", "commands"),
    [
        (
            ["torch", "torchvision", "sklearn"],
            [["theory"], ["theory", "--json"], ["train", "--cfg", "job"], ["figures", "--list"]],
        ),
        (["torch", "numpy", "hydra", "omegaconf", "matplotlib"], [["--help"], ["--version"]]),
    ],
    ids=["no-torch", "nothing-heavy"],
)
def test_answers_at_once_because_nothing_heavy_is_imported(
    forbidden: list[str], commands: list[list[str]], workdir: Path
) -> None:
    code = FORBIDDING.format(forbidden=forbidden, commands=commands)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout
    assert contents(workdir) == {}


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "passive"}, "None")],
)
def test_threads_spin_briefly_unless_the_user_says_how_long(said: dict[str, str], spins: str, workdir: Path) -> None:
    """PyTorch's threads read this when it is imported, so it has to be there before."""
    shown = "print(os.getenv('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    code = f"import os, sys; from ncrun.cli import run; run(['x']); {shown}"
    unsaid = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=unsaid | said)
    assert result.stdout == f"{spins} False\n"


def test_installed_command(workdir: Path) -> None:
    """The entry point itself: its exit status, and an error on the error stream only."""
    result = subprocess.run([NCRUN, "train", "imbalance=0"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("ncrun: imbalance=0: ")
    assert result.stderr.count("\n") == 1
    assert contents(workdir) == {}
