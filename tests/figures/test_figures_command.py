"""`ncrun figures`: which runs a figure is made of, which are trained, and that redrawing gives the same picture."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import own_experiments
import pytest
from conftest import Command, Refused
from matplotlib.figure import Figure
from own_experiments import NETWORK, QUICK, UNEQUAL, write_experiment

from ncrun.commands.figures import drawn_experiments
from ncrun.config.experiments import recipe
from ncrun.config.folders import add_folder, experiments
from ncrun.config.planning import plan
from ncrun.data.request import DataRequest
from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, FROM_THEORY, Drawing, wording
from ncrun.records.read import Record, find_records
from ncrun.registry import Registry
from ncrun.run import Run

RESULTS = Path(__file__).parents[2] / "results"
trained_here = own_experiments.trained_here


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder for experiments, which is looked into."""
    add_folder(tmp_path / "own")
    return tmp_path / "own"


def test_a_plan_is_the_experiments_grid() -> None:
    jobs = [planned.typed[2:] for planned in plan("dang2023/mlp-imbalanced", "cpu")]
    assert jobs == [("head.depth=1",), ("head.depth=3",), ("head.depth=6",)]
    balanced = [planned.job for planned in plan("dang2023/mlp-balanced", "paper")]
    problems = [run.problem for job in balanced for run in job.runs]
    assert {(problem.depth, problem.bias) for problem in problems} == {(m, b) for m in (1, 3, 6) for b in (0, 1)}
    assert len({job.directory for job in balanced}) == 6


def test_both_scales_of_the_papers_imbalanced_setting() -> None:
    """The counts and decays of the released setting (its 1e-5 times K), and the small one's."""
    for scale, dataset, largest, decay in (("paper", "cifar10", 500, 1e-4), ("cpu", "digits", 100, 5e-4)):
        (run,) = plan("dang2023/mlp-imbalanced", scale)[0].job.runs
        assert isinstance(run.data, DataRequest)
        assert run.data.source.key == dataset
        assert list(run.data.counts) == [largest * k // 5 for k in (1, 1, 2, 2, 3, 3, 4, 4, 5, 5)]
        assert (run.problem.weight_decays, run.problem.feature_decay) == ((decay,), decay)


def test_every_figure_is_an_experiment_or_theory(ncrun: Command) -> None:
    """Of every experiment whose runs are drawn, inherited ones included, and its drawings are there."""
    drawn = drawn_experiments()
    assert {name for name in experiments() if recipe(name).figures} == set(drawn) - set(FROM_THEORY)
    assert {key for name in experiments() for key in recipe(name).figures} <= set(DRAWINGS.keys())
    assert {need for name in experiments() for need in recipe(name).needs} <= set(experiments())
    core = [place for place in drawn.values() if place is not None]
    assert len(set(core)) == len(core) == 8
    assert ncrun("figures", "--list").out.count(" core ") == 8


def test_redrawing_gives_the_same_bytes(ncrun: Command, workdir: Path, own: Path, undrawn: None) -> None:
    """Two depths of an imbalanced experiment; one of its drawings has rasters in its PDF."""
    recorded = {"figures": ["imbalanced", "angles"], "scales": {"cpu": {"counts": UNEQUAL}}}
    write_experiment(own, "mine/unequal", NETWORK, {"head.depth": "1,3"}, recorded)
    assert ncrun("train", "-m", "experiment=mine/unequal", "scale=cpu").status == 0
    for out in ("one", "two"):
        result = ncrun("figures", "mine/unequal", "--from", "runs", "--out", out)
        assert result.status == 0, result
        assert f"drew {out}/mine/unequal-cpu.png" in result.out
    table = (workdir / "one/mine/table-cpu.csv").read_text().splitlines()
    assert table[0].startswith("experiment,scale,head.depth,seeds,loss,")
    assert [line.split(",")[:4] for line in table[1:]] == [["mine/unequal", "cpu", depth, "1"] for depth in ("1", "3")]
    for suffix in (".png", ".pdf", "-angles.png", "-angles.pdf"):
        first, second = (workdir / out / f"mine/unequal-cpu{suffix}" for out in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
        assert first.stat().st_size > 10_000


def test_missing_runs_are_trained_and_finished_ones_reused(ncrun: Command, workdir: Path, own: Path) -> None:
    """In processes of their own, which look into the user's folder, too."""
    balanced = NETWORK | {"counts": [6] * 10}
    write_experiment(own, "mine/equal", balanced, {"head.depth": "2,1"}, QUICK)
    first = ncrun("figures", "mine/equal", "--extend", str(own / "lab.py"), "--jobs", "2")
    assert first.status == 0, first
    assert "[2 of 2]" in first.out
    assert sorted(record.config["head"]["depth"] for record in find_records(workdir / "runs")) == [1, 2]
    assert "drew figures/mine/equal-paper.png" in first.out
    assert "wrote figures/mine/table-cpu.md" in first.out
    assert (workdir / "figures/mine/table-cpu.tex").is_file()
    before = {path: path.stat().st_mtime_ns for path in (workdir / "runs").rglob("metrics.jsonl")}
    second = ncrun("figures", "mine/equal", "--extend", str(own / "lab.py"))
    assert second.out.startswith("2 of 2 runs are finished already\n")
    assert {path: path.stat().st_mtime_ns for path in (workdir / "runs").rglob("metrics.jsonl")} == before


THREADS_THEN_COPIES = """
from pathlib import Path
from types import SimpleNamespace
import torch
from matplotlib import pyplot as plt
from ncrun.commands import pictures
from ncrun.figures import saving

def work(records):
    torch.ones(2_000_000).exp().sum()
    return plt.figure()

torch.set_num_threads(2)
work([])
pictures.DRAWINGS = {"work": SimpleNamespace(of=work)}
pictures.draw([pictures.Picture("work", Path(name), []) for name in "ab"], saving.PAGE, 2)
"""


def test_copies_draw_though_threads_of_this_process_computed(workdir: Path) -> None:
    """A copy has none of the threads that GNU's OpenMP would wait for."""
    result = subprocess.run([sys.executable, "-c", THREADS_THEN_COPIES], capture_output=True, text=True, timeout=120)
    assert result.stdout.splitlines() == ["drew a.png", "drew b.png"], result.stderr


@pytest.mark.usefixtures("undrawn")
def test_order_of_training(ncrun: Command, own: Path, trained_here: list[Run]) -> None:
    """Each figure's first curve early, then the long runs before the short ones. A figure is drawn after each of its
    runs, a third time with the last one."""
    for name, depths in (("mine/a", "2,1,3"), ("mine/b", "4,1")):
        write_experiment(own, name, NETWORK | {"counts": [6] * 10}, {"head.depth": depths}, QUICK)
    result = ncrun("figures", "mine/a", "mine/b", "--jobs", "1")
    assert result.status == 0, result
    order = [(run.config["experiment"], run.problem.depth) for run in trained_here]
    assert sorted(order[:2]) == [("mine/a", 1), ("mine/b", 1)]
    assert order[2:] == [("mine/b", 4), ("mine/a", 3), ("mine/a", 2)]
    assert [result.out.count(f"drew figures/{name}-paper.png") for name in ("mine/a", "mine/b")] == [3, 2]


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_fails_leaves_the_others(ncrun: Command, workdir: Path, own: Path, trained_here: list[Run]) -> None:
    """At a learning rate of 1e30 it diverges."""
    balanced = NETWORK | {"counts": [6] * 10, "batch_size": "full"}
    write_experiment(own, "mine/rates", balanced, {"optimizer.lr": "1e30,1e-3"}, QUICK)
    result = ncrun("figures", "mine/rates", "--jobs", "1")
    assert result.status == 1
    assert "optimizer.lr=1e+30 (1 s): failed with exit status 1" in result.err
    assert len(trained_here) == 2
    assert result.out.count("drew figures/mine/rates-paper.png") == 1


def test_refusals(refused: Refused, workdir: Path) -> None:
    assert "did you mean 'dang2023/mlp-balanced'" in refused("figures", "dang2023/mlp-balancd")
    assert refused("figures", "--from", "nowhere").startswith("--from=nowhere: no such folder")
    (workdir / "empty").mkdir()
    assert "holds no finished run" in refused("figures", "--from", "empty")
    assert refused("figures", "--jobs", "0").startswith("--jobs=0")


@pytest.mark.usefixtures("undrawn")
def test_a_record_that_lacks_an_entry(ncrun: Command, refused: Refused, workdir: Path, own: Path) -> None:
    write_experiment(own, "mine/one", NETWORK | {"counts": [6] * 10}, recipe=QUICK)
    assert ncrun("train", "experiment=mine/one", "run_dir=damaged").status == 0
    path = workdir / "damaged" / "config.yaml"
    path.write_text(path.read_text().replace("  bias: false\n", ""))
    line = refused("figures", "mine/one", "--from", "damaged")
    assert line.startswith("damaged/config.yaml: is not what a run writes: head.bias")


def test_seeds_are_of_networks_only() -> None:
    network, free = "dang2023/mlp-imbalanced-emnist", "sukenik2023/dufm"
    seeded = plan(network, "cpu", seeds=3)
    assert [run.descent.seed for planned in seeded for run in planned.job.runs] == [0, 1, 2]
    assert seeded[0].job.directory == plan(network, "cpu")[0].job.directory
    assert plan(free, "cpu", seeds=3) == plan(free, "cpu")


def test_seeds_are_refused_where_they_mean_nothing(refused: Refused) -> None:
    assert refused("figures", "--seeds", "0").startswith("--seeds=0: must be at least 1")
    assert refused("figures", "--seeds", "2", "--from", ".").startswith("--seeds=2: has no effect")


# ---------------------------------------------------------------- what has to be there first


def write_head(own: Path, optimizer: str, **options: float) -> None:
    tree = {"run_dir": "runs/mine-head", "counts": [4, 4], "model": {"width": 8}, "head": {"depth": 2}, "epochs": 5}
    chosen = [{"override /model": "dufm"}, {"override /optimizer": optimizer}]
    write_experiment(own, "mine/head", tree | {"optimizer": options, "defaults": ["_self_", *chosen]})


@pytest.fixture
def under_a_head(own: Path) -> Path:
    """mine/network, whose head is what mine/head trains."""
    network = NETWORK | {"head": {"frozen": "runs/mine-head"}, "classes": [0, 1], "counts": [6, 6]}
    write_experiment(own, "mine/network", network, recipe={"figures": ["usual"], "needs": ["mine/head"]})
    return own


@pytest.mark.usefixtures("undrawn")
def test_figures_train_the_head_first(ncrun: Command, under_a_head: Path, trained_here: list[Run]) -> None:
    """For its network cannot be planned before; a finished one is not trained again."""
    write_head(under_a_head, "lbfgs", tolerance=1e9, kicks=0)
    for _ in range(2):
        result = ncrun("figures", "mine/network", "--jobs", "1")
        assert result.status == 0, result
    assert [run.config["experiment"] for run in trained_here] == ["mine/head", "mine/network"]


@pytest.mark.usefixtures("undrawn")
def test_figures_stop_if_the_head_fails(
    ncrun: Command, workdir: Path, under_a_head: Path, trained_here: list[Run]
) -> None:
    write_head(under_a_head, "sgd", lr=1e30)
    result = ncrun("figures", "mine/network", "--jobs", "1")
    assert result.status == 1
    assert [run.config["experiment"] for run in trained_here] == ["mine/head"]
    assert not (workdir / "figures").exists()


# ---------------------------------------------------------------- records of before


@pytest.mark.parametrize(
    ("archive", "name", "scale", "start"),
    [
        (
            "dang2023-cpu",
            "dang2023/convolutional-balanced",
            "cpu",
            "A small version of the setting of Dang et al.",
        ),
        ("dang2024-paper", "dang2024/direct", "paper", "The problem of Dang et al. 2024 itself; our run."),
        ("sukenik2023-paper", "sukenik2023/dufm", "paper", "A reconstruction of the deep unconstrained features"),
    ],
)
def test_older_records_get_their_experiments_caption(
    archive: str, name: str, scale: str, start: str, ncrun: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold none. Nothing is drawn: each drawing notes what it is given, and refuses."""
    given: list[Sequence[Record]] = []

    def note(records: Sequence[Record]) -> Figure:
        given.append(records)
        raise UserError("seen")

    noted = Registry("drawing", [Drawing(each.key, note, each.suffix) for each in DRAWINGS])
    monkeypatch.setattr("ncrun.commands.pictures.DRAWINGS", noted)
    source = RESULTS / f"{archive}.zip"
    held = [r.manifest for r in find_records(source) if r.manifest["experiment"] == name]
    assert held
    assert not any("caption" in manifest for manifest in held)
    result = ncrun("figures", name, "--scale", scale, "--from", str(source), "--jobs", "1")
    assert result.status == 0, result
    assert len(given) == len(recipe(name).figures) == result.out.count("skipped figures/")
    for records in given:
        assert len(records) == len([m for m in held if m["scale"] == scale])
        assert all(wording.source_words(record).startswith(start) for record in records)
