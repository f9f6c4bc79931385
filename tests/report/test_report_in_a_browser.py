"""The page in a real browser: drawn, quiet, reachable by keys, and harmless whatever names it holds."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import DESKTOP, PHONE, Browser, needs_browser
from conftest import write_run
from test_live import measured, served
from test_report_page import ARCHIVES, RESULTS, runs_in

from ncrun.records.read import load_record
from ncrun.report import live
from ncrun.report import page as report_page
from ncrun.report.gathered import Shown, gather, records_of
from ncrun.report.page import page

pytest.importorskip("plotly")
pytestmark = needs_browser
# Of every plot, its title, the lines that it should show, those that are drawn with a path, and the matrices.
DRAWN = """
[...plots, comparison].map((plot) => {
  const area = plot.area;
  const wanted = area.data.filter((t) => t.visible !== "legendonly" && t.type === "scatter");
  const paths = [...area.querySelectorAll(".scatterlayer .trace")].filter(
    (t) => t.querySelector("path.js-line[d], path.point[d]"));
  const images = area.querySelectorAll(".heatmaplayer image[*|href^='data:image/png']").length;
  const heats = area.data.filter((t) => t.type === "heatmap").length;
  return [plot.options.title, wanted.length, paths.length, heats, images];
})
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def gathered() -> list[Shown]:
    """Real records: heads of one and three layers, both losses, a ReLU head."""
    return gather(ARCHIVES)[28::5]  # the first has a theorem for its loss


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, gathered: list[Shown]) -> Path:
    path = tmp_path_factory.mktemp("report") / "page.html"
    path.write_text(page(gathered, "papers at real scale"))
    return path


def asked_elsewhere(browser: Browser) -> list[str]:
    return [address for address in browser.requests if not address.startswith(("file:", "data:", "blob:"))]


def drawn_titles(browser: Browser, every: int = 1) -> set[str]:
    """Chooses one run after the other, or every so many-th, sees that no line and no matrix of theirs is missing, and
    returns all titles."""
    titles = set()
    for run in range(0, browser.run("content.rows.length"), every):
        browser.run(f"location.hash = 'run-{run}'")
        browser.wait(f"document.getElementById('run-title').textContent === content.rows[{run}].name")
        browser.run("drawing")
        found = browser.run(DRAWN)
        assert len(found) >= 5
        for title, wanted, drawn, heats, images in found:
            assert (wanted, heats) == (drawn, images), (run, title)
            assert wanted + heats > 0, (run, title)
            titles.add(title)
    return titles


def test_every_plot_of_every_run_is_drawn(browser: Browser, report: Path) -> None:
    """No line is missing, nothing is on the console, nothing is asked for; and the page is as wide as the phone."""
    browser.size(DESKTOP)
    browser.open(report.as_uri())
    titles = drawn_titles(browser)
    assert {"loss", "margin of each class", "classification error", "squared norm of class means"} < titles
    assert {"W Wᵀ, measured", "W Wᵀ, predicted", "W Wᵀ, measured − predicted"} < titles
    assert "where the gap comes from: its parts / optimum" in titles
    browser.size(PHONE)
    browser.wait("innerWidth === 390")
    assert browser.run("document.documentElement.scrollWidth") <= PHONE[0]
    assert browser.problems == []
    assert asked_elsewhere(browser) == []


@pytest.mark.slow
def test_hundreds_of_runs_of_every_kind_are_drawn(browser: Browser, tmp_path: Path) -> None:
    """All records in results/: below 10 MB, and every plot of every eighth run is there."""
    path = tmp_path / "page.html"
    path.write_text(page(gather([RESULTS]), "results"))
    assert path.stat().st_size < 10e6
    browser.size(DESKTOP)
    browser.open(path.as_uri())
    assert browser.run("content.rows.length") > 300
    assert "accuracy, test" in drawn_titles(browser, every=8)
    assert browser.problems == []


def test_lines_are_the_numbers_of_the_record(browser: Browser, report: Path) -> None:
    """Of loss: what is measured, and the prediction dashed at the theorem's value; hidden where its tick is taken."""
    run = runs_in(report.read_text())[0]
    browser.size(DESKTOP)
    browser.open(report.as_uri())
    loss = "plots.find((plot) => plot.options.title === 'loss')"
    measured, predicted = browser.run(f"{loss}.area.data.map((t) => [t.y, t.line.dash || 'solid'])")
    assert measured == [run["curves"]["columns"]["loss"][1:], "solid"]  # the start has no place on a log axis
    assert predicted == [[run["curves"]["predicted"]["loss"]] * 2, "dash"]
    browser.run(f"({loss}.more.open = true, new Promise((done) => setTimeout(done, 50)))")
    browser.run(f"({loss}.lines.querySelectorAll('input')[1].click(), new Promise((done) => setTimeout(done, 50)))")
    assert browser.run(f"{loss}.area.data.map((t) => t.visible || true)") == [True, "legendonly"]
    before, after = browser.run(
        f"(async () => {{ const p = {loss}; const r = () => [...p.area.layout.xaxis.range]; const b = r();"
        " await p.zoom(0.5); return [b, r()]; })()"
    )
    assert after[1] - after[0] == pytest.approx((before[1] - before[0]) / 2)


def test_everything_is_reached_by_keys(browser: Browser, report: Path, gathered: list[Shown]) -> None:
    """Tab goes through the whole page in its order; Enter sorts the table, chooses a run and zooms; what has the focus
    is outlined."""
    browser.size(DESKTOP)
    browser.open(report.as_uri())
    browser.run("document.body.tabIndex = -1, document.body.focus()")
    controls = browser.run(
        "[...document.querySelectorAll('a[href], button, input, select, summary')]"
        ".filter((e) => e.checkVisibility()).length"
    )
    reached = []
    for _ in range(controls + 20):
        browser.press("Tab")
        where = browser.run(
            "(() => { const e = document.activeElement; if (!e || e === document.body) return null;"
            " if (!e.dataset.seen) e.dataset.seen = '1'; else return 'again';"
            " return [e.tagName, e.getAttribute('aria-label') || e.textContent || e.id,"
            " getComputedStyle(e).outlineStyle]; })()"
        )
        if where in (None, "again"):
            break
        reached.append(where)
    seen = browser.run(
        "document.querySelectorAll('a[data-seen], button[data-seen], input[data-seen], select[data-seen],"
        " summary[data-seen]').length"
    )
    assert seen == controls
    assert all(style != "none" for _, _, style in reached)
    names = [name for _, name, _ in reached]
    assert names[0] == "To the run that is shown"
    assert "zoom in: loss" in names

    browser.run("[...document.querySelectorAll('#table thead button')].find((b) => b.textContent === 'nc1').focus()")
    browser.press("Enter")
    shown = browser.run("[...document.querySelectorAll('#table tbody tr')].map((r) => Number(r.dataset.run))")
    nc1 = browser.run("content.rows.map((r) => r.values[content.columns.findIndex((c) => c.key === 'nc1')])")
    assert [nc1[n] for n in shown] == sorted(nc1)
    browser.run("document.querySelectorAll('#table tbody a')[0].focus()")
    browser.press("Enter")
    browser.wait(f"document.getElementById('run-title').textContent === content.rows[{shown[0]}].name")
    assert browser.run("document.activeElement.id") == "run"
    browser.run("document.getElementById('filter').focus()")
    browser.type("depth=3")
    count = browser.run("document.querySelectorAll('#table tbody tr').length")
    depths = [record.config["head"]["depth"] for _, record in records_of(gathered)]
    assert 0 < count == depths.count(3) < len(depths)


def test_hostile_names_are_text(browser: Browser, tmp_path: Path) -> None:
    """Of folders, classes, keys and messages: shown letter by letter on the page and in plots, never run."""
    image, script = "<img src=x onerror=throw(1)>", "</script><script>throw 2</script>"
    link, bold = '<a href="http://127.0.0.1:9/">%{x} $\\alpha$</a>', "<b>&lt;{{ 7*7 }}"
    turned = "\u202etxt.exe"
    folder = write_run(tmp_path / image, [{"epoch": e, "loss": 1 / (e + 1)} for e in range(3)], name=script)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"class_names": [link, turned], "summary": bold, script: image}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "page.html").write_text(page(gather([tmp_path]), script))
    assert load_record(folder).manifest["summary"] == bold

    browser.size(DESKTOP)
    browser.open((tmp_path / "page.html").as_uri())
    assert browser.run("document.querySelector('h1').textContent") == script
    assert browser.run("document.getElementById('run-title').textContent") == image
    assert browser.run("document.title") == script
    text = browser.run("document.body.innerText")
    for name in (image, script, bold, link, "\\u202etxt.exe"):
        assert name in text, name
    legends = browser.run("[...document.querySelectorAll('.legendtext')].map((each) => each.textContent)")
    assert f"0: {link} (20)" in legends
    margin = "plots.find((plot) => plot.options.title === 'margin of each class').area"
    browser.run(f"Plotly.Fx.hover({margin}, [{{ curveNumber: 0, pointNumber: 1 }}])")
    assert link in browser.run(f"{margin}.querySelector('.hoverlayer').textContent")
    assert browser.run("document.querySelectorAll('main img, main b, main script, main a[href^=http]').length") == 0
    assert browser.problems == []
    assert asked_elsewhere(browser) == []


def test_the_page_follows_a_training(browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An open page shows a new epoch and a new run by itself, and asks its own server alone."""
    monkeypatch.setattr(live, "SECONDS_BETWEEN_LOOKS", 0.0)
    monkeypatch.setattr(report_page, "SECONDS_BETWEEN_QUESTIONS", 0.2)
    browser.size(DESKTOP)
    with served(tmp_path) as server:
        browser.open(server.address)  # before there is any run
        folder = write_run(tmp_path / "one", [{"epoch": 0}, {"epoch": 1}], state="running")
        browser.wait("document.querySelectorAll('#table tbody tr').length === 1")
        browser.wait("plots.some((plot) => plot.options.title === 'loss' && plot.area.data?.[0].y.length === 2)")
        measured(folder, 2)
        browser.wait("plots.some((plot) => plot.options.title === 'loss' && plot.area.data?.[0].y.length === 3)")
        browser.wait("comparison.area.data[0].y.length === 3")
        assert browser.problems == []
        assert all(address.startswith((server.address, "data:", "blob:")) for address in browser.requests)
