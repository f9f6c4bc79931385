"""Metrics as entries: the documentation and labels made from them, and a user's own from a file outside the package."""

import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import PATIENCE_S, TINY, Command, rows, state
from metric_cases import measured, random_case
from rich.console import Console

from ncrun import measure
from ncrun.errors import UserError
from ncrun.metrics import METRICS, Metric, heading_of, words_of
from ncrun.training.display import Display

ROOT = Path(__file__).parents[2]
MY_METRIC = """
from ncrun.metrics import METRICS, Metric


def effective_rank(measured):
    shares = measured.singular_values / measured.singular_values.sum()
    shares = shares[shares > 0]
    return (-(shares * shares.log()).sum()).exp()


METRICS.add(
    Metric(
        "effective_rank",
        words="effective rank of the class means",
        latex=r"$\\\\mathrm{erank}$",
        definition="exp of the entropy of the class means' singular values, divided by their sum",
        function=effective_rank,
        levels=("run", "head", "tap", "test"),
        live="eff. rank",
    )
)
"""


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clean() -> Iterator[None]:
    """No metric added by a test outlives it."""
    yield
    METRICS.forget_added()


def mine(function: Any, **more: Any) -> Metric:
    return METRICS.add(Metric("mine", "mine", "mine", "mine", function, **more))


# --- what is made from the entries


def test_no_torch_is_needed_to_name_columns() -> None:
    """Also not by the figures that take their labels from there."""
    code = "import sys, ncrun.metrics, ncrun.figures, ncrun.figures.convergence, ncrun.figures.plot"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True, timeout=PATIENCE_S)


def test_every_column_of_a_row_is_explained() -> None:
    """Of random heads with a test split; those of a run are looked at below."""
    for seed in range(10):
        for column in measured(random_case(np.random.default_rng(seed))):
            assert words_of(column), column


def test_a_column_says_where_it_was_measured() -> None:
    words = "NC1: within-class spread"
    assert words_of("head.2.nc1") == f"{words}, head layer 2"
    assert words_of("tap.stage1.0.nc1") == f"{words}, tap stage1.0"
    assert words_of("test.nc1") == f"{words}, test split"
    assert words_of("test.nc1_train_means") == METRICS["test.nc1_train_means"].name
    assert words_of("nosuch") == words_of("head.2.nosuch") == ""
    assert heading_of("test.nc1") == ("NC1, test split", "within-class spread")
    assert heading_of("balanced.nc2_w") == ("NC2(W)", "relative distance")
    assert heading_of("loss") == ("loss", "")
    assert heading_of("nosuch") == ("nosuch", "")


def test_the_reference_has_the_columns_of_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: None) -> None:
    """scripts/write_docs.py --check: true of the repository, false once a definition is new, true when written."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script = loaded(ROOT / "scripts" / "write_docs.py")
    monkeypatch.setattr(script, "PAGES", {"metrics": script.PAGES["metrics"]})  # all of them take seconds
    monkeypatch.setattr(script, "REFERENCE_PYTHON", sys.version_info[:2])  # this page is the same with each
    page = Path("docs", "reference", "metrics.md")
    (tmp_path / page).parent.mkdir(parents=True)
    for name in (*script.TABLES, page):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(script, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["write_docs.py", "--check"])
    assert script.main() == 0
    mine(lambda _: 1.0)
    assert script.main() == 1
    assert (tmp_path / page).read_bytes() == (ROOT / page).read_bytes()
    monkeypatch.setattr(sys, "argv", ["write_docs.py"])
    assert script.main() == 0
    assert "| `mine` | mine |" in (tmp_path / page).read_text()
    monkeypatch.setattr(sys, "argv", ["write_docs.py", "--check"])
    assert script.main() == 0


def test_the_live_display_shows_what_has_a_heading(clean: None) -> None:
    mine(lambda _: 1.0, live="my own")
    display = Display("run", 3, False)
    display(1, {"loss": 0.5, "nc1": 0.25, "mine": 4.0, "gap": None, "nc4": 0.125})
    console = Console(width=120)
    with console.capture() as captured:
        console.print(display._render())
    shown = captured.get()
    assert all(word in shown for word in ("loss", "NC1", "my own", "0.5", "0.25", "4"))
    assert not any(word in shown for word in ("gap", "NC4", "0.125"))


# --- a user's own metric


@pytest.mark.usefixtures("undrawn")
def test_a_metric_from_a_users_file(ncrun: Command, workdir: Path, tmp_path: Path, clean: None) -> None:
    """Logged at each of its levels, drawn, tabulated and measured elsewhere. 1e-6: the singular values that a run
    writes down are of the same float64 means."""
    file = tmp_path / "my_metric.py"
    file.write_text(MY_METRIC)
    loaded(file)
    assert ncrun("train", *TINY, "head.depth=2", "taps=[relu1]", "run_dir=run").status == 0
    last = rows(workdir / "run")[-1]
    stored = json.loads((workdir / "run" / "geometry.json").read_text())["singular_values"]
    for layer, values in stored.items():
        shares = np.array(values) / sum(values)
        shares = shares[shares > 0]
        assert last[f"{layer}.effective_rank"] == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert last["effective_rank"] == last["head.1.effective_rank"]
    assert 1 < last["test.effective_rank"] < 8
    for column in last:
        assert words_of(column), column

    assert ncrun("plot", "run", "y=effective_rank,tap.relu1.effective_rank", "out=mine.png").status == 0
    table = ncrun("table", "run", "--columns", "effective_rank,nc1", "--format", "csv").out.splitlines()
    assert "effective_rank" in table[0]
    assert repr(last["effective_rank"]) in table[1]
    rng = np.random.default_rng(0)
    found = measure(rng.normal(size=(12, 5)), np.arange(12) % 3, rng.normal(size=(3, 5)))
    assert 1 <= found.metrics["effective_rank"] <= 3
    assert "effective_rank" in str(found)

    METRICS.forget_added()  # records outlive the file that made a column
    assert ncrun("plot", "run", "y=effective_rank", "out=later.png").status == 0
    assert "effective_rank" in ncrun("table", "run", "--columns", "effective_rank").out


@pytest.mark.usefixtures("undrawn")
def test_a_number_that_is_none_ends_the_run_by_name(ncrun: Command, workdir: Path, clean: None) -> None:
    mine(lambda measured: math.nan)
    result = ncrun("train", *TINY, "run_dir=run")
    assert result.status == 1
    assert "mine is nan" in result.err
    assert state(workdir / "run") == "failed"


def test_what_a_metric_may_return(clean: None) -> None:
    """None is null; NumPy's and PyTorch's numbers and vectors become plain ones. Not finite, or a FloatingPointError:
    diverged. Any other exception is the function's own."""
    case, answer = random_case(np.random.default_rng(0)), [None]
    mine(lambda measured: answer[0](measured))  # type: ignore[misc]

    def answered(function: Any) -> Any:
        answer[0] = function
        return measured(case)["mine"]

    K = case.problem.num_classes
    assert answered(lambda m: None) is None
    assert answered(lambda m: np.float64(2.5)) == 2.5
    assert answered(lambda m: m.means.means.sum(dim=1) * 0) == [0.0] * K
    assert type(answered(lambda m: m.features.sum())) is float
    assert json.loads(json.dumps(answered(lambda m: m.weight_gram.diagonal()))) == pytest.approx(
        measured(case)["class.weight_norm_sq"], rel=1e-12
    )
    for bad in (math.inf, [1.0, math.nan]):
        with pytest.raises(FloatingPointError, match=r"^mine is (inf|nan)"):
            answered(lambda m, bad=bad: bad)
    with pytest.raises(ZeroDivisionError):
        answered(lambda m: 1 / 0)


def test_the_features_of_a_layer_are_its_own(clean: None) -> None:
    """What a metric is given at head.m are features, means and weights that belong together. 1e-5: float32 products."""
    mine(lambda m: float((m.features.double().mean(dim=0) - m.means.overall).norm()), levels=("head",))
    for seed in range(10):
        case = random_case(np.random.default_rng(seed))
        values = measured(case)
        for m in range(len(case.weights)):
            assert values[f"head.{m + 1}.mine"] < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "nc1"}, "metric=nc1: exists already"),
        ({"key": "head.mine"}, "metric=head.mine: head. is the prefix"),
        ({"key": "test.mine"}, "metric=test.mine: test. is the prefix"),
        ({"key": "my own"}, "metric=my own: a key consists of letters"),
        ({"levels": "run"}, "metric=mine: levels=run: not a tuple of run, head"),
        ({"levels": ("run", "layer")}, "metric=mine: levels=layer: not a tuple of run, head"),
    ],
)
def test_refused_metrics(change: dict[str, Any], message: str, clean: None) -> None:
    with pytest.raises(UserError, match=rf"^{message}"):
        METRICS.add(
            Metric(**({"key": "mine", "words": "", "latex": "", "definition": "", "function": lambda m: 1.0} | change))
        )
