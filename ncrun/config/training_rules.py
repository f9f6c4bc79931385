"""The rules of training and measuring: head, decay, optimiser, schedule, machine and folders."""

from dataclasses import fields, replace
from pathlib import Path

from ncrun.checks import choice
from ncrun.config.frozen_head import FrozenHead
from ncrun.config.schema import DecaySettings, HeadSettings, ScheduleSettings, Settings
from ncrun.config.typed import Typed, is_whole
from ncrun.errors import UserError
from ncrun.loggers import LOGGERS
from ncrun.losses import LOSSES, Options
from ncrun.models.own.spec import Module
from ncrun.run import LBFGS, SGD, Adam

AUTO_SNAPSHOTS = 16


def filled_in(given: Settings, frozen: FrozenHead | None) -> Settings:
    """The defaults that depend on the kind of model or on the frozen head."""
    model, head = given.model, given.head
    if frozen is not None:
        head = replace(
            head,
            depth=frozen.problem.depth if head.depth is None else head.depth,
            relu=frozen.is_relu if head.relu is None else head.relu,
            width=frozen.width if head.width is None else head.width,
        )
    head = replace(
        head,
        depth=model.default_depth if head.depth is None else head.depth,
        relu=model.relu_head if head.relu is None else head.relu,
    )
    decay, drops = given.decay, given.schedule.drops
    if decay.feature is None and decay.mode == "features":
        decay = replace(decay, feature=5e-4 if model.is_free else 1e-5)
    if drops is None:
        drops = [] if model.is_free else [0.6, 0.85]
    return replace(
        given,
        loss=given.loss or model.default_loss,
        epochs=(30_000 if model.is_free else 300) if given.epochs is None else given.epochs,
        dtype=given.dtype or ("float64" if model.is_free else "float32"),
        head=head,
        decay=decay,
        schedule=replace(given.schedule, drops=drops),
    )


def check_scalars(given: Settings) -> None:
    choice("loss", given.loss, LOSSES.keys())
    choice("dtype", given.dtype, ["float32", "float64"])
    choice("device", given.device, ["auto", "cpu", "cuda"])
    if given.measure not in ("auto", "every", "log") and not is_whole(given.measure):
        raise UserError(f"measure={given.measure}: must be auto, every, log or a whole number of epochs")
    if given.snapshots not in ("auto", False) and not is_whole(given.snapshots):
        raise UserError(f"snapshots={given.snapshots}: must be auto, false or a whole number")
    if given.threads != "auto" and not is_whole(given.threads):
        raise UserError(f"threads={given.threads}: must be auto or a whole number")
    if given.progress not in ("auto", True, False):
        raise UserError(f"progress={given.progress}: must be auto, true or false")


def loss_options(given: Settings, num_classes: int, typed: Typed) -> Options:
    loss = LOSSES[str(given.loss)]
    if not loss.takes_options:
        for each in fields(Options):
            typed.refuse(each.name, f"loss={loss.key} has no such option")
    found = Options(given.label_smoothing, given.class_weights, given.logit_adjustment)
    found.check(loss, num_classes)
    return found


def repeats(given: Settings, typed: Typed) -> Settings:
    """restarts and path, which only free features have."""
    name = given.model.name
    if not given.model.is_free:
        typed.refuse("path", f"model={name} has no free features")
        typed.refuse("restarts", f"model={name} has no free features; use -m seed=0,1,2")
        return replace(given, restarts=1, path=None)
    given.model.check_head(_depth(given), bool(given.head.relu))
    if given.restarts > 1 and isinstance(given.optimizer, LBFGS):
        raise UserError(
            f"restarts={given.restarts}: optimizer=lbfgs cannot be batched; use optimizer=sgd or adam, or -m seed=0,1,2"
        )
    if given.path is not None:
        if not isinstance(given.optimizer, LBFGS):
            raise UserError(f"path={given.path}: needs optimizer=lbfgs, which reaches an optimum at each decay")
        if not given.path:
            raise UserError("path=[]: needs at least one factor on all decays")
    return given


def check_optimizer(given: Settings, typed: Typed) -> None:
    optimizer = given.optimizer
    if isinstance(optimizer, LBFGS):
        if not given.model.is_free:
            raise UserError(f"optimizer=lbfgs: needs free features (model=ufm, ufm_relu, dufm), not {given.model.name}")
        for key in ("step", "drops", "gamma"):
            typed.refuse(f"schedule.{key}", "optimizer=lbfgs has no learning rate")
        return
    assert isinstance(optimizer, Adam | SGD)
    if isinstance(optimizer, SGD) and not 0 <= optimizer.momentum < 1:
        raise UserError(f"optimizer.momentum={optimizer.momentum}: must lie in [0, 1)")
    if isinstance(optimizer, Adam):
        betas = optimizer.betas
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"optimizer.betas={betas}: must be two numbers in [0, 1)")


def arriving(given: Settings, typed: Typed) -> Settings:
    """freeze_norm and finish. Whether a user's own network has BatchNorm is known only when it is built."""
    model = given.model
    has_norm = model.has_batch_norm or isinstance(model, Module)
    if not has_norm:
        typed.refuse("freeze_norm", f"model={model.name} has no BatchNorm")
        given = replace(given, freeze_norm=None)
    if given.freeze_norm is not None and not 0 < given.freeze_norm <= 1:
        raise UserError(f"freeze_norm={given.freeze_norm}: must be a share of the training, in (0, 1]")
    if given.finish is None:
        typed.refuse("finish_iterations", "finish is not set")
        return replace(given, finish_iterations=None)
    choice("finish", given.finish, ["lbfgs"])
    if model.is_free:
        raise UserError(f"finish={given.finish}: is for networks; model={model.name} has optimizer=lbfgs")
    if model.has_batch_norm and given.freeze_norm is None:
        raise UserError(f"finish={given.finish}: needs freeze_norm of at most 1: BatchNorm in model={model.name}")
    return replace(given, finish_iterations=given.finish_iterations or 500)


def _depth(given: Settings) -> int:
    assert given.head.depth is not None
    return given.head.depth


def head_of(given: Settings, typed: Typed) -> HeadSettings:
    head, depth, is_free = given.head, _depth(given), given.model.is_free
    if head.relu and head.bias:
        owner = "model=dufm" if is_free else "head.relu=true"
        raise UserError(f"head.bias=True: {owner} has no bias")
    if head.relu and depth == 1 and not is_free:
        raise UserError("head.relu=True: has no effect with head.depth=1, which has only one layer")
    if depth == 1:
        typed.refuse("head.width", "head.depth=1 has no hidden layer")
        return replace(head, width=None)
    return head


def decay_of(given: Settings, typed: Typed) -> DecaySettings:
    decay, depth = given.decay, _depth(given)
    choice("decay.mode", decay.mode, ["features", "parameters"])
    weights = decay.weight if isinstance(decay.weight, list) else [decay.weight]
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise UserError(
                f"decay.weight={decay.weight}: must be a number, or a list of one number for each layer of the head"
            )
    if isinstance(decay.weight, list) and len(weights) != depth:
        raise UserError(f"decay.weight={decay.weight}: {len(weights)} numbers for head.depth={depth} layers")
    if not given.head.bias:
        typed.refuse("decay.bias", "head.bias=false leaves no bias to decay")
    numbers = [float(w) for w in weights] if isinstance(decay.weight, list) else float(decay.weight)
    if decay.mode == "parameters":
        for key in ("decay.feature", "decay.bias"):
            typed.refuse(key, "decay.mode=parameters applies decay.weight to all parameters")
        if isinstance(decay.weight, list):
            raise UserError(f"decay.weight={decay.weight}: decay.mode=parameters takes a single number")
        return replace(decay, weight=numbers, feature=None)
    assert decay.feature is not None
    zero = [key for key, value in (("weight", min(weights)), ("feature", decay.feature)) if value == 0]
    unregularised = given.loss == "mse" and max(weights) == decay.feature == 0
    if given.model.is_free and zero and not unregularised:
        raise UserError(f"decay.{zero[0]}=0: then the objective has no minimiser (its infimum is not attained)")
    return replace(decay, weight=numbers)


def schedule_of(given: Settings, typed: Typed) -> ScheduleSettings:
    schedule = given.schedule
    if schedule.step is not None:
        typed.refuse("schedule.drops", "schedule.step is set")
        return replace(schedule, drops=[])
    for drop in schedule.drops or []:
        if not 0 < drop < 1:
            raise UserError(f"schedule.drops={schedule.drops}: each must be a share of the training, in (0, 1)")
    return schedule


def check_device_options(given: Settings, typed: Typed) -> None:
    choice("precision", given.precision, ["full", "tf32", "bfloat16"])
    if given.model.is_free:
        for key in ("precision", "compile"):
            typed.refuse(key, f"model={given.model.name} trains in its dtype, without torch's modules")
    if given.precision != "full" and given.dtype == "float64":
        raise UserError(f"precision={given.precision}: has no effect with dtype=float64")
    if given.cuda_graphs and isinstance(given.optimizer, LBFGS):
        raise UserError("cuda_graphs=true: has no effect: optimizer=lbfgs takes its steps on the CPU")
    if given.cuda_graphs and given.compile:
        raise UserError("cuda_graphs=true: cannot be combined with compile=true; choose one")


def check_snapshots(given: Settings, on_targets: bool, typed: Typed) -> None:
    if given.path:
        typed.refuse("snapshots", "runs with path=[...] store none")
    if on_targets:
        typed.refuse("snapshots", "targets have no classes to draw")


def num_snapshots(given: Settings, on_targets: bool) -> int:
    """0: none. Snapshots need classes and a single training: not targets, nor a path of decays."""
    if given.snapshots is False or on_targets or given.path:
        return 0
    return AUTO_SNAPSHOTS if given.snapshots == "auto" else int(given.snapshots)


def check_sweep(given: Settings) -> None:
    if given.jobs != "auto" and not is_whole(given.jobs):
        raise UserError(f"jobs={given.jobs}: must be auto (one for each core) or a whole number")
    if not given.together:
        return
    if given.jobs != 1:
        raise UserError(f"jobs={given.jobs}: has no effect with together=true, which trains all runs in one process")
    is_free = given.model.is_free
    if not is_free or isinstance(given.optimizer, LBFGS):
        what = "optimizer=lbfgs" if is_free else f"model={given.model.name}"
        raise UserError(
            f"together=true: needs free features with optimizer=sgd or adam, not {what}; jobs=N trains several runs at"
            " once"
        )


def check_loggers(given: Settings) -> None:
    """Checks that each logger is known, installed, and named once."""
    for name in given.logger:
        LOGGERS[name].check()
    if len(set(given.logger)) < len(given.logger):
        raise UserError(f"logger=[{','.join(given.logger)}]: names a logger twice")


def check_paths(given: Settings) -> None:
    for key in ("run_dir", "data_dir", "name"):
        if getattr(given, key) == "":
            raise UserError(f"{key}=: is empty; do not set it, to use the default")
    if given.name is not None and (Path(given.name).name != given.name or given.name == ".."):
        raise UserError(f"name={given.name}: must be a name without a path; run_dir= takes a path")
    if given.data_dir is not None and not Path(given.data_dir).expanduser().is_dir():
        raise UserError(f"data_dir={given.data_dir}: no such folder")
