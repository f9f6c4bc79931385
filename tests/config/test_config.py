"""Defaults are filled in, sweeps run job by job, and a configuration decides a run's identity and theory."""

import json
import re
from pathlib import Path

import pytest
from conftest import Command, RunOf, contents

from ncrun.config.experiments import recipe
from ncrun.config.folders import config_directory, experiments
from ncrun.config.grid import expand
from ncrun.config.planning import job_of
from ncrun.run import Job
from ncrun.theory import predict

TENS = "counts=[10,10,10,10,10,10,10,10,10,10]"


def test_sweep_runs_every_job_in_its_own_directory(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, Path]] = []

    def train(jobs: list[Job], quiet: bool) -> int:
        (run,) = jobs[0].runs
        seen.append((run.problem.depth, run.descent.seed, run.directory))
        return 0

    monkeypatch.setattr("ncrun.training.runs.train", train)
    result = ncrun("train", "-m", "head.depth=1,3", "seed=0,1", "run_dir=out/${head.depth}/${seed}")
    assert result.status == 0
    assert seen == [(M, s, Path(f"out/{M}/{s}")) for M in (1, 3) for s in (0, 1)]
    assert contents(Path()) == {}  # no multirun folder of Hydra's


def test_sweep_fails_if_one_job_fails(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncrun.training.runs.train", lambda jobs, quiet: 1 if jobs[0].config["seed"] == 0 else 0)
    assert ncrun("train", "-m", "seed=0,1").status == 1


def test_interrupted_sweep_starts_no_further_job(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def train(jobs: list[Job], quiet: bool) -> int:
        seen.append(jobs[0].config["seed"])
        return 130

    monkeypatch.setattr("ncrun.training.runs.train", train)
    assert ncrun("train", "-m", "seed=0,1").status == 130
    assert seen == [0]


SMALL_ENOUGH = [name for name in experiments() if not recipe(name).scales]  # the others: test_recipes.py


@pytest.mark.parametrize("name", SMALL_ENOUGH)
def test_every_experiment_of_free_features_composes_with_its_grid(name: str) -> None:
    """As many jobs as its first lines promise, each in a directory of its own. Of a large grid every so many-th job is
    composed, which takes a tenth of a second, and the last one.
    """
    points = expand([f"experiment={name}", "scale=cpu"])
    jobs = [job_of(points[-1]), *(job_of(point) for point in points[: -1 : max(1, len(points) // 9)])]
    assert {(run.about["experiment"], run.about["scale"]) for job in jobs for run in job.runs} == {(name, "paper")}
    assert len({job.directory for job in jobs}) == len(jobs)
    head = (config_directory() / "experiment" / f"{name}.yaml").read_text().split("defaults:")[0]
    promised = re.search(r"(\d+) (runs?|programs of (\d+) restarts)", head)
    assert promised is not None
    assert len(points) == int(promised[1])
    assert {len(job.runs) for job in jobs} == {int(promised[3] or 1)}
    assert all(run.is_free for job in jobs for run in job.runs)


def test_experiment_without_scales_is_one_run_at_all_of_them(run_of: RunOf) -> None:
    cpu, paper = (run_of("experiment=dang2024/direct", f"scale={scale}") for scale in ("cpu", "paper"))
    assert cpu.identity == paper.identity


def test_typed_dataset_wins_over_the_experiments(run_of: RunOf) -> None:
    typed = run_of("dataset=mnist", "experiment=dang2023/mlp-imbalanced", "scale=cpu")
    assert typed.data.source.name == "mnist"


def test_what_is_left_out_is_filled_in(run_of: RunOf) -> None:
    run = run_of()
    assert (run.model.name, run.problem.loss, run.problem.depth, run.problem.bias) == ("mlp", "mse", 1, False)
    assert run.model.batch_norm is False
    assert (run.problem.decay_mode, run.problem.feature_decay, run.descent.batch_size) == ("features", 1e-5, 128)
    assert list(run.data.counts) == list(run.data.source.facts.class_sizes)
    assert run.config["subset"] is None
    assert run_of(TENS).descent.batch_size == 100  # min(128, N)
    assert run_of("batch_size=full").descent.is_full_batch
    assert run_of("decay.mode=parameters").problem.feature_decay is None
    assert (run_of("schedule.step=5").descent.drops, run_of("schedule.step=5").descent.drop_every) == ((), 5)


@pytest.mark.parametrize(
    ("dataset", "shape", "native"),
    [
        ("digits", (1, 8, 8), (1, 8, 8)),
        ("mnist", (3, 32, 32), (1, 28, 28)),
        ("fashion_mnist", (3, 32, 32), (1, 28, 28)),
        ("emnist_letters", (3, 32, 32), (1, 28, 28)),
        ("cifar10", (3, 32, 32), (3, 32, 32)),
        ("cifar100", (3, 32, 32), (3, 32, 32)),
        ("svhn", (3, 32, 32), (3, 32, 32)),
    ],
)
def test_images_are_those_of_the_released_code_unless_left_as_they_are(
    dataset: str, shape: tuple[int, ...], native: tuple[int, ...], run_of: RunOf
) -> None:
    assert run_of(f"dataset={dataset}").data.image_shape == shape
    bare = (f"dataset={dataset}", "dataset.size=null", "dataset.channels=null")
    assert run_of(*bare).data.image_shape == native
    assert run_of(*bare, "dataset.size=20").data.image_shape == (native[0], 20, 20)
    assert run_of(*bare, "dataset.channels=3").data.image_shape == (3, *native[1:])


def test_data_sets_have_their_published_sizes(run_of: RunOf) -> None:
    sizes = {name: run_of(f"dataset={name}").data.num_samples for name in ("emnist_letters", "cifar100", "svhn")}
    assert sizes == {"emnist_letters": 124_800, "cifar100": 50_000, "svhn": 73_257}
    assert [run_of(f"dataset={name}").problem.num_classes for name in sizes] == [26, 100, 10]


@pytest.mark.parametrize(
    ("typed", "sign"),
    [
        ("model=mlp", "free"),
        ("model=mlp model.features=relu", "nonnegative"),
        ("model=mlp model.batch_norm=true", "free"),
        ("model=deep_linear", "free"),
        # with and without a BatchNorm on the features, as the papers' released codes have them
        ("model=resnet18", "free"),
        ("model=vgg11 dataset.size=32", "free"),
        ("model=vgg16 dataset.size=32", "free"),
        ("model=densenet", "nonnegative"),
        ("model=resnet18 model.feature_norm=false", "nonnegative"),
        ("model=vgg11 dataset.size=32 model.feature_norm=false", "nonnegative"),
        ("model=densenet model.feature_norm=true", "free"),
    ],
)
@pytest.mark.parametrize("head", ["linear", "relu"])
def test_theory_knows_the_sign_of_features_and_the_kind_of_head(
    typed: str, sign: str, head: str, run_of: RunOf
) -> None:
    problem = run_of(*typed.split(), "head.depth=2", *(["head.relu=true"] if head == "relu" else [])).problem
    assert (problem.feature_sign, problem.head, problem.bias) == (sign, head, False)


@pytest.mark.parametrize(
    ("typed", "claim"),
    [
        ("classes=[0,1] counts=[9,9]", "proven"),  # the theorem: two classes of equal count
        ("classes=[0,1] counts=[9,9] model.features=relu", "proven"),  # its chains can be built from features >= 0
        ("classes=[0,1]", "open"),  # 143 and 146 samples
        ("classes=[0,1,2] counts=[9,9,9]", "open"),
        (f"{TENS}", "refuted"),
        (f"{TENS} loss=ce", "none"),
        (f"{TENS} decay.mode=parameters", "transferred"),
    ],
)
def test_claims_for_a_relu_head_behind_a_network(typed: str, claim: str, run_of: RunOf) -> None:
    """As for deep unconstrained features, whose head it is."""
    problem = run_of(*typed.split(), "head.relu=true", "head.depth=3").problem
    assert predict(problem).claim == claim


def test_chosen_classes_decide_sizes_counts_and_head(run_of: RunOf) -> None:
    run = run_of("classes=[3,0,8]")
    assert (run.problem.num_classes, list(run.data.counts)) == (3, [147, 143, 140])
    assert (run.problem.counts, run.config["subset"]) == ((147.0, 143.0, 140.0), None)
    # n_max is the smallest of the chosen classes, 140, whatever the others hold; 140 * 0.5 = 70 and 105 between
    assert list(run_of("classes=[3,0,8]", "imbalance=0.5", "imbalance_profile=linear").data.counts) == [140, 105, 70]
    assert list(run_of("classes=[3,0]", "imbalance=1").data.counts) == [143, 143]
    assert list(run_of("classes=[3,0]", "counts=[147,2]").data.counts) == [147, 2]
    rare = list(run_of("classes=[3,0,8]", "imbalance=0.5", "class_order=seed", "seed=1").data.counts)
    assert sorted(rare) == sorted(run_of("classes=[3,0,8]", "imbalance=0.5").data.counts)


def test_random_labels_leave_the_prediction_alone(run_of: RunOf) -> None:
    assert run_of("random_labels=1").problem == run_of().problem


def test_decay_list_reaches_theory_layer_by_layer(run_of: RunOf) -> None:
    run = run_of("head.depth=3", "head.width=20", "model.width=30", "decay.weight=[1e-3,2e-3,3e-3]", "head.bias=true")
    problem = run.problem
    assert problem.weight_decays == (1e-3, 2e-3, 3e-3)
    assert problem.widths == (30, 20, 20)
    assert problem.bias
    assert run_of("head.depth=2", "decay.weight=1e-3").problem.weight_decays == (1e-3, 1e-3)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ("seed=1", False),
        ("epochs=301", False),
        ("decay.feature=2e-5", False),
        ("imbalance=0.5", False),
        ("dtype=float64", False),
        ("dataset.size=16", False),
        ("dataset.channels=3", False),
        ("classes=[0,1]", False),
        ("random_labels=0.1", False),
        ("model.features=relu", False),
        ("taps=[relu1]", False),
        ("head.relu=false", True),  # what is left out
        ("random_labels=0", True),
        ("decay.feature=1e-5", True),  # its default
        ("batch_size=128", True),
        ("device=cpu", True),
        ("threads=1", True),
        ("progress=false", True),
        ("run_dir=elsewhere", True),
        ("name=other", True),
    ],
)
def test_identity_is_what_decides_the_numbers(changed: str, same: bool, run_of: RunOf) -> None:
    assert (run_of(changed).identity == run_of().identity) is same


def test_identity_of_a_recorded_configuration(run_of: RunOf) -> None:
    """config.yaml is enough to make the same run again."""
    run = run_of("imbalance=0.1", "head.depth=2", "loss=ce")
    again = json.loads(json.dumps(run.config))
    overrides = ["imbalance=0.1", f"head.depth={again['head']['depth']}", f"loss={again['loss']}"]
    overrides += [f"decay.feature={again['decay']['feature']}", f"batch_size={again['batch_size']}"]
    assert run_of(*overrides).identity == run.identity
