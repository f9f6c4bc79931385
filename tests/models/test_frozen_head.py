"""A network under a head that was trained on free features and is fixed (Sukenik et al. 2023)."""

from pathlib import Path

import pytest
import torch
from conftest import Command, Refused, rows

pytestmark = pytest.mark.usefixtures("undrawn")
HEAD = ("model=dufm", "counts=[6,6]", "model.width=8", "head.depth=3", "decay.weight=1e-3", "decay.feature=1e-3")
NET = ("classes=[0,1]", "counts=[20,20]", "model.width=8", "model.depth=2", "epochs=3", "threads=1")


def weights(directory: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(directory / "checkpoint.pt", weights_only=True)["network"]
    return state


@pytest.fixture
def head(ncrun: Command, workdir: Path) -> str:
    assert ncrun("train", *HEAD, "run_dir=head").status == 0
    return "head.frozen=head"


def test_the_head_is_taken_over_and_stays(head: str, ncrun: Command, workdir: Path) -> None:
    result = ncrun("train", *NET, head, "run_dir=net")
    assert result.status == 0, result.err
    trained, given = weights(workdir / "net"), weights(workdir / "head")
    for m in range(3):
        expected = given[f"head.weights.{m}"][0].float()
        assert torch.equal(trained[f"head.layers.{m}.weight"], expected)
    assert rows(workdir / "net")[0]["loss"] > rows(workdir / "net")[-1]["loss"]
    assert {"head.1.dnc2", "head.2.dnc2", "head.3.dnc2"} <= rows(workdir / "net")[-1].keys()


def test_an_interrupted_run_goes_on(head: str, ncrun: Command, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimiser's state has no entry for the fixed weights."""
    assert ncrun("train", *NET, head, "run_dir=straight").status == 0
    from ncrun.training.supervise import _StopSignals

    with monkeypatch.context() as patch:
        patch.setattr(_StopSignals, "received", property(lambda self: True))
        assert ncrun("train", *NET, head, "run_dir=net").status >= 128
    assert ncrun("train", *NET, head, "run_dir=net").status == 0
    assert rows(workdir / "net") == rows(workdir / "straight")


def test_refusals(head: str, refused: Refused, ncrun: Command, workdir: Path) -> None:
    def line(*overrides: str) -> str:
        return refused("train", *NET, head, *overrides)

    assert line("model.width=9") == "head.frozen=head: does not fit: features of dimension 9 in this run, 8 in that one"
    assert "classes 3 in this run, 2 in that one" in line("classes=[0,1,2]", "counts=[5,5,5]")
    assert "head.depth 2 in this run, 3 in that one" in line("head.depth=2")
    assert "head.relu False in this run" in line("head.relu=false")
    assert line("head.frozen=nowhere") == (
        "head.frozen=nowhere: is not a run directory; train one: experiment=sukenik2023/head"
    )
    assert ncrun("train", *NET, "run_dir=net").status == 0
    assert line("head.frozen=net") == "head.frozen=net: must be a run of model=dufm or ufm, not mlp"
    assert "trains its own head" in refused("train", *HEAD, head)
    (workdir / "head" / "checkpoint.pt").write_bytes(b"not a checkpoint")
    assert line().startswith("head.frozen=head: its checkpoint.pt cannot be used")


def test_several_restarts_are_no_head(ncrun: Command, refused: Refused) -> None:
    starts = ("optimizer=sgd", "epochs=3", "restarts=2", "run_dir=starts")
    assert ncrun("train", *HEAD, *starts).status == 0
    assert "holds several restarts; name one of them" in refused("train", *NET, "head.frozen=starts")
