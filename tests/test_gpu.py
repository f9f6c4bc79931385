"""What only a CUDA device can show. Run with  .venv/bin/pytest -m gpu."""

import json
from pathlib import Path

import pytest
import torch

from ncrun.metrics import Head, collapse_metrics, scan
from ncrun.theory import Setting, predict

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def test_metrics_on_the_device_equal_those_on_the_cpu() -> None:
    """Float64 sums in another order: equal to 1e-9, far below what any reader of a metric sees."""
    generator = torch.Generator().manual_seed(0)
    counts = (40, 20, 10, 1)
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(counts))
    features = torch.randn(4, 32, generator=generator)[labels] + 0.1 * torch.randn(71, 32, generator=generator)
    weights = [torch.randn(16, 32, generator=generator).double(), torch.randn(4, 16, generator=generator).double()]
    target = predict(Setting("mse", counts, (32, 16), False, (1e-3, 1e-3), 1e-3))
    found = []
    for device in ("cpu", "cuda"):
        head = Head([weight.to(device) for weight in weights], torch.zeros(4, dtype=torch.float64, device=device))
        split = scan(features.to(device), labels.to(device), head)
        found.append(collapse_metrics(split, head, target, target))
    for key, value in found[0].items():
        assert found[1][key] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), key


@pytest.mark.parametrize("model", ["model=mlp", "model.batch_norm=true", "model=resnet18 model.width=0.25"])
def test_training_on_the_device(model: str, ncrun, workdir: Path) -> None:
    result = ncrun("train", "epochs=3", "device=cuda", *model.split(), "run_dir=run")
    assert result.status == 0
    assert json.loads((workdir / "run" / "manifest.json").read_text())["device"] != "cpu"
