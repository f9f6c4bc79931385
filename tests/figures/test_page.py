"""The page of a figure: width, type, formats, and the caption beside it."""

from pathlib import Path

import numpy as np
import pytest
from legibility import flaws, has_type_3
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ncrun.errors import UserError
from ncrun.figures import page, panels, saving


def drawn(columns: int = 5, **said: str) -> tuple[Figure, page.Page]:
    found = page.page_of(said)
    plt.rcdefaults()
    panels.use_style(found.rc)
    figure, axes = panels.grid(2, columns, sharex=True)
    for ax in axes.flat:
        ax.plot([1, 10], [1e-3, 1])
        ax.set(xscale="log", yscale="log")
    for ax in axes[0]:
        ax.set_title("distance of $W W^\\top$ to the prediction")
    for line, name in zip(axes, ("no bias", "a last-layer bias"), strict=True):
        panels.label_row(line, name)
    panels.caption(figure, "Scale cpu: 5 % of A_B, λ = 1 & x < 2; a network. More.")
    return figure, found


@pytest.mark.parametrize(
    ("said", "width", "across"),
    [
        ({}, 5.5, 3),
        ({"width": "column"}, 3.25, 2),
        ({"venue": "icml", "width": "column"}, 3.25, 2),
        ({"venue": "icml"}, 6.75, 5),
        ({"venue": "neurips", "width": "column"}, 5.5, 3),
        ({"venue": "jmlr2001", "type": "sans"}, 6.0, 3),
        ({"width": "2.5", "type": "serif"}, 2.5, 1),
    ],
)
def test_panels_fill_the_page(said: dict[str, str], width: float, across: int) -> None:
    figure, _ = drawn(**said)
    assert figure.get_figwidth() == width
    lines = [{ax.get_subplotspec().colspan.start for ax in figure.axes}]
    assert max(map(len, lines)) == across
    # Every line of the page begins with the name of its row.
    named = [ax.get_ylabel() for ax in figure.axes if ax.get_subplotspec().colspan.start == 0]
    assert named == ["no bias"] * (len(named) // 2) + ["a last-layer bias"] * (len(named) // 2)
    plt.close(figure)


@pytest.mark.parametrize("said", [{"type": "sans"}, {"venue": "icml", "width": "column"}], ids=("sans", "serif"))
def test_both_types_can_be_printed(said: dict[str, str]) -> None:
    figure, _ = drawn(columns=3, **said)
    assert not has_type_3(figure)
    assert flaws(figure) == []


def test_what_cannot_be_printed_is_seen() -> None:
    """The test of all figures finds each kind of flaw."""
    figure, _ = drawn(columns=1)
    ax = figure.axes[0]
    ax.set_title("long title")
    ax.text(0.5, 1.06, "another one", transform=ax.transAxes, fontsize=5)
    figure.text(0.98, 0.5, "leaves the page", in_layout=False)
    found = " ".join(flaws(figure))
    assert "5 pt" in found
    assert "'leaves the page': is cut off" in found
    assert "'another one' is on 'long title'" in found


def test_captions_are_beside_pictures_and_scale_in_a_png(tmp_path: Path) -> None:
    figure, found = drawn(columns=1, format="png,svg")
    written = saving.save(figure, tmp_path / "a", found)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.caption.tex", "a.png", "a.svg"]
    assert [each.suffix for each in written] == [".png", ".svg"]
    tex = (tmp_path / "a.caption.tex").read_text()
    assert tex == "Scale cpu: 5 \\% of A\\_B, $\\lambda$ = 1 \\& x $<$ 2; a network. More.\n"
    assert not figure.texts  # the line below the PNG is gone
    height, width, _ = plt.imread(written[0]).shape
    assert width == 1650
    assert height > 300 * figure.get_figheight() + 20
    assert "Scale cpu" not in written[1].read_text().partition("</metadata>")[2]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"width": "wide"}, "--width=wide: must be column, text, or inches from 2 to 20"),
        ({"width": "1"}, "--width=1: must be column, text, or inches from 2 to 20"),
        ({"width": "nan"}, "--width=nan: must be column, text, or inches from 2 to 20"),
        ({"venue": "neurps"}, "did you mean 'neurips'?"),
        ({"format": "png,jpg"}, "--format=png,jpg: jpg is not one of png, pdf, svg, pgf"),
        ({"format": ""}, "--format=: nothing is not one of png, pdf, svg, pgf"),
        ({"type": "comic"}, "--type=comic: must be sans or serif"),
    ],
)
def test_a_page_that_there_is_not_is_refused_with_the_choices(said: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as error:
        page.page_of(said, "--")
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_pgf_without_a_latex_is_refused_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"^format=pgf: pgf needs xelatex, pdflatex or lualatex"):
        page.page_of({"format": "pgf"})


def test_type_is_never_below_7_points() -> None:
    """tueplots has 6 for some venues."""
    for venue in page.venues():
        sizes = [
            value for key, value in page.page_of({"venue": venue}).rc.items() if "size" in key and "fig" not in key
        ]
        assert len(sizes) == 6
        assert min(sizes) >= page.SMALLEST_TYPE


def test_a_panel_that_is_widened_takes_its_neighbours_along() -> None:
    """Of panels that share an ordinate the first alone has numbers; in the others a value stands at the same height."""
    drawn()
    _, ((first, second),) = panels.grid(1, 2, sharey=True)
    for ax, top in ((first, 1.4), (second, 2.0)):
        ax.plot([1, 2], [1.0, top])
        ax.set_yscale("log")
    panels.tidy_log(first.yaxis)
    low, high = first.get_ylim()
    assert high / low == pytest.approx(panels.NARROWEST)
    assert second.get_ylim() == (low, high)
    plt.close("all")


def test_what_a_picture_says_by_itself_is_a_whole_sentence() -> None:
    """Not cut at "et al.", and not longer than the first part."""
    figure, _ = drawn()
    for text, short in (
        ("After Dang et al. 2023. More.", "After Dang et al. 2023"),
        ("Two sets vs. three; more. Yet more.", "Two sets vs. three"),
        ("0.5 of Papyan et al. The rest.", "0.5 of Papyan et al. The rest"),
        ("All of it.", "All of it"),
    ):
        panels.caption(figure, text)
        assert panels.short_caption_of(figure) == short
    plt.close("all")


def test_a_narrow_log_axis_has_at_least_two_round_numbers() -> None:
    """Wherever it lies: where matplotlib finds a single one, it would write all from 2 to 9."""
    drawn()
    for low in np.geomspace(1, 10, 30):
        _, ((ax,),) = panels.grid(1, 1)
        ax.set(xscale="log", xlim=(low, low * panels.NARROWEST))
        panels.tidy_log(ax.xaxis)
        shown = [tick for tick in ax.get_xticks() if low <= tick <= low * panels.NARROWEST]
        assert len(shown) >= 2
        assert {f"{tick:e}"[0] for tick in shown} <= set("1235")
        plt.close("all")


def test_every_file_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib draws a figure that has a layout engine, even one that does nothing, twice for each file; a user's own
    settings may ask for one."""
    figure, found = drawn(columns=1)
    draws: list[str] = []
    draw = Figure.draw

    def noted(self: Figure, renderer: object) -> None:
        draws.append(type(renderer).__name__)
        draw(self, renderer)  # type: ignore[arg-type]

    monkeypatch.setattr(Figure, "draw", noted)
    with plt.rc_context({"figure.constrained_layout.use": True}):
        saving.save(figure, tmp_path / "a", found)
    assert draws == ["RendererAgg", "MixedModeRenderer"]
