"""Every bad value is refused in one line, with status 2, before anything is written."""

import pytest
from conftest import Refused

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
    ("counts=[1.5,1,1,1,1,1,1,1,1,1]", "counts[0]=1.5:", "must be a whole number"),
    ("counts=5", "counts", ""),
    (f"imbalance=0.1 {TENS}", "imbalance", "counts is set"),
    (f"imbalance_profile=step {TENS}", "imbalance_profile", "counts is set"),
    (f"class_order=seed {TENS}", "class_order", "counts is set"),
    ("imbalance_profile=step", "imbalance_profile", "imbalance is not set"),
    ("class_order=seed", "class_order", "imbalance is not set"),
    ("subset=first", "subset", "all samples are used"),
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
    ("loss=ce label_smoothing=1", "label_smoothing=1:", "[0, 1)"),
    ("loss=ce label_smoothing=nan", "label_smoothing=nan:", "[0, 1)"),
    ("label_smoothing=0.1", "label_smoothing: has no effect", "loss=mse has no such option"),
    ("class_weights=balanced", "class_weights: has no effect", "loss=mse"),
    ("logit_adjustment=1 loss=mse", "logit_adjustment: has no effect", "loss=mse"),
    ("loss=ce logit_adjustment=-1", "logit_adjustment=-1:", "not negative"),
    ("loss=ce logit_adjustment=1e3", "logit_adjustment=1000:", "from 0 to 100"),
    ("loss=ce class_weights=[1,2]", "class_weights: has 2 entries", "10 positive numbers"),
    ("loss=ce class_weights=[1,2,3,4,5,6,7,8,9,0]", "class_weights: the weight of class 9", "not 0"),
    ("loss=ce class_weights=[1,2,3,4,5,6,7,8,9,1e99]", "class_weights=1e+99:", "from 1e-10"),
    ("loss=ce class_weights=inverse", "class_weights=inverse:", "balanced"),
    ("optimizer=adamw", "optimizer=adamw:", "'adam'"),
    ("experiment=dang2023/mlp-imbalance", "experiment=dang2023/mlp-imbalance:", "'dang2023/mlp-imbalanced'"),
    ("experiment=nosuch", "experiment=nosuch:", "dang2023/mlp-balanced"),
    ("epoch=3", "epoch: no such key", "'epochs'"),
    ("head.dept=3", "head.dept: no such key", "'head.depth'"),
    ("model.widht=3", "model.widht: no such key", "'model.width'"),
    (
        "optimizer.momentum=0.5",
        "optimizer.momentum:",
        "the chosen optimizer has no such key; it is a key of optimizer=sgd",
    ),
    ("model=resnet18 model.depth=3", "model.depth:", "the chosen model has no such key"),
    ("foo=1", "foo: no such key", ""),
    ("model.foo=1", "model.foo: no such key; the keys of model are", "batch_norm, depth"),
    ("+foo=1", "foo: no such key", ""),
    ("+head.dpeth=1", "head.dpeth: no such key", "'head.depth'"),
    ("~seed", "seed:", "can be set, not deleted"),
    ("~epochs", "epochs:", "can be set, not deleted"),
    ("~head", "head.depth:", "can be set, not deleted"),
    ("head.depth=0", "head.depth=0:", "from 1 to "),
    ("head.depth=1.5", "head.depth=1.5:", "must be a whole number"),
    ("head.depth=2 head.width=0", "head.width=0:", "from 1 to "),
    ("head.width=5", "head.width:", "no hidden layer"),
    ("decay.weight=-1", "decay.weight=-1:", "0, or from 1e-30 to 1e+30"),
    ("decay.weight=nan", "decay.weight=nan:", "0, or from 1e-30 to 1e+30"),
    ("decay.weight=much", "decay.weight=much:", "a number"),
    ("decay.weight=true", "decay.weight=True:", "a number"),
    ("decay.weight=[1e-3,1e-3]", "decay.weight=", "2 numbers for head.depth=1"),
    ("decay.weight=[1e-3] head.depth=2", "decay.weight=", "1 numbers for head.depth=2"),
    ("decay.weight=[-1]", "decay.weight=-1:", "0, or from 1e-30 to 1e+30"),
    ("decay.feature=-1e-3", "decay.feature=-0.001:", "0, or from 1e-30 to 1e+30"),
    ("decay.feature=inf", "decay.feature=inf:", "0, or from 1e-30 to 1e+30"),
    ("decay.feature=1e-3 decay.mode=parameters", "decay.feature:", "decay.mode=parameters"),
    ("decay.bias=0.1", "decay.bias:", "head.bias=false"),
    ("decay.bias=-1 head.bias=true", "decay.bias=-1:", "1e-30"),
    ("decay.bias=0.1 head.bias=true decay.mode=parameters", "decay.bias:", "decay.mode=parameters"),
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
    ("freeze_norm=0.6", "freeze_norm: has no effect", "model=mlp has no BatchNorm"),
    ("freeze_norm=0.6 model=ufm counts=[2,2]", "freeze_norm: has no effect", "model=ufm has no BatchNorm"),
    ("freeze_norm=0 model=resnet18", "freeze_norm=0.0:", "(0, 1]"),
    ("freeze_norm=1.5 model=resnet18", "freeze_norm=1.5:", "(0, 1]"),
    ("freeze_norm=late model=resnet18", "freeze_norm", "late"),
    ("finish=adam", "finish=adam:", "lbfgs"),
    ("finish=lbfgs model=ufm counts=[2,2]", "finish=lbfgs:", "optimizer=lbfgs"),
    ("finish=lbfgs model=resnet18", "finish=lbfgs:", "freeze_norm"),
    ("finish_iterations=10", "finish_iterations: has no effect", "finish is not set"),
    ("finish=lbfgs finish_iterations=0", "finish_iterations=0:", "from 1 to"),
    ("device=tpu", "device=tpu:", "auto, cpu, cuda"),
    ("dtype=float16", "dtype=float16:", "float32, float64"),
    ("epochs=0", "epochs=0:", "from 1 to "),
    ("epochs=x", "epochs=x:", "must be a whole number"),
    ("epochs=1.5", "epochs", "1.5"),
    ("seed=null", "seed=null:", "must be a whole number"),
    ("seed=-1", "seed=-1:", "from 0 to 2^63-1"),
    ("seed=x", "seed=x:", "must be a whole number"),
    ("measure=sometimes", "measure=sometimes:", "auto, every, log"),
    ("measure=0", "measure=0:", "log, or from 1 to 10^9"),
    ("threads=0", "threads=0:", "auto"),
    ("threads=1.5", "threads=1.5:", "whole number"),
    ("taps=3", "taps=3:", "must be a list"),
    ("taps=null", "taps=null:", "needs a value"),
    ("name=[a]", "name=", "must be a word"),
    ("head.bias=maybe", "head.bias=maybe:", "must be true or false"),
    ("progress=maybe", "progress=maybe:", "auto, true or false"),
    ("optimizer.lr=0", "optimizer.lr=0", "from 1e-"),
    ("optimizer.lr=fast", "optimizer.lr=fast:", "must be a number"),
    ("optimizer.lr=nan", "optimizer.lr=nan:", "from 1e-"),
    ("optimizer=sgd optimizer.momentum=1", "optimizer.momentum=1", "[0, 1)"),
    ("optimizer.betas=[0.9]", "optimizer.betas=", "two numbers"),
    ("model.depth=0", "model.depth=0:", "from 1 to "),
    ("model.width=0", "model.width=0:", "from 1 to "),
    ("model=resnet18 model.width=0", "model.width=0", "from 0.001 to 100"),
    ("model=resnet18 model.width=nan", "model.width=nan:", "from 0.001 to 100"),
    ("model=densenet model.width=0", "model.width=0", "from 0.001 to 100"),
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
    ("head.relu=true", "head.relu=True:", "only one layer"),
    ("batch_size=1 model=densenet", "batch_size=1:", "BatchNorm"),
    ("batch_size=1 model=vgg16 dataset.size=32", "batch_size=1:", "BatchNorm"),
    ("head.relu=true head.bias=true", "head.bias=True:", "head.relu=true has no bias"),
    ("head.relu=some", "head.relu", "some"),
    ("dataset.channels=2", "dataset.channels=2:", "the images of digits are grey; must be 1 or 3, or null"),
    ("dataset.channels=0", "dataset.channels=0:", "digits are grey"),
    ("dataset=cifar10 dataset.channels=1", "dataset.channels=1:", "cifar10 are coloured; must be 3, or null"),
    ("dataset.size=0", "dataset.size=0:", "from 1 to "),
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
    ("schedule.gamma=0", "schedule.gamma=0", "from 1e-"),
    ("schedule.step=0", "schedule.step=0:", "from 1 to "),
    ("schedule.drops=[1.0]", "schedule.drops=[1.0]:", "(0, 1)"),
    ("schedule.step=3 schedule.drops=[0.5]", "schedule.drops:", "schedule.step is set"),
    ("scale=cpu", "scale:", "no experiment is given"),
    ("scale=huge experiment=dang2023/mlp-imbalanced", "scale=huge:", "cpu, real, paper"),
    ("data_dir=nowhere", "data_dir=nowhere:", "no such folder"),
    ("--bogus", "unrecognized arguments: --bogus", ""),
    ("--cfg everything", "argument --cfg", "'job'"),
    ("a=[", "a=[: cannot be read", "'['"),
    ("seed", "seed:", "must be KEY=VALUE"),
    ("seed=1,2", "seed=1,2: has several values", "-m"),
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
