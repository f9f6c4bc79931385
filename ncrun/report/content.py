"""The page's content about one run."""

from collections.abc import Iterator
from typing import Any

from ncrun.errors import printable
from ncrun.figures import beside_claim, changes, endings, wording
from ncrun.figures.run_panels import OPTIMUM_WORDS
from ncrun.records.glance import Glance
from ncrun.records.groups import settings_of, words
from ncrun.records.read import Record
from ncrun.records.verdict import WORDS as VERDICT_WORDS
from ncrun.report.classes import classes_of, matrices_of
from ncrun.report.curves import class_colours, curves_of
from ncrun.report.packed import rounded
from ncrun.theory.prediction import CLAIMS
from ncrun.trees import leaves

Rows = list[tuple[str, str]]
# Entries of the manifest that the page shows elsewhere, or that are not about the environment.
ELSEWHERE = (
    "state",
    "summary",
    "reason",
    "verdict",
    "seal",
    "caption",
    "words",
    "class_counts",
    "class_names",
    "environment_changes",
)
# Digits of predicted values, as `ncrun theory` prints them.
THEORY_DIGITS = 8
# With more classes than this, the lost ones are counted.
MOST_NAMED = 20


def content_of(record: Record, glance: Glance, name: str, numbers: int) -> dict[str, Any]:
    """name: of the run on the page. numbers: how many it may have; its matrices get at most half of them."""
    matrices = matrices_of(record, numbers // 2)
    taken = sum(3 * len(each["predicted"]) ** 2 for each in matrices["shown"])
    curves = curves_of(record, numbers - taken)
    known = (
        wording.setting_words(record),
        beside_claim.words_of([record]),
        endings.words_of([record]) if glance.state == "done" else "",
        changes.words_of(record),
        wording.source_words(record),
    )
    return {
        "name": name,
        "path": printable(str(record.path)),
        "state": glance.state,
        "said": printable(glance.words),
        "words": [printable(each) for each in known if each],
        "warnings": list(_warnings(record, curves)),
        "curves": curves,
        "class_colours": class_colours(record),
        "classes": classes_of(record),
        "matrices": matrices,
        "theory": _shown(theory_words(record)),
        "config": _shown((key, words(value)) for key, value in settings_of(record).items()),
        "environment": _shown(_environment(record)),
    }


def theory_words(record: Record) -> Iterator[tuple[str, str]]:
    """theory.json for reading: the grade first, then the values, then classes and references."""
    theory = record.theory
    yield "grade", f"{theory['claim']}: {CLAIMS[theory['claim']]}"
    for key in ("source", "note"):
        if theory.get(key):
            yield key, theory[key]
    if theory["objective"] is not None:
        words = OPTIMUM_WORDS.get(theory["claim"], theory["claim"])
        gap = theory.get("duality_gap")
        yield words, _number(theory["objective"]) + (f" (duality gap {gap:.1g})" if gap is not None else "")
    if theory["best_known"] is not None:
        yield "lower value known", _reference(theory["best_known"])
    for reference in theory.get("references", []):
        if reference != theory["best_known"]:
            yield "reference", _reference(reference)
    if theory["data_term"] is not None:
        yield "data term there", _number(theory["data_term"])
    if theory.get("mean_rank") is not None:
        yield "rank of the class means", str(theory["mean_rank"])
    yield "lost classes", _lost(theory)
    if theory.get("threshold"):
        yield "threshold", theory["threshold"]
    if theory["metastable"]:
        yield "metastable", f"classes {_named(theory['metastable'])}: a local minimum still keeps them"
    if not theory["attainable"]:
        yield "attainable", "no: these features are not free, so the optimum is only a lower bound"
    if theory["scale_free"]:
        yield "scale", "theory fixes shapes only"
    if verdict := record.manifest.get("verdict"):
        yield "verdict", f"{verdict['word']}: {VERDICT_WORDS[verdict['word']]}"


def _lost(theory: dict[str, Any]) -> str:
    states = [entry["collapsed"] for entry in theory["classes"]]
    if None in states:
        return "not determined"
    lost = [k for k, state in enumerate(states) if state]
    if not lost:
        return "none"
    return "all" if len(lost) == len(states) else f"{len(lost)} of {len(states)}: {_named(lost)}"


def _named(classes: list[int]) -> str:
    words = ", ".join(map(str, classes[:MOST_NAMED]))
    return f"{words}, ..." if len(classes) > MOST_NAMED else words


def _reference(reference: dict[str, Any]) -> str:
    value = reference.get("objective")
    number = "a direction only" if value is None else _number(value)
    return f"{number} ({'; '.join(str(reference[key]) for key in ('name', 'source') if reference.get(key))})"


def _number(value: float) -> str:
    return f"{value:.{THEORY_DIGITS}g}"


def _environment(record: Record) -> Iterator[tuple[str, str]]:
    for key, value in leaves(record.manifest):
        if key.split(".")[0] not in ELSEWHERE:
            yield key, words(rounded(value) if isinstance(value, float) else value)


def _warnings(record: Record, curves: dict[str, Any]) -> Iterator[str]:
    for change in record.manifest.get("environment_changes") or []:
        yield printable(f"Continued with another environment: {change}.")
    if record.broken:
        yield printable(f"Changed since the run finished: {', '.join(record.broken)}.")
    kept, measured = curves["rows"]
    if kept < measured:
        yield f"Curves show {kept} of {measured} measured epochs."
    if curves.get("without_classes"):
        yield "Only the last epoch of each class is shown; a report of fewer runs shows the curves, too."


def _shown(rows: Any) -> Rows:
    return [(printable(str(key)), printable(str(value))) for key, value in rows]
