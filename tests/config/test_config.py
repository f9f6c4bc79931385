"""Every bad value is refused in one line, with status 2, before anything is written; good ones fill in defaults."""

import json
import re
from pathlib import Path

import pytest
from conftest import Command, Refused, RunOf, contents

from ncrun.config.experiments import recipe
from ncrun.config.folders import config_directory, experiments
from ncrun.config.grid import expand
from ncrun.config.planning import job_of
from ncrun.run import Job
from ncrun.theory import predict

TENS = "counts=[10,10,10,10,10,10,10,10,10,10]"
# What is typed after `ncrun train`, how the answer begins, and what else it must hold.
BAD = [
    ("imbalance=0", "imbalance=0:", "(0, 1]"),
    ("imbalance=1.5", "imbalance=1.5:", "imbalance=0.666667"),
    ("imbalance=10", "imbalance=10:", "imbalance=0.1"),
    ("imbalance=-1", "imbalance=-1:", "(0, 1]"),
    ("imbalance=nan", "imbalance=nan:", "(0, 1]"),
    ("imbalance=inf", "imbalance=inf:", "(0, 1]"),
    ("imbalance=few", "imbalance", "few"),
    ("imbalance=0.1 imbalance_profile=ramp", "imbalance_profile=ramp:", "exp, step, linear"),
    ("imbalance=0.1 class_order=random", "class_order=random:", "list, seed"),
    ("counts=[10,10]", "counts=", "10 classes of digits"),
    ("counts=[9,9,9,9,9,9,9,9,9,9,9]", "counts=", "11 counts for the 10 classes"),
    ("counts=[]", "counts=", "0 counts for the 10 classes"),
    (
        "counts=[10,10,10,148,10,10,10,10,10,10]",
        "counts",
        "class 3 of digits holds 1 to 147 samples, not 148",
    ),
    ("counts=[0,0,0,0,0,0,0,0,0,0]", "counts", "not 0"),
    ("counts=[9,9,9,9,0,9,9,9,9,9]", "counts", "class 4"),
    ("counts=[9,9,9,9,9,9,9,9,9,-1]", "counts", "not -1"),
    ("counts=[1.5,1,1,1,1,1,1,1,1,1]", "counts[0]", "1.5"),
    ("counts=5", "counts", ""),
    (f"imbalance=0.1 {TENS}", "imbalance", "counts is set"),
    (f"imbalance_profile=step {TENS}", "imbalance_profile", "counts is set"),
    (f"class_order=seed {TENS}", "class_order", "counts is set"),
    ("imbalance_profile=step", "imbalance_profile", "imbalance is not set"),
    ("class_order=seed", "class_order", "imbalance is not set"),
    ("subset=first", "subset", "every sample is taken"),
    ("subset=random", "subset=random:", "seed, first"),
    ("dataset=cifar", "dataset=cifar:", "'cifar10'"),
    ("dataset=mnits", "dataset=mnits:", "'mnist'"),
    (
        "dataset.name=letters",
        "dataset=letters:",
        "digits, mnist, fashion_mnist, emnist_letters, cifar10, cifar100, svhn, image_folder, npz",
    ),
    ("model=mpl", "model=mpl:", "'mlp'"),
    ("model=resnet50", "model=resnet50:", "'resnet20'"),
    ("loss=msee", "loss=msee:", "'mse'"),
    ("loss=hinge", "loss=hinge:", "mse, ce"),
    ("optimizer=adamw", "optimizer=adamw:", "'adam'"),
    ("experiment=dang2023/mlp-imbalance", "experiment=dang2023/mlp-imbalance:", "'dang2023/mlp-imbalanced'"),
    ("experiment=nosuch", "experiment=nosuch:", "dang2023/mlp-balanced"),
    ("epoch=3", "epoch: no such key", "'epochs'"),
    ("head.dept=3", "head.dept: no such key", "'head.depth'"),
    ("model.widht=3", "model.widht: no such key", "'model.width'"),
    ("optimizer.momentum=0.5", "optimizer.momentum:", "the chosen optimizer has no such key"),
    ("model=resnet18 model.depth=3", "model.depth:", "the chosen model has no such key"),
    ("foo=1", "foo: no such key", ""),
    ("+foo=1", "foo: no such key", ""),
    ("+head.dpeth=1", "head.dpeth: no such key", "'head.depth'"),
    ("~seed", "seed:", "cannot be deleted"),
    ("~head", "head.depth:", "cannot be deleted"),
    ("head.depth=0", "head.depth=0:", "at least 1"),
    ("head.depth=1.5", "head.depth", "1.5"),
    ("head.depth=2 head.width=0", "head.width=0:", "at least 1"),
    ("head.width=5", "head.width:", "no hidden layer"),
    ("decay.weight=-1", "decay.weight=-1:", "at least 0"),
    ("decay.weight=nan", "decay.weight=nan:", "at least 0"),
    ("decay.weight=much", "decay.weight=much:", "a number"),
    ("decay.weight=true", "decay.weight=True:", "a number"),
    ("decay.weight=[1e-3,1e-3]", "decay.weight=", "2 numbers for head.depth=1"),
    ("decay.weight=[1e-3] head.depth=2", "decay.weight=", "1 numbers for head.depth=2"),
    ("decay.weight=[-1]", "decay.weight=-1:", "at least 0"),
    ("decay.feature=-1e-3", "decay.feature=-0.001:", "at least 0"),
    ("decay.feature=inf", "decay.feature=inf:", "at least 0"),
    ("decay.feature=1e-3 decay.mode=parameters", "decay.feature:", "decay.mode=parameters"),
    ("decay.weight=[1e-3] decay.mode=parameters", "decay.weight=", "a single number"),
    ("decay.mode=both", "decay.mode=both:", "features, parameters"),
    ("batch_size=1443", "batch_size=1443:", "1..1442"),
    (f"batch_size=101 {TENS}", "batch_size=101:", "1..100"),
    ("batch_size=0", "batch_size=0:", "1..1442"),
    ("batch_size=2.5", "batch_size=2.5:", "whole number"),
    ("batch_size=abc", "batch_size=abc:", "full"),
    ("batch_size=true", "batch_size=True:", "whole number"),
    ("batch_size=1 model.batch_norm=true", "batch_size=1:", "BatchNorm"),
    ("batch_size=1 model=resnet18", "batch_size=1:", "BatchNorm"),
    ("device=tpu", "device=tpu:", "auto, cpu, cuda"),
    ("dtype=float16", "dtype=float16:", "float32, float64"),
    ("epochs=0", "epochs=0:", "at least 1"),
    ("epochs=x", "epochs", "'x'"),
    ("epochs=1.5", "epochs", "1.5"),
    ("seed=null", "seed", ""),
    ("seed=-1", "seed=-1:", "0..2^63-1"),
    ("seed=x", "seed", "'x'"),
    ("measure=sometimes", "measure=sometimes:", "auto, every, log"),
    ("measure=0", "measure=0:", "whole number"),
    ("threads=0", "threads=0:", "auto"),
    ("threads=1.5", "threads=1.5:", "whole number"),
    ("progress=maybe", "progress=maybe:", "auto, true or false"),
    ("optimizer.lr=0", "optimizer.lr=0", "above 0"),
    ("optimizer.lr=nan", "optimizer.lr=nan:", "above 0"),
    ("optimizer=sgd optimizer.momentum=1", "optimizer.momentum=1", "[0, 1)"),
    ("optimizer.betas=[0.9]", "optimizer.betas=", "two numbers"),
    ("model.depth=0", "model.depth=0:", "at least 1"),
    ("model.width=0", "model.width=0:", "at least 1"),
    ("model=resnet18 model.width=0", "model.width=0", "above 0"),
    ("model=resnet18 model.width=nan", "model.width=nan:", "above 0"),
    ("model=densenet model.width=0", "model.width=0", "above 0"),
    ("model=densenet model.depth=3", "model.depth:", "the chosen model has no such key"),
    ("model.feature_norm=true", "model.feature_norm:", "the chosen model has no such key"),
    ("model=resnet18 model.features=relu", "model.features:", "the chosen model has no such key"),
    ("model=vgg11 dataset.size=32 model.feature_norm=some", "model.feature_norm", "some"),
    ("model.features=tanh", "model.features=tanh:", "linear, relu"),
    ("model.features=relu model.batch_norm=true", "model.features=relu:", "model.batch_norm=true"),
    ("model=vgg11", "model=vgg11:", "32 x 32, not 8 x 8; set dataset.size=32"),
    ("model=vgg16 dataset.size=31", "model=vgg16:", "not 31 x 31"),
    ("model=vgg11 dataset=mnist dataset.size=null", "model=vgg11:", "not 28 x 28"),
    ("model=densenet dataset.size=7", "model=densenet:", "at least 8 x 8, not 7 x 7; set dataset.size=8"),
    ("head.relu=true", "head.relu=True:", "nothing between its layers"),
    ("batch_size=1 model=densenet", "batch_size=1:", "BatchNorm"),
    ("batch_size=1 model=vgg16 dataset.size=32", "batch_size=1:", "BatchNorm"),
    ("head.relu=true head.bias=true", "head.bias=True:", "head.relu=true has no bias"),
    ("head.relu=some", "head.relu", "some"),
    ("dataset.channels=2", "dataset.channels=2:", "the images of digits are grey; it can be 1 or 3, or null"),
    ("dataset.channels=0", "dataset.channels=0:", "digits are grey"),
    ("dataset=cifar10 dataset.channels=1", "dataset.channels=1:", "cifar10 are coloured; it can be 3, or null"),
    ("dataset.size=0", "dataset.size=0:", "at least 1"),
    ("dataset.size=8.5", "dataset.size", "8.5"),
    ("classes=5", "classes=5:", "must be a list"),
    ("classes=[0]", "classes=[0]:", "two or more different"),
    ("classes=[]", "classes=[]:", "two or more different"),
    ("classes=[0,0]", "classes=[0, 0]:", "two or more different"),
    ("classes=[0,99]", "classes=[0, 99]:", "the classes 0 to 9, not 99"),
    ("classes=[0,-1]", "classes=[0, -1]:", "not -1"),
    ("classes=[0,1.5]", "classes[1]", "1.5"),
    ("classes=5", "classes", ""),
    ("classes=[0,1] counts=[5,5,5]", "counts=", "3 counts for the 2 classes"),
    ("classes=[4,8] counts=[5,141]", "counts", "class 8 of digits holds 1 to 140 samples, not 141"),
    ("random_labels=1.5", "random_labels=1.5:", "[0, 1]"),
    ("random_labels=-0.1", "random_labels=-0.1:", "[0, 1]"),
    ("random_labels=nan", "random_labels=nan:", "[0, 1]"),
    ("schedule.gamma=0", "schedule.gamma=0", "above 0"),
    ("schedule.step=0", "schedule.step=0:", "at least 1"),
    ("schedule.drops=[1.0]", "schedule.drops=[1.0]:", "(0, 1)"),
    ("schedule.step=3 schedule.drops=[0.5]", "schedule.drops:", "schedule.step is set"),
    ("scale=cpu", "scale:", "no experiment is chosen"),
    ("scale=huge experiment=dang2023/mlp-imbalanced", "scale=huge:", "cpu, real, paper"),
    ("data_dir=nowhere", "data_dir=nowhere:", "no such folder"),
    ("--bogus", "unrecognized arguments: --bogus", ""),
    ("--cfg everything", "argument --cfg", "'job'"),
    ("a=[", "", "'['"),
    ("seed", "", "'seed'"),
    ("seed=1,2", "", "'seed=1,2'"),
]


@pytest.mark.parametrize(("typed", "start", "part"), BAD, ids=[case[0] for case in BAD])
def test_bad_value_is_refused(typed: str, start: str, part: str, refused: Refused) -> None:
    line = refused("train", *typed.split())
    assert line.startswith(start), line
    assert part in line


@pytest.mark.parametrize("typed", ["imbalance=0", "head.depth=0", "foo=1", "--bogus", "a=["])
def test_theory_refuses_like_train(typed: str, refused: Refused) -> None:
    assert refused("theory", typed, "--json") == refused("train", typed)


def test_cuda_without_a_device(refused: Refused) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert refused("train", "device=cuda").startswith("device=cuda: ")


@pytest.mark.parametrize("typed", ["imbalance=${nosuch}", "imbalance=???"])
def test_interpolation_that_fails(typed: str, refused: Refused) -> None:
    assert "imbalance" in refused("train", typed)


def test_seed_too_large(refused: Refused) -> None:
    assert refused("train", f"seed={10**20}").startswith("seed=")


def test_empty_run_dir(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncrun.training.runs.train", lambda run: 0)
    assert refused("train", "run_dir=").startswith("run_dir=")


@pytest.mark.parametrize(
    ("typed", "start"),
    [
        ("seed=1,2 imbalance=0.5,2", "imbalance=2:"),
        ("head.depth=1,0", "head.depth=0:"),
        ("dataset=digits,digitz", "dataset=digitz:"),
        ("seed=1,2 run_dir=shared", "run_dir=shared:"),
        ("seed=1,1", "run_dir=runs/"),
        ("seed=1,2 +foo=1", "foo: no such key"),
    ],
)
def test_sweep_with_one_bad_job_starts_none(
    typed: str, start: str, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncrun.training.runs.train", lambda jobs: pytest.fail("a job was started"))
    assert refused("train", "-m", *typed.split()).startswith(start)


def test_sweep_with_one_job_for_a_device_that_is_not_there(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    monkeypatch.setattr("ncrun.training.program.tensors.load", lambda *_: pytest.fail("a job was started"))
    assert refused("train", "-m", "device=cpu,cuda", "run_dir=out/${device}").startswith("device=cuda: ")


def test_sweep_runs_every_job_in_its_own_directory(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int, Path]] = []

    def train(jobs: list[Job]) -> int:
        (run,) = jobs[0].runs
        seen.append((run.problem.depth, run.descent.seed, run.directory))
        return 0

    monkeypatch.setattr("ncrun.training.runs.train", train)
    result = ncrun("train", "-m", "head.depth=1,3", "seed=0,1", "run_dir=out/${head.depth}/${seed}")
    assert result.status == 0
    assert seen == [(M, s, Path(f"out/{M}/{s}")) for M in (1, 3) for s in (0, 1)]
    assert contents(Path()) == {}  # no multirun folder of Hydra's


def test_sweep_fails_if_one_job_fails(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ncrun.training.runs.train", lambda jobs: 1 if jobs[0].config["seed"] == 0 else 0)
    assert ncrun("train", "-m", "seed=0,1").status == 1


def test_interrupted_sweep_starts_no_further_job(ncrun: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def train(jobs: list[Job]) -> int:
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
        ("classes=[0,1] counts=[9,9]", "proven"),  # the theorem: two classes of equal size
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
