"""Every figure of every recipe, drawn from the runs in results/, can be printed as it is."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from legibility import flaws, has_type_3
from matplotlib import pyplot as plt

from ncrun.commands.figures import drawn_experiments
from ncrun.config.experiments import own_recipes, recipe
from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, panels
from ncrun.figures.page import page_of
from ncrun.records.places import runs_below
from ncrun.records.read import Record, load_record

RESULTS = Path(__file__).parents[2] / "results"
Place = tuple[str, str]  # experiment, scale


@cache
def stored() -> Counter[Place]:
    """How many runs the archives hold of each experiment at each scale."""
    found: Counter[Place] = Counter()
    for archive in RESULTS.glob("*-*.zip"):
        paper, _, scale = archive.stem.rpartition("-")
        with zipfile.ZipFile(archive) as file:
            found.update((f"{paper}/{name.split('/')[0]}", scale) for name in file.namelist() if "manifest" in name)
    return Counter({place: number for place, number in found.items() if place[0] in drawn_experiments()})


@cache
def keys_of(experiment: str) -> list[str]:
    return list(own_recipes()[experiment]["figures"])


@cache
def records_of(place: Place) -> list[Record]:
    experiment, scale = place
    paper, _, name = experiment.partition("/")
    caption = recipe(experiment).caption
    archive = RESULTS / f"{paper}-{scale}.zip"
    found = [load_record(each) for each in runs_below(archive) if each.path.is_relative_to(archive / name)]
    return [replace(record, manifest={"caption": caption, **record.manifest}) for record in found]


OF_SAMPLES = ("collapse-seen", "sample-cosines", "curves")


def fewest_runs(key: str) -> list[Record]:
    """The first seed of the recipe that has the drawing; of samples, which none of them has kept, and of a single run,
    the one that has kept some."""
    if key in OF_SAMPLES:
        return [load_record(each) for each in runs_below(RESULTS / "mnist-imbalanced.zip")]
    records = records_of(min((stored()[place], place) for place in stored() if key in keys_of(place[0]))[1])
    first = min(record.config["seed"] for record in records)
    return [record for record in records if record.config["seed"] == first]


# Drawn in less than a second; the others are slow.
QUICK = (
    "angles",
    "ranks",
    "remedies",
    "classes",
    "with-bias",
    "geometry-3d",
    "direct-grams",
    "ledger",
    "grams",
    "direct",
)
KEYS = [
    pytest.param(drawing.key, marks=() if drawing.key in QUICK else pytest.mark.slow)
    for drawing in DRAWINGS
    if drawing.key in OF_SAMPLES or any(drawing.key in keys_of(experiment) for experiment, _ in stored())
]


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with plt.rc_context():
        panels.use_style()
        yield


@pytest.mark.parametrize("key", KEYS)
def test_every_drawing_can_be_printed(key: str) -> None:
    assert flaws(DRAWINGS[key].of(fewest_runs(key))) == []


@pytest.mark.slow
@pytest.mark.parametrize("key", [parameter.values[0] for parameter in KEYS])
def test_every_drawing_fits_a_column(key: str) -> None:
    panels.use_style(page_of({"width": "column"}).rc)
    assert flaws(DRAWINGS[key].of(fewest_runs(key))) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", sorted(stored()), ids="-".join)
def test_every_figure_of_every_recipe_can_be_printed(place: Place) -> None:
    for key in keys_of(place[0]):
        try:
            figure = DRAWINGS[key].of(records_of(place))
        except UserError:  # these records lack what it shows; `ncrun figures` leaves it out, too
            continue
        assert not has_type_3(figure), key
        assert flaws(figure) == [], key
    records_of.cache_clear()
