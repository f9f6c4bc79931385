"""model=module through the command: what is recorded of a stranger's network, what makes it another run, and that all
that goes with ncrun's networks goes with it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY, Command, Refused, RunOf, built, rows

from ncrun.config.planning import job_of
from ncrun.errors import UserError
from ncrun.models.network import Network
from ncrun.models.own.spec import Module
from ncrun.models.rebuild import rebuilt
from ncrun.problem import Problem
from ncrun.run import Run
from ncrun.training.program import check_own

FILE = str(Path(__file__).with_name("strangers.py"))
EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = TINY[2:]  # without the keys of model=mlp


def own(name: str, *more: str) -> tuple[str, ...]:
    return ("model=module", f"model.path={FILE}:{name}", *SHORT, *more)


def manifest(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.mark.usefixtures("undrawn")
def test_what_a_record_holds(ncrun: Command, workdir: Path) -> None:
    """Path, class, arguments and hash; the prediction is that of `ncrun theory`; the sign is said aloud. The network is
    built again from the record and the file, and takes the weights."""
    typed = own("LastNorm", "head.depth=2", "taps=[norm,body.1]", "run_dir=run")
    result = ncrun("train", *typed)
    assert result.status == 0, result
    assert result.err == "ncrun: the 5 features of LastNorm are free, from its last layer, norm (BatchNorm1d)\n"
    held = manifest(workdir / "run")
    about = held["module"]
    assert isinstance(about, dict)
    assert (about["path"], about["class"], about["args"]) == (f"{FILE}:LastNorm", "LastNorm", {})
    assert len(about["sha256"]) == 64
    assert held["words"]["model"] == "LastNorm"  # type: ignore[index]
    config = yaml.safe_load((workdir / "run" / "config.yaml").read_text())
    assert (config["model"]["width"], config["model"]["feature_sign"]) == (5, "free")
    row = rows(workdir / "run")[-1]
    assert {"tap.norm.nc1", "tap.body.1.nc1", "head.2.nc1"} <= row.keys()
    theory = ncrun("theory", *typed, "--json")
    assert json.loads(theory.out) == json.loads((workdir / "run" / "theory.json").read_text())
    assert "; model.width=5 model.feature_sign=free say so without building it\n" in theory.err

    problem = Problem.from_json(json.loads((workdir / "run" / "problem.json").read_text()))
    network = rebuilt(config["model"], problem, (1, 8, 8), Path(FILE), about["sha256"])
    weights = torch.load(workdir / "run" / "checkpoint.pt", weights_only=True)["network"]
    network.load_state_dict(weights)
    with pytest.raises(UserError, match="a record never imports code; give the file of its network"):
        rebuilt(config["model"], problem, (1, 8, 8))
    (workdir / "other.py").write_text(Path(FILE).read_text() + "\n")
    with pytest.raises(UserError, match=r"other\.py: is not the file of the run"):
        rebuilt(config["model"], problem, (1, 8, 8), workdir / "other.py", about["sha256"])
    with pytest.raises(UserError, match=r"has no effect: the run's network \(mlp\) is not in a file"):
        rebuilt({"name": "mlp"}, problem, (1, 8, 8), Path(FILE))


@pytest.mark.usefixtures("undrawn")
def test_its_own_head_trains(ncrun: Command, workdir: Path) -> None:
    """Its last two layers are the head that theory is asked about, and that is measured; in float64 and bfloat16."""
    typed = own("Classifier", "model.head=[low,top]")
    for more in ("dtype=float64 decay.weight=[1e-3,1e-2]", "precision=bfloat16 decay.mode=parameters"):
        assert ncrun("train", *typed, *more.split(), "run_dir=run").status == 0
        problem = json.loads((workdir / "run" / "problem.json").read_text())
        assert (problem["widths"], problem["bias"], problem["feature_sign"]) == ([9, 7], True, "free")
        losses = [row["loss"] for row in rows(workdir / "run")]
        assert losses[-1] < losses[0]
        assert "head.2.nc1" in rows(workdir / "run")[-1]
        shutil.rmtree(workdir / "run")


@pytest.mark.parametrize("key", ["head.depth=2", "head.bias=true"])
def test_keys_that_its_own_head_leaves_without_effect(key: str, refused: Refused) -> None:
    line = refused("train", *own("Classifier", "model.head=top", key))
    assert line == f"{key.split('=')[0]}: has no effect: model.head=top is the network's own"


def test_the_whole_is_the_module(run_of: RunOf) -> None:
    """Backbone and head compute what the untouched module computes with the same seed; to the bit, they are the same
    operations."""
    run = run_of(*own("Classifier", "model.head=[low,top]", "seed=4"))
    network = built(run)
    assert isinstance(network, Network)
    torch.manual_seed(4)
    assert isinstance(run.model, Module)
    from ncrun.models.own.source import construct

    whole = construct(run.model.where, {}, (1, 8, 8), 10, with_head=True)
    images = torch.randn(3, 1, 8, 8)
    assert torch.equal(network(images)[1], whole(images))


def test_identity(run_of: RunOf, workdir: Path) -> None:
    """Of content, class and arguments; not of the file's place, nor of whether width and sign are typed."""
    (workdir / "moved").mkdir()
    shutil.copy(FILE, workdir / "moved" / "nets.py")
    first = run_of(*own("Plain")).identity
    moved = ("model=module", "model.path=moved/nets.py:Plain", *SHORT)
    assert run_of(*moved).identity == first
    assert run_of(*own("Plain", "model.width=6", "model.feature_sign=free")).identity == first
    assert run_of(*own("Plain", "model.args.width=6")).identity != first
    assert run_of(*own("Fixed")).identity != first
    (workdir / "moved" / "nets.py").write_text(Path(FILE).read_text() + "\n# changed\n")
    assert run_of(*moved).identity != first


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_run_goes_on_with_the_same_file_elsewhere(
    ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same bits, dropout and all; a changed file is another run."""
    shutil.copy(FILE, workdir / "a.py")
    shutil.copy(FILE, workdir / "b.py")
    rest = ("model.args.dropout=0.3", *SHORT, "epochs=4", "batch_size=13")
    command = ("train", "model=module", "model.path=a.py:Plain", *rest)
    assert ncrun(*command, "run_dir=straight").status == 0
    step, taken = torch.optim.Adam.step, 0

    def stopping(self: torch.optim.Adam, *more: object) -> object:
        nonlocal taken
        taken += 1
        if taken == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", stopping)
        assert ncrun(*command, "run_dir=run").status == 128 + signal.SIGTERM
    (workdir / "a.py").unlink()
    again = ("train", "model=module", "model.path=b.py:Plain", *rest, "run_dir=run")
    assert ncrun(*again).status == 0
    assert rows(workdir / "run") == rows(workdir / "straight")
    (workdir / "b.py").write_text(Path(FILE).read_text() + "\n# changed\n")
    assert "holds another run" in ncrun(*again).err


@pytest.fixture(scope="module")
def plain() -> Run:
    """A run of Plain, six features of any sign: composed once, and changed by each test."""
    (run,) = job_of(own("Plain")).runs
    return run


@pytest.mark.parametrize(
    ("name", "changes", "line"),
    [
        ("Noisy", {}, "model.path=FILE:Noisy: its evaluation mode is not deterministic"),
        ("BatchStatistics", {}, "model.path=FILE:BatchStatistics: in evaluation mode the features of an image depend"),
        (
            "Squeezed",
            {},
            "model.path=FILE:Squeezed: must return features of shape (N, d), but for 1 images it returns",
        ),
        ("PairInTraining", {}, "model.path=FILE:PairInTraining: must return one tensor in training mode, not a tuple"),
        ("Spare", {}, "model.path=FILE:Spare: no gradient reaches spare.weight, spare.bias, so they would not be"),
        ("Detached", {}, "model.path=FILE:Detached: no gradient reaches first.weight, first.bias, second.weight and"),
        ("Plain", {"feature_sign": "nonnegative"}, "model.feature_sign=nonnegative: the features are free, from"),
        ("FunctionalReLU", {}, "model.feature_sign=free: the features are nonnegative, from its features on 16"),
        ("Ensemble", {"taps": ("pair",)}, "taps: pair of Ensemble does not return one tensor"),
        ("Ensemble", {"taps": ("unused",)}, "taps: unused of Ensemble is not used in a forward pass"),
        (
            "LastNorm",
            {"batch_size": 1, "widths": (5,)},
            "model.path=FILE:LastNorm: its forward pass in training mode, on float32 images of shape (1, 1, 8, 8)"
            " (dataset.size and dataset.channels change it), raised ValueError: Expected more than 1",
        ),
    ],
)
def test_refused_before_training(plain: Run, name: str, changes: dict[str, Any], line: str) -> None:
    assert isinstance(plain.model, Module)
    problem = {key: changes[key] for key in ("feature_sign", "widths") if key in changes}
    run = replace(
        plain,
        model=replace(plain.model, path=f"{FILE}:{name}"),
        problem=replace(plain.problem, **problem),
        descent=replace(plain.descent, batch_size=changes.get("batch_size", 13)),
        taps=changes.get("taps", ()),
    )
    with pytest.raises(UserError) as refusal:
        check_own(run, torch.device("cpu"))
    assert str(refusal.value).replace(FILE, "FILE").startswith(line)


def test_what_is_frozen_needs_no_gradient(plain: Run) -> None:
    assert isinstance(plain.model, Module)
    check_own(replace(plain, model=replace(plain.model, path=f"{FILE}:Fixed")), torch.device("cpu"))


def test_trying_it_out_leaves_no_trace(plain: Run) -> None:
    """Not in torch's random state."""
    assert isinstance(plain.model, Module)
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    check_own(replace(plain, model=replace(plain.model, args={"dropout": 0.5})), torch.device("cpu"))
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ("taps=[third]", "taps: module has no layer third; it has first, drop, second"),
        ("restarts=2", "restarts: has no effect: model=module has no free features; use -m seed=0,1,2"),
        ("optimizer=lbfgs", "optimizer=lbfgs: needs free features"),
        ("freeze_norm=0.5", "freeze_norm=0.5: has no effect: Plain has no BatchNorm"),
    ],
)
def test_what_does_not_go_with_it(more: str, line: str, refused: Refused) -> None:
    assert refused("train", *own("Plain", more)).startswith(line)


@pytest.mark.parametrize(
    ("name", "more", "line"),
    [
        ("NormTwice", "freeze_norm=0.5", "freeze_norm=0.5: NormTwice uses a BatchNorm 2 times"),
        ("LastNorm", "finish=lbfgs", "finish=lbfgs: needs freeze_norm of at most 1: BatchNorm in LastNorm"),
    ],
)
def test_its_batch_norm_that_cannot_be_fixed(name: str, more: str, line: str, refused: Refused) -> None:
    assert refused("train", *own(name, more)).startswith(line)


def test_a_sweep_with_one_bad_network_starts_none(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncrun.training.runs.train", lambda jobs: pytest.fail("a job was started"))
    paths = ",".join(f"{FILE}:{name}" for name in ("Plain", "Spare"))
    line = refused("train", "-m", "model=module", f"model.path={paths}", *SHORT)
    assert "no gradient reaches spare.weight" in line


def test_a_sign_that_changes_ends_the_run(ncrun: Command, workdir: Path) -> None:
    """Found on the features at the start, it may: from then on the prediction would be of another problem."""
    result = ncrun("train", *own("Drifting", "run_dir=run"))
    assert result.status == 1
    said, told = result.err.splitlines()
    assert said.startswith("ncrun: the 6 features of Drifting are nonnegative, from its features on 8 images")
    assert told.startswith("ncrun: run: features have become negative (down to -0.0")
    held = manifest(workdir / "run")
    assert (held["state"], told) == ("failed", f"ncrun: run: {held['reason']}")
    assert len(rows(workdir / "run")) >= 1


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_over_its_arguments(ncrun: Command, workdir: Path) -> None:
    """Each is a run; the table tells them apart by the argument."""
    result = ncrun("train", "-m", *own("Plain", "model.args.width=3,4"))
    assert result.status == 0, result
    table = ncrun("table", "runs").out
    assert "model.args.width" in table
    assert len(list((workdir / "runs").iterdir())) == 2


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("model.args.width=3", "model.args.width: the chosen model has no such key"),
        ("model=module", "model.path=: model=module needs a network"),
        ("model=module model.pth=x.py:Y", "model.pth: no such key; did you mean 'model.path'?"),
    ],
)
def test_mistyped(typed: str, line: str, refused: Refused) -> None:
    assert refused("train", *typed.split()).startswith(line)


@pytest.mark.usefixtures("undrawn")
def test_a_frozen_head(ncrun: Command, workdir: Path) -> None:
    """Of free features, under ncrun's head and in the place of the network's own."""
    free = ("model=ufm", "counts=[6,6]", "model.width=7", "head.bias=true", "decay.weight=1e-3", "decay.feature=1e-3")
    assert ncrun("train", *free, "run_dir=head").status == 0
    taken = torch.load(workdir / "head" / "checkpoint.pt", weights_only=True)["network"]["head.weights.0"][0].float()
    net = ("classes=[0,1]", "counts=[20,20]", "epochs=1", "threads=1", "head.frozen=head", "model=module")
    for n, more in enumerate((["Classifier", "model.head=top"], ["Plain", "model.args.width=7", "head.bias=true"])):
        result = ncrun("train", *net, f"model.path={FILE}:{more[0]}", *more[1:], f"run_dir={n}")
        assert result.status == 0, result
        weights = torch.load(workdir / str(n) / "checkpoint.pt", weights_only=True)["network"]
        assert torch.equal(weights["head.layers.0.weight"], taken)


def test_theory_is_instant_where_all_is_said(workdir: Path) -> None:
    """Width and sign typed: neither torch nor the user's file is needed, only its hash."""
    (workdir / "net.py").write_text("raise RuntimeError('executed')\n")
    typed = "model=module model.path=net.py:Net model.width=16 model.feature_sign=nonnegative"
    code = f"""
import sys
sys.modules["torch"] = None
from ncrun.cli import run
run(["theory", "--json", *{typed.split()!r}])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert json.loads(done.stdout)["claim"] == "proven"


@pytest.mark.parametrize(
    ("typed", "widths", "bias"),
    [("TinyResNet model.head=fc", (64,), True), ("without_fc model.args.width=4 head.depth=2", (16, 16), False)],
)
def test_the_networks_of_the_documentation(typed: str, widths: tuple[int, ...], bias: bool, run_of: RunOf) -> None:
    name, *more = typed.split()
    run = run_of("model=module", f"model.path={EXAMPLES / 'nets.py'}:{name}", *more)
    assert (run.problem.widths, run.problem.bias, run.problem.feature_sign) == (widths, bias, "nonnegative")
    check_own(run, torch.device("cpu"))


def test_torchvision_by_name(run_of: RunOf) -> None:
    """The problem of its resnet18 is that of ncrun's without a norm on its features: width and sign are found."""
    found = run_of("model=module", "model.path=torchvision:resnet18", "dataset.channels=3")
    assert found.problem == run_of("model=resnet18", "model.feature_norm=false", "dataset.channels=3").problem
    kept = run_of("model=module", "model.path=torchvision:resnet18", "dataset.channels=3", "model.head=fc").problem
    assert kept == replace(found.problem, bias=True)


def test_timm_by_name(run_of: RunOf, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something is fetched"))
    small = ("img_size=8", "patch_size=2", "embed_dim=12", "depth=1", "num_heads=2")
    typed = ("model=module", "model.path=timm:vit_tiny_patch16_224", *(f"model.args.{each}" for each in small))
    run = run_of(*typed, "taps=[blocks.0]")
    assert (run.problem.widths, run.problem.feature_sign, run.problem.bias) == ((12,), "free", False)
    check_own(run, torch.device("cpu"))
    own_head = run_of(*typed, "model.head=head").problem
    assert (own_head.widths, own_head.bias) == ((12,), True)
    for args, line in (
        ("pretrained=true", "model.args.pretrained: has no effect"),
        ("size=8", "its constructor raised"),
    ):
        with pytest.raises(UserError, match=line):
            run_of(*typed, f"model.args.{args}")
    with pytest.raises(UserError, match="timm has no model of this name; did you mean 'vit_tiny_patch16_224'"):
        run_of("model=module", "model.path=timm:vit_tiny_patch16_22")


def test_the_example_with_timm(workdir: Path) -> None:
    """As it is, for two epochs; what it prints last is there."""
    pytest.importorskip("timm")
    command = [sys.executable, str(EXAMPLES / "timm_vit.py"), "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tap.blocks.2.nc1" in done.stdout
    assert (workdir / done.stdout.splitlines()[-1]).is_file()
