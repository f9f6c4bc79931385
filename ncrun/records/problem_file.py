"""problem.json: what theory must know of a run, as JSON."""

from dataclasses import asdict, fields
from typing import Any

from ncrun.problem import Problem
from ncrun.records.whole import any_of, is_count, is_decay, is_flag, is_null, is_positive, is_text, list_of, word_of

KINDS = {
    "loss": is_text,
    "counts": list_of(is_positive),
    "widths": list_of(is_count),
    "bias": is_flag,
    "weight_decays": list_of(is_decay),
    "feature_decay": any_of(is_decay, is_null),
    "decay_mode": word_of("features", "parameters"),
    "feature_sign": word_of("free", "nonnegative"),
    "head": word_of("linear", "relu"),
    "free_features": is_flag,
}


def problem_as_json(problem: Problem) -> dict[str, Any]:
    """Plain containers."""
    return asdict(problem)


def problem_from_json(tree: dict[str, Any]) -> Problem:
    """Raises ValueError, naming the entry, if it is none."""
    for field in fields(Problem):
        if field.name not in tree or not KINDS[field.name](tree[field.name]):
            raise ValueError(f"{field.name} is missing, or of another kind")
    content: dict[str, Any] = {key: tuple(tree[key]) if isinstance(tree[key], list) else tree[key] for key in KINDS}
    problem = Problem(**content | {"counts": tuple(map(float, tree["counts"]))})
    if len(problem.widths) != problem.depth:
        raise ValueError("widths and weight_decays are not of one length")
    if (problem.feature_decay is None) != (problem.decay_mode == "parameters"):
        raise ValueError("feature_decay does not fit decay_mode")
    return problem
