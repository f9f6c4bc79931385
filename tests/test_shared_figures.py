"""The drawings that all experiments share: what is drawn is what was recorded, seeds are bands, dashes are theory's."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncrun.errors import UserError
from ncrun.figures import arrangement, classes, convergence, layers, matrices, panels, usual_set, wording
from ncrun.figures.recipes import FIGURES
from ncrun.records.read import Record, find_records

COUNTS = (3, 3, 4, 4, 5, 5, 6, 6, 7, 7)
SMALL = ("model.depth=1", "model.width=12", "epochs=6", f"counts={list(COUNTS)}".replace(" ", ""), "threads=1")
RELU_HEAD = ("model.depth=2", "model.width=6", "epochs=5", "classes=[0,1]", "head.depth=3", "head.relu=true")
NETWORKS: dict[str, tuple[str, ...]] = {
    **{f"M{M}-{seed}": (*SMALL, f"head.depth={M}", f"seed={seed}") for M in (1, 3) for seed in (0, 1, 2)},
    "parameters": (*SMALL, "decay.mode=parameters"),
    "relu-0": (*RELU_HEAD, "taps=[relu1,relu2]", "threads=1", "seed=0"),
    "relu-1": (*RELU_HEAD, "taps=[relu1,relu2]", "threads=1", "seed=1"),
    "ce": (*SMALL, "model.features=relu", "loss=ce"),
}
Named = Callable[..., list[Record]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def runs(folder: Path, ncrun: Command, undrawn: None) -> Named:
    """runs("M1-0", "M3-0"): the records of these networks, trained once for the whole module."""
    panels.use_style()

    def named(*names: str) -> list[Record]:
        found = []
        for name in names:
            if not (folder / name).exists():
                result = ncrun("train", *NETWORKS[name], f"run_dir='{folder / name}'")
                assert result.status == 0, result
            found += find_records(folder / name)
        return found

    return named


@pytest.fixture
def seeds(runs: Named) -> list[Record]:
    """Depth 1, three seeds."""
    return runs("M1-0", "M1-1", "M1-2")


@pytest.fixture
def all_imbalanced(runs: Named) -> list[Record]:
    """Depths 1 and 3, three seeds each."""
    return runs(*(name for name in NETWORKS if name.startswith("M")))


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def panel(figure: Figure, title: str) -> Axes:
    (found,) = (ax for ax in figure.axes if ax.get_title() == title)
    return found


def caption_of(figure: Figure) -> str:
    """The caption's words, once the figure is drawn (warnings are errors)."""
    figure.canvas.draw()
    return " ".join(figure.get_supxlabel().split())


def with_metrics(record: Record, **columns: Sequence[object]) -> Record:
    return replace(record, metrics=record.metrics.assign(**columns))


def test_line_is_the_mean_and_band_the_extremes_over_seeds(seeds: list[Record]) -> None:
    figure = convergence.convergence(seeds)
    ax = panel(figure, "NC2: classifier")
    values = np.array([run.metrics["nc2_w"][1:] for run in seeds])
    solid, dotted = ax.get_lines()[:2]
    assert np.array_equal(solid.get_ydata(), values.mean(axis=0))
    assert list(solid.get_xdata()) == list(seeds[0].metrics["epoch"][1:])
    baseline = np.array([run.metrics["balanced.nc2_w"][1:] for run in seeds])
    assert np.array_equal(dotted.get_ydata(), baseline.mean(axis=0))
    assert dotted.get_linestyle() == ":"
    corners = ax.collections[0].get_paths()[0].vertices
    for column, epoch in enumerate(seeds[0].metrics["epoch"][1:]):
        here = corners[corners[:, 0] == epoch, 1]
        assert (here.min(), here.max()) == (values[:, column].min(), values[:, column].max())
    assert "band: smallest to largest" in caption_of(figure)
    assert "seeds 0 to 2" in caption_of(figure)


def test_one_seed_has_no_band(seeds: list[Record]) -> None:
    figure = convergence.convergence(seeds[:1])
    assert not panel(figure, "NC2: classifier").collections
    assert "band" not in caption_of(figure)


def test_a_seed_that_ended_early_and_one_without_values(seeds: list[Record]) -> None:
    """The mean is over all seeds or not drawn; what single seeds have beyond is drawn thinly, and is theirs."""
    short = replace(seeds[0], metrics=seeds[0].metrics.iloc[:4])  # epochs 0 to 3
    gap = with_metrics(
        seeds[1], nc1=[None if epoch == 2 else value for epoch, value in seeds[1].metrics["nc1"].items()]
    )
    whole = seeds[2]
    epochs, values, single = panels.seed_values([short, gap, whole], "nc1")
    assert list(epochs) == [1, 2, 3]
    assert np.isnan(values[:, 1]).all()
    assert values[2, [0, 2]] == pytest.approx(list(whole.metrics["nc1"].iloc[[1, 3]]), rel=0)
    (own, rest) = single[-1]
    assert dict(zip(own, rest, strict=True))[6] == whole.metrics["nc1"].iloc[6]
    # From the last shared epoch on, so that the line does not break, and where another seed has no value.
    assert list(own[np.isfinite(rest)]) == [2, 3, 4, 5, 6]
    figure, ax = plt.subplots()
    panels.band(ax, [short, gap, whole], "nc1")
    assert len(ax.get_lines()) == 1 + len(single)
    caption_of(convergence.convergence([short, gap, whole]))
    assert figure


def test_seeds_without_a_common_epoch(seeds: list[Record]) -> None:
    first = replace(seeds[0], metrics=seeds[0].metrics.iloc[:3])
    second = replace(seeds[1], metrics=seeds[1].metrics.iloc[3:])
    epochs, _, single = panels.seed_values([first, second], "nc1")
    assert len(epochs) == 0
    assert [list(own[np.isfinite(rest)]) for own, rest in single] == [[1, 2], [3, 4, 5, 6]]


def test_zero_error_is_marked_at_the_slowest_seeds_epoch(seeds: list[Record]) -> None:
    accuracies = ([0, 0.5, 1, 0.9, 1, 1, 1], [0, 0.5, 0.5, 0.9, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1])
    marked = [with_metrics(run, train_accuracy=a) for run, a in zip(seeds, accuracies, strict=True)]
    (curve,) = arrangement.arrange(marked)[0].curves
    assert convergence.zero_error_epoch(curve) == 4
    figure = convergence.convergence(marked)
    diamond = panel(figure, "NC1: within-class spread").get_lines()[-1]
    assert diamond.get_marker() == convergence.MARK["marker"]
    assert list(diamond.get_xdata()) == [4]
    assert diamond.get_ydata()[0] == pytest.approx(np.mean([run.metrics["nc1"].iloc[4] for run in marked]))
    assert convergence.ZERO_ERROR.get_label() in [text.get_text() for text in figure.legends[0].get_texts()]
    never = [with_metrics(marked[0], train_accuracy=[0.5] * 7), *marked[1:]]
    assert convergence.zero_error_epoch(arrangement.arrange(never)[0].curves[0]) is None
    # An accuracy of one at the start is before training.
    start = [with_metrics(run, train_accuracy=[1, 0, 0, 0, 0, 0, 0]) for run in seeds]
    assert convergence.zero_error_epoch(arrangement.arrange(start)[0].curves[0]) is None


def test_depth_colours_and_everything_else_makes_rows(all_imbalanced: list[Record], runs: Named) -> None:
    (row,) = arrangement.arrange(all_imbalanced)
    assert [(curve.label, curve.colour, len(curve.records)) for curve in row.curves] == [
        ("M = 1", "C0", 3),
        ("M = 3", "C1", 3),
    ]
    both = [*all_imbalanced, *runs("parameters")]
    assert [row.label for row in arrangement.arrange(both)] == ["decay of features", "decay of parameters"]
    # A data set with its own class sizes differs in one thing, not in two.
    other = [
        replace(run, manifest=run.manifest | {"dataset": "svhn", "class_counts": [9, 1]}) for run in all_imbalanced
    ]
    assert [row.label for row in arrangement.arrange([*all_imbalanced, *other])] == ["digits", "SVHN"]
    alone = [run for run in [*all_imbalanced, *other] if run.config["head"]["depth"] == 1]
    (row,) = arrangement.arrange(alone)
    assert [curve.label for curve in row.curves] == ["digits", "SVHN"]


def test_records_that_lack_a_key_belong_to_their_seeds(seeds: list[Record]) -> None:
    """Configurations of an older version have fewer keys."""
    old = replace(seeds[0], config={key: value for key, value in seeds[0].config.items() if key != "taps"})
    assert len(arrangement.arrange([old, *seeds[1:]])[0].curves) == 1


def test_matrices_are_the_recorded_ones(seeds: list[Record]) -> None:
    figure = matrices.matrices(seeds)
    record = seeds[0]
    assert record.measured is not None
    for column, name in enumerate(matrices.TITLES):
        expected, measured = np.array(record.theory[name]), np.array(record.measured[name])
        left, right = figure.axes[2 * column : 2 * column + 2]
        assert np.array_equal(left.images[0].get_array(), expected)
        assert np.array_equal(right.images[0].get_array(), measured)
        assert left.images[0].get_clim() == right.images[0].get_clim()
        assert right.get_xlabel() == f"largest diff. {np.abs(expected - measured).max():.2g}"
    text = caption_of(figure)
    assert "Frobenius" not in text
    assert f"Class sizes {', '.join(map(str, COUNTS))}." in text


def test_scale_free_matrices_are_normalised_and_said_to_be(runs: Named) -> None:
    (record,) = runs("parameters")
    assert record.theory["scale_free"]
    for name in matrices.TITLES:
        for matrix in matrices.both(record, name):
            assert np.linalg.norm(matrix) == pytest.approx(1)
        assert record.measured is not None
        raw = np.array(record.measured[name])
        assert matrices.both(record, name)[1] == pytest.approx(raw / np.linalg.norm(raw))
    assert "divided by its Frobenius norm" in caption_of(matrices.matrices([record]))


def test_without_matrices_there_is_one_clear_line(seeds: list[Record]) -> None:
    bare = [replace(run, measured=None) for run in seeds]
    for drawing in (matrices.matrices, classes.angles):
        with pytest.raises(UserError, match="no run has"):
            drawing(bare)


def test_many_classes_have_no_numbers(seeds: list[Record], tmp_path: Path) -> None:
    K = 100
    full = {name: np.eye(K).tolist() for name in matrices.TITLES}
    record = replace(seeds[0], measured=full, theory=seeds[0].theory | full)
    figure = matrices.matrices([record])
    assert len(figure.axes[0].get_xticks()) == 0


def test_dots_of_every_class_in_every_seed(all_imbalanced: list[Record]) -> None:
    figure = classes.sizes(all_imbalanced)
    for key, predicted, title in classes.PER_CLASS:
        lines = panel(figure, title).get_lines()
        for depth, (dashed, dots) in zip((1, 3), (lines[0:2], lines[2:4]), strict=True):
            here = [run for run in all_imbalanced if run.config["head"]["depth"] == depth]
            assert list(dots.get_ydata()) == [value for run in here for value in run.metrics[key].iloc[-1]]
            assert list(dots.get_xdata()) == list(COUNTS) * 3
            assert list(dashed.get_ydata()) == [entry[predicted] for entry in here[0].theory["classes"]]
    train, test = panel(figure, "accuracy").get_lines()[:2]
    first = [run for run in all_imbalanced if run.config["head"]["depth"] == 1]
    for line, split in ((train, "train"), (test, "test")):
        values = [v for run in first for v in run.metrics[f"class.{split}_accuracy"].iloc[-1]]
        assert list(line.get_ydata()) == values
    assert "every class in every seed" in caption_of(figure)


def test_scale_free_norms_are_relative_to_their_mean(runs: Named) -> None:
    (record,) = runs("parameters")
    figure = classes.sizes([record])
    dashed, dots = panel(figure, "squared norm of classifier rows / mean").get_lines()
    measured = np.array(record.metrics["class.weight_norm_sq"].iloc[-1])
    assert dots.get_ydata() == pytest.approx(measured / measured.mean())
    # The shape at vanishing decay: with one layer the squared norms go with the root of the class size.
    roots = np.sqrt(np.array(COUNTS))
    assert dashed.get_ydata() == pytest.approx(roots / roots.mean())
    assert "Relative to the mean" in caption_of(figure)


def test_angles_of_vectors_that_are_known() -> None:
    """Against vectors instead of their Gram matrices; a vector of nothing has no angle."""
    generator = np.random.default_rng(0)
    rows, means = generator.standard_normal((2, 4, 3))
    rows[3] = 0
    gram, features, logits = rows @ rows.T, means @ means.T, rows @ means.T
    found = classes.cosines(gram.tolist())
    unit = rows[:3] / np.linalg.norm(rows[:3], axis=1, keepdims=True)
    assert found[:3, :3] == pytest.approx(unit @ unit.T)
    assert np.isnan(found[3, :3]).all()
    own = classes.alignment({"weight_gram": gram, "feature_gram": features, "logits": logits})
    expected = [rows[k] @ means[k] / np.linalg.norm(rows[k]) / np.linalg.norm(means[k]) for k in range(3)]
    assert own[:3] == pytest.approx(expected)
    assert np.isnan(own[3])


def test_pairs_stand_at_their_larger_class(runs: Named) -> None:
    (record,) = runs("ce")
    figure = classes.angles([record])
    predicted, dots = panel(figure, "cosine of two classifier rows").get_lines()
    pairs = [(i, j) for i in range(10) for j in range(i)]
    assert sorted(dots.get_xdata()) == sorted(max(COUNTS[i], COUNTS[j]) for i, j in pairs)
    for line, source in ((predicted, record.theory), (dots, record.measured)):
        assert source is not None
        cosine = classes.cosines(source["weight_gram"])
        assert sorted(line.get_ydata()) == sorted(cosine[i, j] for i, j in pairs)
    caption_of(figure)


def test_predictions_of_the_usual_numbers_are_those_of_vectors() -> None:
    """Classifier and means drawn at random, their Gram matrices in place of theory's: each from its definition."""
    generator = np.random.default_rng(1)
    W, H = generator.standard_normal((2, 5, 7))
    theory = {"weight_gram": W @ W.T, "feature_gram": H @ H.T, "logits": W @ H.T}
    centred = H - H.mean(axis=0)
    for index, vectors in enumerate((W, centred)):
        lengths = np.linalg.norm(vectors, axis=1)
        assert usual_set.predicted_equinorm(theory)[index] == pytest.approx(lengths.std(ddof=1) / lengths.mean())
        cosines = [vectors[i] @ vectors[j] / lengths[i] / lengths[j] for i in range(5) for j in range(5) if i != j]
        assert usual_set.predicted_angle(theory)[index] == pytest.approx(np.mean(np.abs(np.array(cosines) + 1 / 4)))
    apart = np.linalg.norm(W / np.linalg.norm(W) - H / np.linalg.norm(H))
    assert usual_set.predicted_duality(theory)[0] == pytest.approx(apart)


def test_the_usual_set_is_the_recorded_one(seeds: list[Record]) -> None:
    figure = usual_set.usual_set(seeds)
    for title, key in (("std / mean of norms", "equinorm_w"), ("CDNV", "cdnv")):
        drawn = panel(figure, title).get_lines()[0].get_ydata()
        assert drawn == pytest.approx(np.mean([run.metrics[key][1:] for run in seeds], axis=0))
    error = panel(figure, "classification error").get_lines()[0].get_ydata()
    assert error == pytest.approx(np.mean([1 - run.metrics["train_accuracy"][1:] for run in seeds], axis=0))
    dashed = [line.get_ydata()[0] for line in panel(figure, "std / mean of norms").get_lines() if line.is_dashed()]
    assert usual_set.predicted_equinorm(seeds[0].theory)[0] in dashed
    caption_of(figure)


NEW_KEYS = r"^(equinorm|angle|cdnv|head\.\d+\.rank|tap\.)"


def test_old_records_have_fewer_panels(seeds: list[Record]) -> None:
    """Without the keys of the usual set: panels that need them are left out, and ranks refuse in one line."""
    old = []
    for run in seeds:
        measured = {name: value for name, value in (run.measured or {}).items() if name != "singular_values"}
        metrics = run.metrics.drop(columns=run.metrics.filter(regex=NEW_KEYS).columns)
        old.append(replace(run, metrics=metrics, measured=measured))
    figure = usual_set.usual_set(old)
    assert [ax.get_title() for ax in figure.axes] == ["classification error", "classifier to means (duality)"]
    caption_of(figure)
    with pytest.raises(UserError, match="older version"):
        usual_set.ranks(old)
    for drawing in (convergence.convergence, matrices.matrices, classes.sizes, classes.angles):
        caption_of(drawing(old))


def test_ranks_and_singular_values_by_layer(runs: Named) -> None:
    records = runs("M3-0", "M3-1")
    figure = usual_set.ranks(records)
    drawn = panel(figure, "rank of the class means").get_lines()
    for layer, line in enumerate(drawn, start=1):
        mean = np.mean([run.metrics[f"head.{layer}.rank"][1:] for run in records], axis=0)
        assert np.array_equal(line.get_ydata(), mean)
    values = panel(figure, "singular values / largest").get_lines()
    assert records[0].measured is not None
    recorded = np.array(records[0].measured["singular_values"]["head.1"])
    assert np.array_equal(values[0].get_ydata(), np.clip(recorded / recorded[0], usual_set.FLOOR, None))
    predicted = np.linalg.svd(np.linalg.cholesky(np.array(records[0].theory["feature_gram"])))[1]
    assert values[-1].get_ydata() == pytest.approx(predicted / predicted[0])
    caption_of(figure)
    shorn = [replace(run, measured=None) for run in records]
    assert [ax.get_title() for ax in usual_set.ranks(shorn).axes] == ["rank of the class means"]


def test_layers_are_the_taps_and_then_the_head(runs: Named) -> None:
    records = runs("relu-0", "relu-1")
    names = ["tap.relu1", "tap.relu2", "head.1", "head.2", "head.3"]
    assert layers.layer_names(records[0]) == names
    figure = layers.deep_collapse(records)
    lines = panel(figure, "DNC1: within / between").get_lines()
    assert len(lines) == 5
    for name, line in zip(names, lines, strict=True):
        values = [run.metrics[f"{name}.nc1_trace"][1:] for run in records]
        assert line.get_ydata() == pytest.approx(np.mean(values, axis=0))
    assert [line.get_linestyle() for line in lines] == [":", ":", "-", "-", "-"]
    end = panel(figure, "at the end, by layer")
    assert [tick.get_text() for tick in end.get_xticklabels()] == ["relu1", "relu2", "1", "2", "3"]
    mean, first, _ = end.get_lines()[:3]
    values = [[run.metrics[f"{name}.nc1_trace"].iloc[-1] for name in names] for run in records]
    assert mean.get_ydata() == pytest.approx(np.mean(values, axis=0))
    assert list(first.get_ydata()) == values[0]
    for words in ("ReLU head of depth 3", "classes 0 and 1 of digits", "seeds 0 and 1"):
        assert words in caption_of(figure)


def test_width_ablation_shows_every_restart(folder: Path, ncrun: Command, undrawn: None) -> None:
    panels.use_style()
    records = []
    for width in (4, 8):
        directory = folder / f"width-{width}"
        options = ("counts=[4,4]", "epochs=30", "restarts=3", "optimizer=sgd", "optimizer.lr=0.5", "head.depth=2")
        result = ncrun("train", "model=dufm", f"model.width={width}", *options, f"run_dir='{directory}'")
        assert result.status == 0, result
        records += find_records(directory)
    words = iter(["global optimum", "not converged", "dead", "global optimum", "global optimum", "local optimum"])
    records = [replace(run, manifest=run.manifest | {"verdict": {"word": next(words)}}) for run in records]
    figure = layers.width_ablation(records)
    gaps = panel(figure, "loss / optimum − 1").get_lines()
    assert [list(line.get_xdata()) for line in gaps[:2]] == [[4] * 3, [8] * 3]
    drawn = [value for line in gaps[:2] for value in line.get_ydata()]
    assert drawn == pytest.approx([run.metrics["loss"].iloc[-1] / run.theory["objective"] - 1 for run in records])
    (share,) = panel(figure, "share of restarts at the optimum").get_lines()
    assert list(share.get_ydata()) == [1 / 3, 2 / 3]
    dnc = panel(figure, "DNC1: within / between").get_lines()
    assert list(dnc[1].get_ydata()) == [run.metrics["head.2.nc1_trace"].iloc[-1] for run in records[3:]]
    assert "dimension 4 or 8" in caption_of(figure)


@pytest.mark.parametrize("scale", ["cpu", "real", "paper"])
def test_a_caption_says_how_the_run_relates_to_the_papers(scale: str, runs: Named) -> None:
    """Only at scale paper is it the authors' own setting; every experiment with a figure of its own kind has words."""
    (run,) = runs("M1-0")
    found = {
        name: wording.source_words(replace(run, manifest=run.manifest | {"experiment": name, "scale": scale}))
        for name in wording.EXPERIMENTS
    }
    starts = {
        "cpu": "A small version of ",
        "real": "On real images, with changes",
        "paper": ("The setting of ", "A reconstruction of ", "The problem of "),
    }
    assert all(words.startswith(starts[scale]) for words in found.values())
    shared = {name for name, drawings in FIGURES.items() if "-usual" in drawings}
    assert shared <= set(wording.EXPERIMENTS)
    assert wording.source_words(run) == ""


def test_every_drawing_of_every_network_experiment_can_be_drawn(all_imbalanced: list[Record], runs: Named) -> None:
    """Captions end inside the figure, none of the panels is empty, no text lies on another panel."""
    drawings = {drawing for found in FIGURES.values() if "-usual" in found for drawing in found.values()}
    relu = runs("relu-0", "relu-1")
    for drawing in drawings:
        figure = drawing(relu if drawing is layers.deep_collapse else all_imbalanced)
        caption_of(figure)
        (label,) = (text for text in figure.texts if text.get_text() == figure.get_supxlabel())
        assert label.get_window_extent().x1 <= figure.bbox.x1
        for ax in figure.axes:
            assert ax.has_data() or ax.images or ax.texts, ax.get_title()
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
        plt.close(figure)
