"""`ncrun table`: the numbers against records made by hand, the formats, and what is refused."""

import csv
import io
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import PATIENCE_S, Command, Refused, write_run

from ncrun.records.groups import differing_keys, gather, naming_keys, split
from ncrun.records.paper_table import write_tables
from ncrun.records.table import as_csv, as_latex, as_markdown, as_text, final_table


def row(epoch: int, **values: Any) -> dict[str, Any]:
    base = {"epoch": epoch, "loss": 0.5, "train_accuracy": 0.0, "test_accuracy": None, "nc1": None, "gap": None}
    return base | values


def sweep(folder: Path) -> Path:
    """Depth 1 with three seeds, depth 3 with one."""
    losses = {0: 0.1, 1: 0.2, 2: 0.6}
    for seed, loss in losses.items():
        rows = [
            row(0),
            row(1, train_accuracy=1.0 if seed == 0 else 0.5),
            row(2, train_accuracy=1.0),
            row(3, loss=loss, train_accuracy=0.75, nc1=1e-5 * (seed + 1), nc2_w=0.1, nc2_h=0.3, nc3=0.2),
        ]
        write_run(folder / f"a{seed}", rows, seed=seed)
    write_run(folder / "b", [row(0), row(3, loss=0.25, train_accuracy=0.5, nc1=None)], head__depth=3)
    return folder


def test_a_row_is_a_configuration_with_mean_and_sample_deviation(tmp_path: Path) -> None:
    frame = final_table(gather([sweep(tmp_path)]))
    assert list(frame["head.depth"]) == [1, 3]
    assert list(frame["seeds"]) == [3, 1]
    losses = [0.1, 0.2, 0.6]
    assert frame["loss"][0] == pytest.approx(statistics.mean(losses), rel=1e-14)
    assert frame["loss_std"][0] == pytest.approx(statistics.stdev(losses), rel=1e-14)
    assert (frame["loss"][1], frame["loss_std"][1]) == (0.25, None)  # one seed has no deviation
    assert frame["nc1"][0] == pytest.approx(2e-5, rel=1e-14)
    assert frame["distance"][0] == pytest.approx(0.3)  # the largest of the three
    assert frame["fitted_epoch"][0] == pytest.approx((1 + 2 + 2) / 3)
    assert frame["wall_seconds"][1] == 2.0


def test_what_a_run_lacks_is_none_and_what_all_lack_is_left_out(tmp_path: Path) -> None:
    frame = final_table(gather([sweep(tmp_path)]))
    for column in ("nc1", "distance", "fitted_epoch", "nc2_w"):
        assert frame[column][1] is None
    for column in ("gap", "test_accuracy", "nc4", "balanced_distance"):
        assert column not in frame


def test_one_seed_without_a_number_leaves_the_mean_out(tmp_path: Path) -> None:
    for seed, value in enumerate([0.5, None]):
        write_run(tmp_path / str(seed), [row(3, nc1=value, train_accuracy=1.0)], seed=seed)
    write_run(tmp_path / "other", [row(3, nc1=0.25)], head__bias=True)
    frame = final_table(gather([tmp_path]))
    assert list(frame["nc1"]) == [None, 0.25]


def test_seeds_paths_and_names_do_not_tell_configurations_apart(tmp_path: Path) -> None:
    for name, config in {"a": {}, "b": {"seed": 5, "name": "x", "device": "cpu"}, "c": {"loss": "ce"}}.items():
        write_run(tmp_path / name, [row(3)], **config)
    records = gather([tmp_path, tmp_path / "a"])  # the first one is named twice
    assert differing_keys(records) == ["loss"]
    assert {key: len(group) for key, group in split(records, ["loss"]).items()} == {("mse",): 2, ("ce",): 1}
    assert [name for name in final_table(records) if "loss" in name] == ["config.loss", "loss", "loss_std"]


def test_naming_keys_leave_out_what_follows_from_others(tmp_path: Path) -> None:
    for depth in (1, 2):
        write_run(tmp_path / str(depth), [row(3)], head__depth=depth, epochs=10 * depth)
    records = gather([tmp_path])
    assert differing_keys(records) == ["head.depth", "epochs"]
    assert naming_keys(records) == ["head.depth"]


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    frame = final_table(gather([sweep(tmp_path)]))
    first, second = csv.DictReader(io.StringIO(as_csv(frame)))
    assert float(first["loss"]) == frame["loss"][0]
    assert float(first["loss_std"]) == frame["loss_std"][0]
    assert second["loss_std"] == second["nc1"] == ""


def test_markdown_and_latex_of_a_table_written_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "dataset.name": ["fashion_mnist", None],
            "counts": [(50, 10), (1, 2)],
            "seeds": [2, 1],
            "train_accuracy": [0.98765, 1.0],
            "nc1": [1.23456e-5, None],
            "nc1_std": [2.34e-7, None],
        },
        dtype=object,
    )
    assert as_markdown(frame).splitlines() == [
        "| dataset.name | counts | seeds | train_accuracy | nc1 |",
        "| --- | --- | ---: | ---: | ---: |",
        "| fashion_mnist | [50,10] | 2 | 0.9877 | 1.235e-05 ± 2.3e-07 |",
        "|  | [1,2] | 1 | 1 |  |",
    ]
    assert as_latex(frame).splitlines() == [
        r"\begin{tabular}{llrrr}",
        r"\toprule",
        r"dataset.name & counts & seeds & training accuracy & $\mathrm{NC1}$ \\",
        r"\midrule",
        r"fashion\_mnist & {[}50,10{]} & $2$ & $0.9877$ & $1.235\cdot10^{-5} \pm 2.3\cdot10^{-7}$ \\",
        r" & {[}1,2{]} & $1$ & $1$ &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no LaTeX")
def test_latex_compiles_with_booktabs_alone(tmp_path: Path) -> None:
    table = as_latex(final_table(gather([sweep(tmp_path / "runs")])))
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + table + r"\end{document}"
    (tmp_path / "t.tex").write_text(document)
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path, check=True)


def test_a_papers_table_names_the_experiment_and_what_differs_within_one(tmp_path: Path) -> None:
    for name, depth, width in (("p/a", 1, 8), ("p/a", 3, 8), ("p/b", 1, 16)):
        folder = tmp_path / f"{name}-{depth}"
        write_run(folder, [row(3)], experiment=name, scale="cpu", head__depth=depth, model__width=width)
    written = write_tables(gather([tmp_path]), tmp_path / "out" / "table-cpu")
    assert [path.name for path in written] == ["table-cpu.md", "table-cpu.csv", "table-cpu.tex"]
    frame = pd.read_csv(written[1])
    assert list(frame)[:4] == ["experiment", "scale", "head.depth", "seeds"]  # the width follows from the experiment
    assert written[0].read_text().startswith("| experiment | head.depth | seeds |")  # one scale, which the name says
    assert list(frame["experiment"]) == ["p/a", "p/a", "p/b"]


def test_a_papers_table_keeps_what_was_written_of_other_experiments(tmp_path: Path) -> None:
    """One experiment after the other is all of them at once, but for what only some of them name; the last one wins."""
    for name, scale, depth, loss in (("p/b", "cpu", 1, 0.1), ("p/b", "cpu", 3, 1 / 3), ("p/a", "paper", 1, 0.25)):
        write_run(tmp_path / f"{name}-{depth}", [row(3, loss=loss)], experiment=name, scale=scale, head__depth=depth)
    together, table = tmp_path / "together", tmp_path / "out" / "table-cpu"
    write_tables(gather([tmp_path / "p"]), together)
    write_tables(gather([tmp_path / "p" / "b-1"]), table)  # of another time
    b_runs = gather([tmp_path / "p" / "b-1", tmp_path / "p" / "b-3"])
    for runs in (b_runs, gather([tmp_path / "p" / "a-1"]), b_runs):
        write_tables(runs, table)
    expected, found = (pd.read_csv(f"{path}.csv").sort_values("loss") for path in (together, table))
    assert list(found["experiment"]) == ["p/b", "p/a", "p/b"]
    assert list(found["scale"]) == ["cpu", "paper", "cpu"]
    pd.testing.assert_frame_equal(found.drop(columns="head.depth"), expected.drop(columns="head.depth"))
    assert "| p/a | paper |" in table.with_suffix(".md").read_text()
    table.with_suffix(".csv").write_text("mine\n1\n")
    write_tables(b_runs, table)
    assert list(pd.read_csv(table.with_suffix(".csv"))["experiment"]) == ["p/b", "p/b"]


def test_command_prints_text_and_writes_by_the_ending(ncrun: Command, workdir: Path) -> None:
    sweep(workdir / "runs")
    printed = ncrun("table", "runs", "--columns", "loss,nc1")
    assert (printed.status, printed.err) == (0, "")
    assert printed.out.splitlines() == [
        "head.depth  seeds        loss            nc1",
        "1               3  0.3 ± 0.26  2e-05 ± 1e-05",
        "3               1        0.25",
    ]
    markdown = ncrun("table", "runs", "--columns", "loss,nc1", "--format", "markdown").out
    assert markdown.splitlines()[0] == "| head.depth | seeds | loss | nc1 |"
    assert ncrun("table", "runs/a0", "runs/a1", "--out", "tables/t.csv").status == 0
    assert list(pd.read_csv(workdir / "tables" / "t.csv")["seeds"]) == [2]
    assert ncrun("table", "runs", "--format", "latex", "--out", "t.txt").status == 0
    assert (workdir / "t.txt").read_text().startswith(r"\begin{tabular}")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_text_fits_the_terminal_and_names_what_it_leaves_out(tmp_path: Path, width: int) -> None:
    """Settings that follow from others and the less telling numbers make room; files have every column."""
    for depth, wide in ((1, 8), (3, 16)):
        for seed in (0, 1):
            numbers = dict.fromkeys(("nc1", "nc2_w", "nc2_h", "nc3", "nc4", "gap", "test_accuracy"), 0.1 * (1 + seed))
            config = {"head__depth": depth, "model__width": wide, "seed": seed}
            write_run(tmp_path / f"{depth}-{seed}", [row(3, loss=0.2 + seed, **numbers)], **config)
    frame = final_table(gather([tmp_path]))
    text = as_text(frame, width)
    *table, _, last = text.splitlines()
    assert max(map(len, table)) <= width
    header = table[0].split()
    assert header[:3] == ["head.depth", "seeds", "loss"]  # model.width follows
    hidden = last.removeprefix("not shown: ").partition(" (")[0].split(", ")
    assert sorted([*header, *hidden]) == sorted(name for name in frame if not str(name).endswith("_std"))
    assert as_text(frame).splitlines()[0].split() == [name for name in frame if not str(name).endswith("_std")]


def test_tables_and_plots_need_no_torch(tmp_path: Path) -> None:
    write_run(tmp_path / "run", [row(1, loss=0.7), row(3)])
    commands = [["table", "run"], ["plot", "run", "y=loss"]]
    code = f"import sys; sys.modules['torch'] = None; from ncrun import cli; sys.exit(sum(map(cli.run, {commands})))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=PATIENCE_S, capture_output=True)


def test_unfinished_runs_are_named_and_left_out(ncrun: Command, workdir: Path) -> None:
    write_run(workdir / "runs" / "a", [row(3)])
    write_run(workdir / "runs" / "b", [row(1)], state="interrupted", seed=1)
    result = ncrun("table", "runs")
    assert "runs/b: is not finished (interrupted)" in result.err
    assert result.out.splitlines()[1].split()[:2] == ["1", "0.5"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["RUN"]),
        (["nowhere"], ["nowhere", "no such folder"]),
        (["empty"], ["empty", "holds no run"]),
        (["runs", "--columns", "nc"], ["--columns=nc:", "nc1", "train_accuracy"]),
        (["runs", "--columns", "class.margin"], ["class.margin", "list"]),
        (["runs", "--format", "html"], ["'html'", "markdown", "csv", "latex"]),
        (["runs", "--out", "table.html"], ["--out=table.html", ".csv"]),
        (["unfinished"], ["none of these runs is finished"]),
    ],
    ids=str,
)
def test_refusals(arguments: list[str], parts: list[str], refused: Refused, workdir: Path) -> None:
    write_run(workdir / "runs" / "a", [row(3, **{"class.margin": [0.1, 0.2]})])
    (workdir / "empty").mkdir()
    write_run(workdir / "unfinished" / "a", [row(1)], state="failed")
    line = refused("table", *arguments)
    for part in parts:
        assert part in line
