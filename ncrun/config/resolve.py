"""Resolves a composed configuration into a Job: once for each command line, or for each job of a sweep."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from omegaconf import DictConfig

from ncrun.config import training_rules as rules
from ncrun.config.bounds import check_bounds, check_prediction
from ncrun.config.data_rules import Samples, data_set_samples, free_samples
from ncrun.config.experiments import Recipe, recipe
from ncrun.config.extensions import digests
from ncrun.config.frozen_head import FrozenHead, check_fits, read_frozen_head
from ncrun.config.identity import directory_of, identity_of
from ncrun.config.own_network import OwnNetwork, own_network
from ncrun.config.schema import Settings, plain, settings_of
from ncrun.config.stream_rules import streams
from ncrun.config.typed import Typed
from ncrun.losses import LOSSES, described
from ncrun.models.own.spec import Module
from ncrun.problem import Problem
from ncrun.run import Descent, Job, Machine, Run


def resolve(composed: DictConfig, typed: Sequence[str]) -> Job:
    """Validates a configuration, which must have its `hydra` node, and fills in defaults.

    typed: the overrides from the user and the grid, but not from the scale; each must have an effect. Raises UserError
    with the key, the value and the choices.
    """
    said = Typed(typed)
    given, experiment = _of_experiment(settings_of(composed), composed, said)
    free = given.model.is_free
    frozen = None if free or given.head.frozen is None else read_frozen_head(given.head.frozen)
    given = rules.filled_in(given, frozen)
    rules.check_scalars(given)
    given.model.check()
    if free:
        given, samples = free_samples(given, said)
        given = rules.repeats(given, said)
    else:
        given = rules.repeats(given, said)
        given, samples = data_set_samples(given, said)
    options = rules.loss_options(given, len(samples.counts), said)
    check_bounds(given)
    own = None
    if isinstance(given.model, Module):
        given, own = own_network(given, given.model, samples, said)
    rules.check_optimizer(given, said)
    given = rules.arriving(given, said)
    given = replace(given, head=rules.head_of(given, said))
    widths = _widths(given, own)
    if frozen is not None:
        head = given.head
        check_fits(frozen, len(widths), bool(head.relu), head.bias, len(samples.counts), widths)
    given = replace(given, decay=rules.decay_of(given, said), schedule=rules.schedule_of(given, said))
    rules.check_device_options(given, said)
    rules.check_snapshots(given, samples.targets is not None, said)
    rules.check_sweep(given)
    rules.check_paths(given)
    rules.check_loggers(given)
    machine = _machine(given, streams(given, said, samples))
    problem = options.posed(_problem(given, samples, widths), LOSSES[str(given.loss)])
    check_prediction(problem)
    return _job(given, problem, samples, machine, frozen, own, experiment)


def _of_experiment(given: Settings, composed: DictConfig, typed: Typed) -> tuple[Settings, Recipe | None]:
    name = composed.hydra.runtime.choices.get("experiment")
    if name is None:
        typed.refuse("scale", "no experiment is given")
        return replace(given, experiment=None, scale=None), None
    found = recipe(name)
    return replace(given, experiment=name, scale=found.scale(str(given.scale))), found


def _widths(given: Settings, own: OwnNetwork | None) -> tuple[int, ...]:
    """d and the head's M-1 hidden widths."""
    if own is not None and own.head_widths is not None:
        return own.head_widths
    assert given.head.depth is not None
    features = given.model.feature_width
    return (features, *(given.head.width or features,) * (given.head.depth - 1))


def _problem(given: Settings, samples: Samples, widths: tuple[int, ...]) -> Problem:
    """The problem for theory, built only here; the options of its loss are added later."""
    head, decay, model = given.head, given.decay, given.model
    assert given.loss is not None
    weights = decay.weight if isinstance(decay.weight, list) else [decay.weight] * len(widths)
    return Problem(
        loss=given.loss,
        counts=tuple(map(float, samples.counts)),
        targets=samples.targets,
        widths=widths,
        bias=head.bias,
        weight_decays=tuple(weights),
        feature_decay=decay.feature,
        decay_mode=decay.mode,
        feature_sign=model.feature_sign,
        head="relu" if head.relu else "linear",
        free_features=model.attains_optimum,
        bias_decay=decay.bias,
    )


def _job(
    given: Settings,
    problem: Problem,
    samples: Samples,
    machine: Machine,
    frozen: FrozenHead | None,
    own: OwnNetwork | None,
    experiment: Recipe | None,
) -> Job:
    contents: dict[str, Any] = {}
    if given.extend:
        contents["extend"] = digests(given.extend)
    source = given.dataset
    if source is not None and source.digest is not None:
        contents["dataset.path"] = source.digest  # the content, not the path
    if frozen is not None:
        contents["head.frozen"] = frozen.digest
    if own is not None:
        contents["model.path"] = own.identity
    about = _about(given, problem, own, experiment, contents)

    def run_of(settings: Settings) -> Run:
        identity = identity_of(settings, contents)
        directory = directory_of(settings, problem.depth, identity)
        return Run(
            problem=problem,
            data=samples.request,
            model=settings.model,
            descent=_descent(settings, samples),
            machine=machine,
            taps=tuple(settings.taps),
            loggers=tuple(settings.logger),
            frozen_head=None if frozen is None else frozen.directory,
            directory=directory,
            identity=identity,
            config=plain(settings),
            about=about,
        )

    whole = run_of(given)
    runs: tuple[Run, ...] = (whole,)
    if given.restarts > 1:
        runs = tuple(
            run_of(replace(given, restarts=1, seed=seed, run_dir=str(whole.directory / f"seed-{seed}")))
            for seed in range(given.seed, given.seed + given.restarts)
        )
    at_once = 0 if given.jobs == "auto" else int(given.jobs)
    return Job(runs, whole.directory, whole.identity, whole.config, at_once, given.together, given.dry_run)


def _descent(given: Settings, samples: Samples) -> Descent:
    full = given.batch_size == "full"
    assert given.epochs is not None
    assert given.dtype is not None
    return Descent(
        optimizer=given.optimizer,
        epochs=given.epochs,
        batch_size=samples.request.num_samples if full else given.batch_size,
        is_full_batch=full,
        seed=given.seed,
        drops=tuple(given.schedule.drops or ()),
        drop_every=given.schedule.step or 0,
        gamma=given.schedule.gamma,
        norms_fixed_after=0 if given.freeze_norm is None else math.ceil(given.freeze_norm * given.epochs),
        finish=given.finish_iterations or 0,
        path=tuple(given.path or ()),
        measure=given.measure,
        snapshots=rules.num_snapshots(given, samples.targets is not None),
        dtype=given.dtype,
        precision=given.precision,
    )


def _machine(given: Settings, stream: bool | Literal["auto"]) -> Machine:
    return Machine(
        device=given.device,
        threads=given.threads,
        compile=given.compile,
        cuda_graphs=given.cuda_graphs,
        progress=given.progress,
        stream=stream,
        stream_cache=given.stream_cache,
        stream_workers=given.stream_workers,
    )


def _about(
    given: Settings, problem: Problem, own: OwnNetwork | None, experiment: Recipe | None, contents: dict[str, Any]
) -> dict[str, Any]:
    """The manifest's entries about the origin of a run."""
    source, words = given.dataset, {"model": given.model.title, "loss": described(problem)}
    if source is not None:
        words["dataset"] = source.words if source.digest is None else source.title
    return {
        "experiment": given.experiment,
        "scale": given.scale,
        "caption": None if experiment is None else experiment.caption,
        "words": words,
        "dataset": None if source is None else source.title,
        "class_names": None if source is None else source.facts.class_names,
        "data_hash": None if source is None else source.digest,
        "extend": contents.get("extend", []),
        **({} if own is None else {"module": own.about}),
    }
