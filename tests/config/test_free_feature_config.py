"""The free-feature models' configurations: what is refused, and what is filled in."""

import pytest
from conftest import Refused, RunOf

from ncrun.config.planning import job_of
from ncrun.training.machine import threads_of

UFM, RELU, DUFM = (f"model={name} counts=[6,3]" for name in ("ufm", "ufm_relu", "dufm"))
NO_MINIMISER = "no minimiser"
# What is typed, how the answer begins, and what else it must hold.
BAD = [
    ("model=ufm", "counts: model=ufm needs", "counts=[100,100,50,50]"),
    ("model=ufm counts=[]", "counts=[]:", "at least two classes"),
    ("model=dufm counts=[7]", "counts=[7]:", "at least two classes"),
    ("model=ufm_relu counts=[5,0]", "counts: class 1", "at least 1 sample, not 0"),
    ("model=ufm counts=[5,3,-2]", "counts: class 2", "not -2"),
    ("model=ufm counts=[5,2.5]", "counts[1]", "2.5"),
    ("model=ufm counts=5", "counts=5:", "a list"),
    (f"{UFM} model.width=0", "model.width=0:", "from 1 to "),
    (f"{UFM} model.width=2.5", "model.width", "2.5"),
    (f"{UFM} model.feature_std=0", "model.feature_std=0", "from 1e-"),
    (f"{UFM} model.feature_std=nan", "model.feature_std=nan:", "from 1e-"),
    (f"{DUFM} model.weight_std=-1", "model.weight_std=-1", "from 1e-"),
    (f"{UFM} model.depth=2", "model.depth:", "no such key"),
    (f"{UFM} head.depth=2 head.width=0", "head.width=0:", "from 1 to "),
    (f"{UFM} head.depth=0", "head.depth=0:", "from 1 to "),
    (f"{UFM} decay.weight=0", "decay.weight=0:", NO_MINIMISER),
    (f"{UFM} decay.feature=0", "decay.feature=0:", NO_MINIMISER),
    (f"{UFM} head.depth=2 decay.weight=[1e-3,0]", "decay.weight=0:", NO_MINIMISER),
    (f"{UFM} head.depth=2 decay.weight=[1e-3,0] decay.feature=0", "decay.weight=0:", NO_MINIMISER),
    (f"{UFM} loss=ce decay.weight=0 decay.feature=0", "decay.weight=0:", NO_MINIMISER),
    (f"{RELU} decay.weight=0 decay.feature=0", "decay.weight=0:", NO_MINIMISER),
    (f"{DUFM} decay.feature=0", "decay.feature=0:", NO_MINIMISER),
    (f"{UFM} decay.weight=-1e-3", "decay.weight=-0.001:", "0, or from 1e-30 to 1e+30"),
    (f"{UFM} decay.mode=parameters", "decay.mode=parameters:", "features"),
    (f"{DUFM} head.bias=true", "head.bias=True:", "no bias"),
    (f"{RELU} head.depth=2", "head.depth=2:", "use model=ufm for more"),
    (f"{UFM} restarts=0", "restarts=0:", "from 1 to "),
    (f"{UFM} restarts=3", "restarts=3:", "optimizer=sgd or adam"),
    (f"{RELU} restarts=2 optimizer=lbfgs", "restarts=2:", "cannot be batched"),
    ("model=mlp restarts=3", "restarts: has no effect", "seed=0,1,2"),
    ("restarts=1", "restarts: has no effect", "model=mlp"),
    ("model=mlp path=[1,2]", "path: has no effect", "no free features"),
    (f"{UFM} path=[1,2] optimizer=sgd", "path=[1.0, 2.0]:", "optimizer=lbfgs"),
    (f"{UFM} path=[]", "path=[]:", "at least one"),
    (f"{UFM} path=[0.1,-1]", "path=-1", "from 1e-"),
    (f"{UFM} path=[0]", "path=0", "from 1e-"),
    (f"{UFM} path=[nan]", "path=nan:", "from 1e-"),
    ("model=mlp optimizer=lbfgs", "optimizer=lbfgs:", "model=ufm, ufm_relu, dufm"),
    ("optimizer=lbfgs", "optimizer=lbfgs:", "not mlp"),
    (f"{UFM} optimizer.lr=0.1", "optimizer.lr:", "no such key"),
    (f"{UFM} optimizer.kicks=-1", "optimizer.kicks=-1:", "from 0 to "),
    (f"{UFM} optimizer.history=0", "optimizer.history=0:", "from 1 to "),
    (f"{UFM} optimizer.tolerance=-1", "optimizer.tolerance=-1", "0, or from 1e-30 to 1e+30"),
    (f"{UFM} schedule.step=5", "schedule.step: has no effect", "no learning rate"),
    (f"{UFM} schedule.drops=[0.5]", "schedule.drops: has no effect", "no learning rate"),
    (f"{UFM} schedule.gamma=0.5", "schedule.gamma: has no effect", "no learning rate"),
    (f"{UFM} dataset=mnist", "dataset: has no effect", "no data set"),
    (f"{UFM} subset=first", "subset: has no effect", "no data set"),
    (f"{UFM} data_dir=.", "data_dir: has no effect", "no data set"),
    (f"{UFM} dataset.size=8", "dataset.size: has no effect", "no data set"),
    (f"{UFM} dataset.channels=3", "dataset.channels: has no effect", "no data set"),
    (f"{UFM} classes=[0,1]", "classes: has no effect", "no data set"),
    (f"{DUFM} random_labels=0.5", "random_labels: has no effect", "no data set"),
    (f"{UFM} head.relu=true", "head.relu=True:", "model=dufm"),
    (f"{RELU} head.relu=true", "head.relu=True:", "model=dufm"),
    (f"{DUFM} head.relu=false", "head.relu=False:", "model=dufm"),
    (f"{RELU} imbalance=0.5", "imbalance: has no effect", "counts=[...]"),
    (f"{RELU} imbalance_profile=step", "imbalance_profile: has no effect", "counts=[...]"),
    (f"{RELU} class_order=seed", "class_order: has no effect", "counts=[...]"),
    (f"{UFM} batch_size=32", "batch_size=32:", "all its features at once"),
    (f"{UFM} epochs=0", "epochs=0:", "from 1 to "),
    (f"{UFM} head.width=5", "head.width:", "no hidden layer"),
]


@pytest.mark.parametrize(("typed", "start", "part"), BAD, ids=[case[0] for case in BAD])
def test_bad_value_is_refused(typed: str, start: str, part: str, refused: Refused) -> None:
    line = refused("train", *typed.split())
    assert line.startswith(start), line
    assert part in line, line


@pytest.mark.parametrize("typed", [case[0] for case in BAD[::9]])
def test_theory_refuses_like_train(typed: str, refused: Refused) -> None:
    assert refused("theory", *typed.split(), "--json") == refused("train", *typed.split())


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        (f"{UFM} decay.weight=1e-3,0", "decay.weight=0:"),
        (f"{DUFM} head.bias=false,true", "head.bias=True:"),
        ("model=ufm counts=[6,3],[6,0]", "counts: class 1"),
        ("model=ufm,ufm_relu counts=[6,3] head.depth=1,2", "head.depth=2:"),
    ],
)
def test_sweep_with_one_bad_job_starts_none(typed: str, start: str, refused: Refused) -> None:
    assert refused("train", "-m", *typed.split()).startswith(start)


def test_what_is_left_out_is_filled_in(run_of: RunOf) -> None:
    expected = {"ufm": ("mse", 1), "ufm_relu": ("ce", 1), "dufm": ("mse", 3)}
    for name, (loss, depth) in expected.items():
        run = run_of(f"model={name}", "counts=[6,3,2]")
        assert (run.problem.loss, run.problem.depth, run.problem.bias) == (loss, depth, False)
        assert run.problem.head == ("relu" if name == "dufm" else "linear")
        assert (run.descent.optimizer.name, run.descent.epochs, run.descent.dtype) == ("lbfgs", 30_000, "float64")
        assert run.problem.decay_mode == "features"
        assert {*run.problem.weight_decays, run.problem.feature_decay} == {5e-4}
        assert (run.descent.is_full_batch, run.descent.drops) == (True, ())
        assert [run.config[key] for key in ("dataset", "imbalance", "subset", "restarts")] == [None, None, None, 1]
        assert list(run.data.counts) == [6, 3, 2]
        assert (run.problem.num_classes, run.data.num_samples, run.problem.widths) == (3, 11, (64,) * depth)
        assert threads_of(run, None) == 1
        assert run.directory.name.startswith(f"{name}-M{depth}-")


def test_what_is_typed_wins(run_of: RunOf) -> None:
    """In any order; the models' own choice of an optimiser is a default."""
    for typed in (["optimizer=sgd", UFM], [UFM, "optimizer=sgd"]):
        assert run_of(*" ".join(typed).split()).descent.optimizer.name == "sgd"
    run = run_of(*RELU.split(), "loss=mse", "epochs=7", "dtype=float32", "threads=2", "batch_size=full")
    assert (run.problem.loss, run.descent.epochs, run.descent.dtype, threads_of(run, None)) == ("mse", 7, "float32", 2)
    assert run_of(*DUFM.split(), "head.depth=2").problem.depth == 2
    assert run_of(*UFM.split(), "optimizer=adam", "schedule.drops=[0.5]").descent.drops == (0.5,)


def test_setting_that_theory_is_asked_about(run_of: RunOf) -> None:
    run = run_of(*UFM.split(), "head.depth=2", "head.width=9", "model.width=5", "head.bias=true", "loss=ce")
    problem = run.problem
    assert (problem.loss, problem.counts, problem.widths, problem.bias) == ("ce", (6.0, 3.0), (5, 9), True)
    assert (problem.head, problem.feature_sign, problem.free_features) == ("linear", "free", True)
    assert run_of(*RELU.split()).problem.feature_sign == "nonnegative"
    dufm = run_of(*DUFM.split()).problem
    assert (dufm.head, dufm.feature_sign, dufm.depth) == ("relu", "free", 3)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("model.width=65", False),
        ("model.feature_std=0.2", False),
        ("counts=[6,4]", False),
        ("counts=[3,6]", False),
        ("path=[1,2]", False),
        ("optimizer.kicks=4", False),
        ("optimizer=sgd", False),
        ("optimizer=lbfgs", True),
        ("batch_size=full", True),
        ("loss=mse", True),
        ("head.relu=false", True),
        ("restarts=1", True),
    ],
)
def test_identity_is_what_decides_the_numbers(changed: str, same: bool, run_of: RunOf) -> None:
    base = UFM.split()
    assert (run_of(*base, changed).identity == run_of(*base).identity) is same


def test_restarts_are_runs_of_their_own(run_of: RunOf) -> None:
    """Each has the identity that the run of its seed has by itself, in a folder of the whole."""
    base = [*UFM.split(), "optimizer=sgd"]
    whole = job_of([*base, "restarts=3", "seed=5"])
    assert whole.is_group
    assert [run.identity for run in whole.runs] == [run_of(*base, f"seed={s}").identity for s in (5, 6, 7)]
    assert [run.directory for run in whole.runs] == [whole.directory / f"seed-{s}" for s in (5, 6, 7)]
    assert whole.identity not in {run.identity for run in whole.runs}
