"""`ncrun plot`: what is drawn of runs made by hand, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command, Refused, write_run
from figure_runs import caption_of, curves_of
from matplotlib import pyplot as plt
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ncrun.errors import UserError
from ncrun.figures import panels
from ncrun.figures.plot import plot_runs
from ncrun.figures.plot_lines import Request
from ncrun.metrics import METRICS
from ncrun.records.groups import gather

EPOCHS = (0, 1, 10, 100)


def rows(scale: float, epochs: tuple[int, ...] = EPOCHS, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "step": 2 * epoch,
            "seconds": 0.5 * epoch,
            "nc1": scale / (1 + epoch),
            "nc2_w": 0.3 + scale / 100,
            "gap": None,
            "train_accuracy": min(1.0, 0.01 + epoch),
            "class.margin": [scale, 2 * scale + epoch],
        }
        | more
        for epoch in epochs
    ]


def drawn(folder: Path, told: list[str] | None = None, **request: Any) -> Figure:
    panels.use_style()
    figure = plot_runs(gather([folder]), Request(**request), (told if told is not None else []).append)
    figure.canvas.draw()
    return figure


def lines_of(ax: Any) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in curves_of(ax)]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def seeds_and_depths(folder: Path) -> Path:
    for depth in (1, 3):
        for seed in (0, 1, 2):
            write_run(folder / f"{depth}-{seed}", rows(depth * (seed + 1.0)), head__depth=depth, seed=seed)
    return folder


def test_seeds_are_a_median_and_a_band_and_depths_are_colours(tmp_path: Path) -> None:
    figure = drawn(seeds_and_depths(tmp_path), y=("nc1",), hue=("head.depth",))
    (ax,) = figure.axes
    for depth, line, band in zip((1, 3), curves_of(ax), ax.collections, strict=True):
        expected = np.array([2 * depth / (1 + epoch) for epoch in EPOCHS])
        assert line.get_ydata() == pytest.approx(expected, rel=1e-14)
        edges = band.get_paths()[0].vertices
        for epoch in EPOCHS:
            at = edges[edges[:, 0] == epoch, 1]
            assert (at.min(), at.max()) == pytest.approx((depth / (1 + epoch), 3 * depth / (1 + epoch)))
        assert line.get_color() == f"#{'0072B2' if depth == 1 else 'D55E00'}"
    assert legend_of(figure) == ["head.depth", "1", "3"]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel(), ax.get_title()) == ("symlog", "log", "epoch", "NC1")
    assert ax.xaxis.get_transform().linthresh == 1  # linear up to there, so that the start has a place
    words = caption_of(figure)
    for part in (
        "6 runs, which differ in head.depth",
        "digits, 30 samples",
        "MLP of 1 layer of width 8",
        "seeds 0 to 2",
    ):
        assert part in words
    plt.close(figure)


def test_left_out_hue_is_what_tells_the_runs_apart(tmp_path: Path) -> None:
    figure = drawn(seeds_and_depths(tmp_path), y=("nc1",))
    assert legend_of(figure) == ["head.depth", "1", "3"]
    plt.close(figure)


def test_seeds_as_colours_are_not_averaged(tmp_path: Path) -> None:
    figure = drawn(seeds_and_depths(tmp_path), y=("nc1",), hue=("seed",), style=("head.depth",), logx=False)
    ends = [y[-1] for _, y in lines_of(figure.axes[0])]
    assert sorted(ends) == pytest.approx(sorted(depth * (seed + 1) / 101 for depth in (1, 3) for seed in (0, 1, 2)))
    assert legend_of(figure) == ["seed", "0", "1", "2", "head.depth", "1", "3"]
    assert "seeds 0 to 2." in caption_of(figure)
    plt.close(figure)


def test_axes_are_linear_where_the_values_are_near_or_not_positive(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rows(1.0))
    write_run(tmp_path / "b", rows(-1.0), seed=1)
    near, sign, share = drawn(tmp_path, y=("nc2_w", "nc1", "train_accuracy")).axes
    assert [ax.get_yscale() for ax in (near, sign, share)] == ["linear"] * 3
    forced = drawn(tmp_path, y=("nc2_w",), logx=False, logy=True).axes[0]
    assert (forced.get_xscale(), forced.get_yscale()) == ("linear", "log")
    plt.close("all")


def test_a_list_has_a_line_for_each_class_and_a_panel_for_each_hue(tmp_path: Path) -> None:
    for depth in (1, 3):
        write_run(tmp_path / str(depth), rows(float(depth)), head__depth=depth)
    figure = drawn(tmp_path, y=("class.margin",), hue=("head.depth",), logx=False)
    words = METRICS["class.margin"].words
    assert [ax.get_title() for ax in figure.axes] == [f"{words}, head.depth=1", f"{words}, head.depth=3"]
    for depth, ax in zip((1.0, 3.0), figure.axes, strict=True):
        assert [y for _, y in lines_of(ax)] == [[depth] * 4, [2 * depth + epoch for epoch in EPOCHS]]
    plt.close(figure)


def test_over_a_key_the_last_value_with_seeds_as_bars(tmp_path: Path) -> None:
    for decay in (1e-4, 1e-3, 1e-2):
        for seed in (0, 1):
            name = f"{decay}-{seed}"
            # a second decay that follows the first makes no lines of its own
            config = {"decay__weight": decay, "decay__feature": decay, "seed": seed}
            write_run(tmp_path / name, rows(decay * (1 + seed)), **config)
    figure = drawn(tmp_path, y=("nc1",), x="decay.weight")
    (ax,) = figure.axes
    (bars,) = (c for c in ax.containers if isinstance(c, ErrorbarContainer))
    x, y = lines_of(ax)[0]
    assert x == [1e-4, 1e-3, 1e-2]
    assert y == pytest.approx([2**0.5 * decay / 101 for decay in x], rel=1e-14)
    ends = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
    assert np.ravel(ends) == pytest.approx(np.ravel([[d / 101, 2 * d / 101] for d in x]))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "decay.weight")
    plt.close(figure)


def test_an_unfinished_seed_is_drawn_by_itself_and_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rows(1.0))
    write_run(tmp_path / "b", rows(3.0), seed=1)
    write_run(tmp_path / "c", rows(5.0, EPOCHS[:3]), state="interrupted", seed=2)
    told: list[str] = []
    figure = drawn(tmp_path, told, y=("nc1",), logx=False, logy=False)
    assert len(told) == 1
    assert "c: is not finished (interrupted); drawn up to epoch 10" in told[0]
    middle, thin, dot = lines_of(figure.axes[0])
    assert middle[1] == pytest.approx([2 / (1 + epoch) for epoch in EPOCHS])
    assert thin == ([0, 1, 10], [5, 2.5, 5 / 11])
    assert dot == ([10], [5 / 11])
    assert "unfinished" in legend_of(figure)
    plt.close(figure)


def test_an_unfinished_run_has_its_distance_to_the_balanced_prediction(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rows(1.0, EPOCHS[:3], **{"balanced.nc2_w": 0.5}), state="interrupted")
    figure = drawn(tmp_path, y=("nc2_w",), logx=False, logy=False)
    beside = [y for _, y in lines_of(figure.axes[0]) if y == [0.5] * 3]
    assert len(beside) == 1
    plt.close(figure)


@pytest.mark.parametrize(
    ("other", "band", "words"),
    [((0, 1, 10, 50), [0, 1, 10], "covers the 3 common ones"), ((0, 2, 4), None, "is drawn alone")],
)
def test_seeds_measured_at_different_epochs(
    tmp_path: Path, other: tuple[int, ...], band: list[int] | None, words: str
) -> None:
    write_run(tmp_path / "a", rows(1.0))
    write_run(tmp_path / "b", rows(3.0, other), seed=1)
    told: list[str] = []
    (ax,) = drawn(tmp_path, told, y=("nc1", "nc2_w"), logx=False).axes[:1]
    assert len(told) == 1  # once, and not for each panel
    assert words in told[0]
    if band:
        assert lines_of(ax)[0][0] == band
    else:
        assert [x for x, _ in lines_of(ax)[::2]] == [list(EPOCHS), list(other)]
        assert not ax.collections
    plt.close("all")


def test_lines_that_look_alike_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    drawn(seeds_and_depths(tmp_path), told, y=("nc1",), hue=("loss",))
    assert told == ["lines that look alike differ in head.depth; distinguish them by hue= or style="]
    plt.close("all")


def test_a_run_without_the_metric_is_told_and_the_others_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "a", rows(1.0))
    write_run(tmp_path / "b", rows(1.0, nc1=None), head__bias=True)
    told: list[str] = []
    figure = drawn(tmp_path, told, y=("nc1",))
    assert told == [f"{tmp_path / 'b'}: has no nc1 (null); not drawn in that panel"]
    assert len(curves_of(figure.axes[0])) == 1
    plt.close(figure)


def test_thirteen_hues_are_too_many(tmp_path: Path) -> None:
    for width in range(13):
        write_run(tmp_path / str(width), rows(1.0), model__width=width + 1)
    for hue in (None, ("model.width",)):
        with pytest.raises(UserError, match=r"model\.width.*13 values.*12 colours"):
            drawn(tmp_path, y=("nc1",), hue=hue)
    plt.close(drawn(tmp_path, y=("nc1",), x="model.width"))


def test_command_writes_png_and_pdf(ncrun: Command, workdir: Path) -> None:
    seeds_and_depths(workdir / "runs")
    result = ncrun("plot", "runs/1-0", "runs/3-0", "y=nc1,class.margin", "style=head.depth", "out=pictures/p.png")
    assert (result.status, result.err) == (0, "")
    assert result.out == "pictures/p.png, pictures/p.pdf\n"
    assert (workdir / "pictures" / "p.png").read_bytes().startswith(b"\x89PNG")
    assert (workdir / "pictures" / "p.pdf").read_bytes().startswith(b"%PDF")


def test_help(ncrun: Command) -> None:
    assert "y=METRIC" in ncrun("plot", "--help").out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["runs"], ["y= is missing", "kind=classes"]),
        (["runs", "kind=clases"], ["kind=clases", "'classes'", "ledger"]),
        (["runs", "kind=classes", "y=nc1"], ["y=nc1", "has no effect", "kind=classes"]),
        (["runs", "kind=ledger"], ["kind=ledger", "ledger.within_class", "squared loss, a linear head"]),
        (["runs/b", "kind=classes"], ["kind=classes", "none of these runs is finished"]),
        (["y=nc1"], ["no run is given"]),
        (["nowhere", "y=nc1"], ["nowhere", "no such folder"]),
        (["empty", "y=nc1"], ["empty", "holds no run"]),
        (["runs", "y=nc11"], ["y=nc11", "did you mean 'nc1'", "train_accuracy"]),
        (["runs", "y=gap"], ["y=gap", "null in all of these"]),
        (["runs", "y=nc1,"], ["y=nc1,"]),
        (["runs", "y=nc1", "hue=head.dept"], ["hue=head.dept", "'head.depth'"]),
        (["runs", "y=nc1", "hue=head"], ["hue=head:"]),
        (["runs", "y=nc1", "hue=zebra"], ["hue=zebra", "differ in no key"]),
        (["runs", "y=nc1", "x=model"], ["x=model.name", "mlp", "hue="]),
        (["runs", "y=nc1", "x=epochh"], ["x=epochh", "'epochs'"]),
        (["runs", "y=nc1", "x=factor"], ["x=factor", "path="]),
        (["runs", "y=nc1", "logy=yes"], ["logy=yes", "true or false"]),
        (["runs", "y=nc1", "huee=loss"], ["huee=loss", "'hue'"]),
        (["runs", "y=nc1", "--hue", "loss"], ["--hue", "hue="]),
        (["runs", "y=nc1", "y=nc2_w"], ["y=nc2_w", "commas"]),
        (["runs", "y=nc1", "out=p.jpg"], ["out=p.jpg", ".png"]),
        (["runs", "y=nc1", "out=empty"], ["out=empty", "folder"]),
    ],
    ids=" ".join,
)
def test_refusals(arguments: list[str], parts: list[str], refused: Refused, workdir: Path) -> None:
    write_run(workdir / "runs" / "a", rows(1.0, gap=1.0) if "kind=ledger" in arguments else rows(1.0))
    if "runs/b" in arguments:
        write_run(workdir / "runs" / "b", rows(1.0), state="interrupted")
    (workdir / "empty").mkdir()
    line = refused("plot", *arguments)
    for part in parts:
        assert part in line


def test_an_unknown_key_names_those_that_differ(refused: Refused, workdir: Path) -> None:
    seeds_and_depths(workdir / "runs")
    assert "; the keys in which they differ are head.depth" in refused("plot", "runs", "y=nc1", "hue=zebra")
