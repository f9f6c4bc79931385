"""The benchmark: its two sides compute the same, and a quick run ends with a table and readable lines."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import bench
import bench_scaling
import bench_ways
from bench_baseline import outer, product
from bench_features import assert_descents_agree, assert_metrics_agree
from bench_networks import assert_agreement
from bench_problems import feature_problem, network_problem
from bench_timing import Row, gemm_seconds, linear_step, markdown

TINY_MLP = ["model.width=24", "model.depth=2", "optimizer.lr=1e-4", "epochs=1", "measure=1"]


@pytest.fixture(autouse=True)
def _random_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NCRUN_DATA", str(tmp_path))


@pytest.mark.parametrize(
    "overrides",
    [
        ["batch_size=32", "model.batch_norm=true", "head.depth=3"],
        ["batch_size=full", "model.batch_norm=false", "head.depth=1"],
    ],
    ids=["mini-batches", "full batch"],
)
def test_training_and_measuring_agree_with_the_plain_side(overrides: list[str]) -> None:
    assert_agreement(network_problem([12] * 10, 3, [*TINY_MLP, *overrides]))


def test_a_different_objective_does_not_pass_for_the_same() -> None:
    typed = [*TINY_MLP, "batch_size=32", "model.batch_norm=true"]
    problem = network_problem([12] * 10, 3, typed)
    other = network_problem([12] * 10, 3, [*typed, "decay.feature=1e-3"])
    with pytest.raises(AssertionError, match="loss"):
        assert_agreement(Mixed(problem, other))  # type: ignore[arg-type]


class Mixed:
    """One problem, except that the plain side takes the decays of another."""

    def __init__(self, problem: object, other: object) -> None:
        self.problem, self.other = problem, other

    def __getattr__(self, name: str) -> object:
        return getattr(self.other if name == "decays" else self.problem, name)


@pytest.mark.parametrize("M", [1, 3])
def test_descent_on_free_features_agrees_with_the_plain_side(M: int, undrawn: None) -> None:
    assert_descents_agree(M, 20)


@pytest.mark.parametrize("M", [1, 2])
def test_metrics_agree_with_both_scatter_matrices(M: int) -> None:
    assert_metrics_agree(feature_problem(200, 16, M=M))


def test_both_scatters_are_the_same_matrix() -> None:
    deviation = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(outer(deviation), product(deviation))


def test_limit_counts_every_product_of_a_step_once() -> None:
    # forward and weights' gradients of all layers, inputs' gradients of all but the first
    assert linear_step([(7, 5), (5, 3)], 2) == [(2, 7, 5), (2, 5, 3), (5, 2, 7), (3, 2, 5), (2, 3, 5)]
    assert gemm_seconds([(64, 64, 64)] * 3, torch.float32, 3) > 0


def test_table_has_ratio_and_share_of_the_limit() -> None:
    table = markdown([Row("w", "step", 0.5, 2.0, limit=0.25, memory=(2**20, None))], {"cpu": "x"})
    assert "| w | step | 0.5 s | 2 s, released procedure | 4 |  | 0.25 s | 50% | 1 MiB against ? |" in table
    assert table.endswith("cpu: x")


def test_quick_run_writes_table_and_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, undrawn: None
) -> None:
    threads = torch.get_num_threads()
    assert bench.main(["imbalanced", "metrics", "--quick", "--threads", "1", "--out", str(tmp_path)]) == 0
    torch.set_num_threads(threads)
    lines = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert lines[0]["machine"]["threads"] == 1
    assert {line["workload"].split(",")[0] for line in lines[1:]} == {"imbalanced", "metrics alone"}
    assert all(np.isclose(line["ratio"], line["baseline"] / line["ncrun"]) for line in lines[1:])
    assert "random images" in (tmp_path / "speed.md").read_text()
    assert (tmp_path / "speed.md").read_text().strip() in capsys.readouterr().out


def test_unknown_workload_is_answered_with_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(["walk"])
    assert stop.value.code == 2
    assert "walk: not one of mlp, imbalanced, free_features, metrics" in capsys.readouterr().err


def test_scaling_draws_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies = [bench_scaling.Study("classes K", (3, 5), lambda K: bench_scaling.measuring(60, 8, K), lambda K: 1920)]
    monkeypatch.setattr(bench_scaling, "STUDIES", studies)
    assert bench_scaling.main(["--quick", "--threads", "1", "--out", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "scaling.jsonl").read_text().splitlines()]
    assert [line["value"] for line in lines[1:]] == [3, 5]
    assert all(line["seconds"] > 0 for line in lines[1:])
    assert (tmp_path / "scaling.png").stat().st_size > 5000


@pytest.mark.parametrize("memories", [(None, None), (0, 0), (0, 5000)], ids=["unknown", "none", "one"])
@pytest.mark.parametrize("features", [1920, 0], ids=["measuring", "predicting"])
def test_scaling_draws_work_that_took_no_memory(
    tmp_path: Path, features: int, memories: tuple[int | None, int | None]
) -> None:
    points = [
        bench_scaling.Point("classes K, predicting, squared loss", K, seconds, memory, features)
        for K, seconds, memory in zip((3, 5), (1e-3, 5e-3), memories, strict=True)
    ]
    bench_scaling.draw([points], {"threads": 1}, tmp_path / "scaling")
    assert (tmp_path / "scaling.png").stat().st_size > 5000


def test_ways_to_the_optimum_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_ways, "WAYS", bench_ways.WAYS[3:5])
    given = ["--experiment", "dang2024/mlp", "--seeds", "1", "--gradients", "305", "--out", str(tmp_path / "ways.md")]
    assert bench_ways.main(given) == 0
    rows = [line.split("|")[1:-1] for line in (tmp_path / "ways.md").read_text().splitlines() if line.startswith("|")]
    assert [row[0].strip() for row in rows[2:-1]] == [way.words for way in bench_ways.WAYS]
    assert "5 iterations of L-BFGS" in rows[-1][0]
    assert len({row[1] for row in rows[2:]}) == 3  # the mean of the weights is not the last ones
    assert str(rows[-1][0].strip()) in capsys.readouterr().out
