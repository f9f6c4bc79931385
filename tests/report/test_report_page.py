"""What a report holds, and what is refused; how it looks is tested in a browser."""

import base64
import gzip
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Command, Refused, write_run

from ncrun.records.read import find_records, load_record
from ncrun.records.table import last_row
from ncrun.report import packed
from ncrun.report.gathered import gather, records_of
from ncrun.report.packed import rounded, shares, thinned
from ncrun.report.page import page

plotly = pytest.importorskip("plotly")
RESULTS = Path(__file__).parents[2] / "results"
# Unequal classes, heads of one to six layers, squared loss and cross-entropy.
ARCHIVES = (RESULTS / "dang2023-real.zip", RESULTS / "sukenik2023-real.zip")


def runs_in(text: str) -> list[dict[str, Any]]:
    """What a page says of its runs, one after the other."""
    found = re.findall(r'<script type="application/gzip" class="packed">([^<]*)</script>', text)
    return [json.loads(gzip.decompress(base64.b64decode(each))) for each in found]


def table_in(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)
    assert found
    table: dict[str, Any] = json.loads(found[1])
    return table


def test_a_page_holds_the_numbers_of_its_records() -> None:
    """Last row and predictions to five digits, every column, matrices, and the theory's words."""
    gathered = gather(ARCHIVES)
    text = page(gathered, "ours")
    table, runs = table_in(text), runs_in(text)
    assert len(gathered) == len(runs) == len(table["rows"]) == sum(len(find_records(path)) for path in ARCHIVES)
    keys = [column["key"] for column in table["columns"]]
    for (_, record), run, row in zip(records_of(gathered), runs, table["rows"], strict=True):
        last, columns = last_row(record), run["curves"]["columns"]
        assert set(columns) == set(record.metrics) - {"cosines.w", "cosines.h"}  # of all pairs: for figures
        for key, value in ((key, last[key]) for key in columns):
            here = [each[-1] for each in columns[key]] if isinstance(value, list) else columns[key][-1]
            ours, theirs = np.array([here], dtype=float), np.array([value], dtype=float)
            np.testing.assert_allclose(ours, theirs, rtol=6e-5)  # half a unit in the fifth digit
        assert row["values"][keys.index("nc1")] == rounded(last["nc1"])
        predicted = run["curves"]["predicted"]
        assert predicted.get("loss") == rounded(record.theory["objective"])
        assert run["theory"][0][1].startswith(f"{record.theory['claim']}: ")
        assert dict(run["config"])["model.name"] == record.config["model"]["name"]
        for matrix, name in zip(run["matrices"]["shown"], ("weight_gram", "feature_gram", "logits"), strict=False):
            if not record.theory["scale_free"]:
                np.testing.assert_allclose(matrix["predicted"], record.theory[name], rtol=6e-5)


def test_a_page_may_run_its_own_scripts_alone_and_ask_nobody() -> None:
    """Its policy names the hashes of the script that it holds and of the library; and no address is in it."""
    text = page(gather(ARCHIVES[:1]), "ours")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy
    assert len(script) == 1
    library = gzip.decompress(base64.b64decode(re.findall(r'id="library">([^<]*)<', text)[0]))
    hashes = [base64.b64encode(hashlib.sha256(each).digest()).decode() for each in (script[0].encode(), library)]
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].replace("&#39;", "'").split(";"))
    assert rules["script-src"] == " ".join(f"'sha256-{each}'" for each in hashes)
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    assert not re.search(r'(src|href)="?https?:', text)


def test_many_numbers_are_shared_out() -> None:
    """What small runs do not need, larger ones have, and all together keep to the budget."""
    whole = int(packed.BUDGET / packed.BYTES_PER_NUMBER)
    wanted = [10, whole, 5 * whole, 100]
    found = shares(wanted)
    assert found[0] == 10
    assert found[3] == 100
    assert found[1] == pytest.approx(found[2], abs=1)
    assert whole - 2 <= sum(found) <= whole
    assert shares([3, 4]) == [3, 4]


def test_rows_are_thinned_on_both_scales() -> None:
    """First, last and the first ten of ten thousand stay, and no gap is longer than a twentieth."""
    kept = thinned(pd.DataFrame({"epoch": range(10_000)}), 100)["epoch"].to_numpy()
    assert len(kept) <= 100
    assert list(kept[:4]) == [0, 1, 2, 3]
    assert kept[-1] == 9999
    assert np.diff(kept).max() < 500
    assert rounded([1.0, 0.123456789, float("nan"), None, 7]) == [1, 0.12346, None, None, 7]


def test_a_large_report_keeps_below_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small budget fewer epochs are shown, and the page says so; the last stays."""
    gathered = gather(ARCHIVES[:1])
    whole = page(gathered, "ours")
    monkeypatch.setattr(packed, "BUDGET", 60_000)
    small = page(gathered, "ours")
    assert len(small) < len(whole) - 200_000
    for run, (_, record) in zip(runs_in(small), records_of(gathered), strict=True):
        assert run["curves"]["rows"][0] < run["curves"]["rows"][1] == len(record.metrics)
        assert run["curves"]["columns"]["epoch"][-1] == record.metrics["epoch"].iloc[-1]
        assert any("measured epochs" in said for said in run["warnings"])


def test_what_cannot_be_read_is_named_beside_the_others(ncrun: Command, workdir: Path) -> None:
    """A damaged run and one that is not begun leave the others alone; an unfinished one is shown as far as it is."""
    whole = write_run(workdir / "runs" / "whole", [{"epoch": 0}, {"epoch": 1}])
    write_run(workdir / "runs" / "going", [{"epoch": 0}], state="running")
    torn = write_run(workdir / "runs" / "torn", [{"epoch": 1}])
    (torn / "metrics.jsonl").write_text("{\n")
    begun = write_run(workdir / "runs" / "begun", [])
    (begun / "theory.json").unlink()
    result = ncrun("report", "runs", "--out", "deep/er/page.html")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("deep/er/page.html: 4 runs, ")
    table = table_in((workdir / "deep/er/page.html").read_text())
    assert [(row["name"], row["state"]) for row in table["rows"]] == [("going", "interrupted"), ("whole", "done")]
    assert [(each["name"], each["state"]) for each in table["unread"]] == [("begun", "not begun"), ("torn", "damaged")]
    assert load_record(whole).metrics["epoch"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder or .zip archive"),
        (["empty"], "empty: holds no run"),
        ([], "report: the following arguments are required: RUN"),
        (["runs", "--out", "empty"], "--out=empty: is a folder; name a file"),
        (
            ["runs", "--out", "file/page.html"],
            "--out=file/page.html: cannot be written ({}/file is not a folder that you may write to)",
        ),
        (["runs", "--out", "/proc/page.html"], "--out=/proc/page.html: cannot be written (No such file or directory)"),
        (["runs", "--serve", "--out", "page.html"], "--out: has no effect with --serve, which writes nothing"),
        (["runs", "--port", "80"], "--port: has no effect without --serve"),
        (["runs", "--serve", "--port", "0"], "--port=0: must be in [1, 65535]"),
    ],
)
def test_what_cannot_be_reported_is_refused(refused: Refused, workdir: Path, arguments: list[str], said: str) -> None:
    (workdir / "empty").mkdir()
    (workdir / "file").touch()
    write_run(workdir / "runs" / "one", [{"epoch": 1}])
    assert refused("report", *arguments) == said.replace("{}", str(workdir))


def test_without_plotly_the_command_to_install_it_is_said(
    refused: Refused, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ncrun.report.page import library

    library.cache_clear()
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    write_run(workdir / "one", [{"epoch": 1}])
    line = refused("report", "one")
    assert line == "ncrun report needs plotly, which is not installed: pip install 'plotly>=6'"
