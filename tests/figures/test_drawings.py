"""Drawings by name: which there are, what they import, and that each draws what it is given, a user's own with it."""

import subprocess
import sys
from dataclasses import replace

import pytest
from figure_runs import DUFM, Runs, caption_of
from matplotlib import pyplot as plt

from ncrun.config.experiments import recipe
from ncrun.config.folders import experiments
from ncrun.errors import UserError
from ncrun.figures import DRAWINGS, arrangement, panels, wording
from ncrun.figures.curves import run_curves
from ncrun.figures.plot import plot_runs
from ncrun.figures.plot_lines import Request
from ncrun.records.read import Record

pytestmark = pytest.mark.usefixtures("closed")


@pytest.mark.parametrize(
    ("scale", "start"),
    [
        ("cpu", "A small version of the setting of"),
        ("real", "On real images, with changes that keep it affordable: the setting of"),
        ("paper", "The setting of"),
    ],
)
def test_a_caption_says_how_the_run_relates_to_the_papers(scale: str, start: str, runs: Runs) -> None:
    """Only at scale paper is it the authors' own setting."""
    (run,) = runs("M1-0")
    own = {"experiment": "mine", "caption": {"words": "Mine et al., all of it", "kind": "The setting of"}}
    found = wording.source_words(replace(run, manifest=run.manifest | own | {"scale": scale}))
    assert found.startswith(f"{start} Mine et al., all of it")
    assert wording.source_words(run) == ""


def test_every_drawing_of_every_network_experiment_can_be_drawn(all_imbalanced: list[Record], runs: Runs) -> None:
    """Captions end inside the figure, none of the panels is empty, no text lies on another panel."""
    relu = runs("relu-0", "relu-1")
    of_networks = [recipe(name).figures for name in experiments() if "usual" in recipe(name).figures]
    # These runs' claims are proven: what is drawn of a refuted one has its own tests.
    for key in sorted({key for figures in of_networks for key in figures} - {"refutation"}):
        figure = DRAWINGS[key].draw(relu if key == "deep-collapse" else all_imbalanced)
        caption_of(figure)
        for ax in figure.axes:
            assert ax.has_data() or ax.images or ax.texts or ax.get_legend(), ax.get_title()
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
        plt.close(figure)


def test_what_naming_and_drawing_import() -> None:
    """A drawing's name is known at once; matplotlib comes with drawing it, and torch never."""
    code = """
import sys, ncrun.figures
print([name for name in ("matplotlib", "numpy", "torch") if name in sys.modules])
import ncrun.commands.figures, ncrun.figures.curves, ncrun.figures.plot
print([name for name in ("torch",) if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_every_name_leads_to_a_function() -> None:
    """Of no run at all each fails in drawing, and none because its module or function is not there."""
    for drawing in DRAWINGS:
        with pytest.raises(Exception) as raised:  # noqa: PT011 - of any kind but two
            drawing.draw([])
        assert not isinstance(raised.value, ImportError)
        assert "has no attribute" not in str(raised.value)


def test_runs_that_a_drawing_is_not_made_for(runs: Runs) -> None:
    """They are refused, or drawn: an experiment of the user's own may name any drawing."""
    no_momentum = {"direct-imbalanced", "direct-balanced"}
    other = {"geometry-3d", "hysteresis", "width-ablation"}
    several_rows = {"imbalanced", "direct"}
    for records, refused in (
        (runs("M1-0", "parameters"), no_momentum | other | several_rows),
        (runs.train("model=dufm", "head.depth=2", *DUFM, "optimizer=adam"), no_momentum | other - {"width-ablation"}),
    ):
        found = set()
        for drawing in DRAWINGS:
            try:
                drawing.draw(records)
            except UserError:
                found.add(drawing.key)
            plt.close("all")
        assert refused <= found


def test_the_first_drawing_has_the_experiments_name() -> None:
    grams, direct_grams = DRAWINGS["grams"], DRAWINGS["direct-grams"]
    assert grams.file_name("dang2024/mlp-cpu", first=True) == "dang2024/mlp-cpu"
    assert grams.file_name("dang2024/mlp-cpu", first=False) == "dang2024/mlp-cpu-grams"
    assert direct_grams.file_name("dang2024/direct-paper", first=False) == "dang2024/direct-paper-grams"


def foreign(record: Record) -> Record:
    """The record as that of a loss, network, data set and metric that only the user's own file knows of: no theorem
    speaks of them, and this process has no such names."""
    nothing = dict.fromkeys(("weight_norm_sq", "feature_norm_sq", "logit", "margin", "collapsed"))
    theory = record.theory | {
        "claim": "none",
        "classes": [entry | nothing for entry in record.theory["classes"]],
        **dict.fromkeys(("objective", "data_term", "weight_gram", "feature_gram", "logits")),
    }
    told = ("gap", "nc2_w", "nc2_h", "nc3", "balanced.nc2_w", "balanced.nc2_h", "balanced.nc3")
    ledger = [name for name in record.metrics if name.startswith("ledger.")]
    metrics = record.metrics.drop(columns=ledger).assign(**dict.fromkeys(told), own_metric=1.0)
    dataset = record.config["dataset"] | {"name": "my_images"}
    config = record.config | {"loss": "my_loss", "model": {"name": "my_net", "blocks": [3, 4]}, "dataset": dataset}
    manifest = record.manifest | {"dataset": "my_images", "experiment": "mine", "words": {}}
    posed = replace(record.problem, loss="my_loss")
    return replace(record, config=config, theory=theory, metrics=metrics, manifest=manifest, posed=posed)


def test_a_users_own_is_drawn_where_it_is_not_registered(runs: Runs) -> None:
    """With its record's words, or its names; what needs a theorem is left out in one line."""
    unnamed = [foreign(record) for record in runs("M1-0", "M1-1", "M3-0")]
    words = {"model": "Vision Mixer", "dataset": "My Images", "loss": "hinge loss"}
    named = [replace(record, manifest=record.manifest | {"words": words}) for record in unnamed]
    for records, expected in ((unnamed, ("my_net", "my_images", "my_loss")), (named, tuple(words.values()))):
        for key in ("convergence", "imbalanced", "usual", "ranks", "classes", "angles", "deep-collapse"):
            text = caption_of(DRAWINGS[key].draw(records))
            assert all(word in text for word in expected), key
        for key in ("grams", "ledger", "geometry-3d"):
            with pytest.raises(UserError):
                DRAWINGS[key].draw(records)
        caption_of(run_curves(records[0]))
        panels.use_style()
        caption_of(plot_runs(records, Request(y=("own_metric", "loss")), lambda line: None))


def test_an_unknown_value_takes_no_known_ones_colour(runs: Runs) -> None:
    """Digits are always of the first colour, also beside a data set whose name comes before theirs."""
    known = runs("M1-0")
    own = [replace(run, manifest=run.manifest | {"dataset": "another", "words": {}}) for run in known]
    (row,) = arrangement.arrange([*own, *known])
    assert [(curve.label, curve.colour) for curve in row.curves] == [("another", "C1"), ("digits", "C0")]
