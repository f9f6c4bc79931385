"""Compares ncrun's numbers with those of other people's code on the same features; prints Markdown tables.

    PYTHONPATH=FOLDER python scripts/parity.py

FOLDER is an unmodified copy of one of these; modules that cannot be imported are skipped and named. Use one at a time,
because two of them have modules of the same names:

neural_collapse         github.com/rhubarbwu/neural-collapse (a package; may be installed instead)
validate_NC             github.com/tding1/Neural-Collapse (Zhu et al. 2021)
validate_NC, validate_NC_unbalanced
                        github.com/Fsoft-AIC/Neural-Collapse-in-Deep-Linear-Networks (Dang et al. 2023)
validate_NC_unbalanced  github.com/Fsoft-AIC/Cross-Entropy-Imbalanced (Dang et al. 2024)
nc_analysis             the cell `analysis` of github.com/neuralcollapse/neuralcollapse, saved as nc_analysis.py
                        (Papyan, Han and Donoho 2020; Han, Papyan and Donoho 2022)

Their functions run unchanged on the CPU: without a GPU `.cuda()` returns the tensor itself, and constants with a data
set's class counts are set to those of the features.
"""

import contextlib
import importlib.util
import math
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bench_meter import exact_nc1
from torch import Tensor, nn

import ncrun

K, WIDTH = 10, 64
DECAY_WEIGHT, DECAY_FEATURE = 1e-3, 1e-4
Pairs = dict[str, tuple[Any, Any]]  # what is compared -> ncrun's number, theirs


@dataclass(frozen=True)
class Case:
    """Features, labels and a classifier near the duals of the class means."""

    name: str
    features: Tensor
    labels: Tensor
    weight: Tensor
    bias: Tensor

    def measured(self, biased: bool) -> dict[str, Any]:
        """ncrun's columns for the squared loss, with a last-layer bias or without."""
        bias = self.bias if biased else None
        stated: dict[str, Any] = {"decay_weight": DECAY_WEIGHT, "decay_feature": DECAY_FEATURE}
        return ncrun.measure(
            self.features, self.labels, self.weight, bias, nonnegative_features=False, **stated
        ).metrics

    @property
    def counts(self) -> list[int]:
        return [int(n) for n in torch.bincount(self.labels)]

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        parts = [slice(start, start + 250) for start in range(0, len(self.labels), 250)]
        return [(self.features[part], self.labels[part]) for part in parts]


def cases(dtype: torch.dtype) -> Iterator[Case]:
    for name, spread, counts in (
        ("well spread", 0.5, [200] * K),
        ("near collapse", 1e-4, [200] * K),
        ("two classes merge", 1e-4, [200] * K),
        ("imbalanced", 0.5, [400, 360, 320, 280, 240, 200, 160, 120, 100, 80]),
    ):
        generator = torch.Generator().manual_seed(0)
        means = torch.randn(K, WIDTH, generator=generator, dtype=torch.float64) + 0.5
        if name == "two classes merge":
            means[9] = means[8] + 1e-4 * torch.randn(WIDTH, generator=generator, dtype=torch.float64)
        labels = torch.repeat_interleave(torch.arange(K), torch.tensor(counts))
        noise = torch.randn(len(labels), WIDTH, generator=generator, dtype=torch.float64)
        order = torch.randperm(len(labels), generator=generator)
        weight = (means - means.mean(dim=0)) / WIDTH
        weight = weight + 0.05 / WIDTH**0.5 * torch.randn(K, WIDTH, generator=generator, dtype=torch.float64)
        bias = 0.1 * torch.randn(K, generator=generator, dtype=torch.float64)
        features = (means[labels] + spread * noise)[order]
        yield Case(name, features.to(dtype), labels[order], weight.to(dtype), bias.to(dtype))


def exact(case: Case) -> Pairs:
    """NC1 with 64-bit mantissas and 50 digits, to decide which number is right if two differ."""
    found = exact_nc1(case.features.numpy(), case.labels.numpy(), K)
    return {"nc1 : exact": (case.measured(True)["nc1"], found)}


def rhubarbwu(case: Case, nc: Any) -> Pairs:
    """The accumulators and measures of its README, in the features' precision."""
    accumulate, measure = nc.accumulate, nc.measure
    given = (K, WIDTH, "cpu", case.features.dtype)
    means = accumulate.MeanAccumulator(*given)
    for features, labels in case.batches():
        means.accumulate(features, labels)
    M, unweighted = means.compute()
    counts = torch.tensor(case.counts).to(M.dtype)
    weighted = counts @ M / counts.sum()  # for means, compute(weighted=True) raises an error about shapes
    covariance = accumulate.CovarAccumulator(*given, M=M)
    variances = accumulate.VarNormAccumulator(*given, M=M)
    decisions = accumulate.DecAccumulator(*given, M=M, W=case.weight)
    for features, labels in case.batches():
        covariance.accumulate(features, labels, M)
        variances.accumulate(features, labels, M)
        decisions.accumulate(features, labels, case.weight, M)
    within, norms = covariance.compute(), variances.compute()[0]
    biased, plain = case.measured(True), case.measured(False)
    return {
        "nc1 : covariance_ratio(.., mG)": (biased["nc1"], measure.covariance_ratio(within, M, unweighted)),
        "nc1 : covariance_ratio(.., weighted mG)": (biased["nc1"], measure.covariance_ratio(within, M, weighted)),
        "nc1 : covariance_ratio(.., weighted mG, 'svd')": (
            biased["nc1"],
            measure.covariance_ratio(within, M, weighted, "svd"),
        ),
        "nc1_trace : covariance_ratio(.., weighted mG, 'quotient')": (
            biased["nc1_trace"],
            measure.covariance_ratio(within, M, weighted, "quotient"),
        ),
        "cdnv : variability_cdnv": (biased["cdnv"], measure.variability_cdnv(norms, M)),
        "etf_h : simplex_etf_error(M, mG)": (biased["etf_h"], measure.simplex_etf_error(M, unweighted)),
        "nc2_h (bias) : simplex_etf_error(M, weighted mG)": (
            biased["nc2_h"],
            measure.simplex_etf_error(M, weighted),
        ),
        "nc3 (bias) : self_duality_error(W, M, weighted mG)": (
            biased["nc3"],
            measure.self_duality_error(case.weight, M, weighted),
        ),
        "nc4 (no bias) : 1 - clf_ncc_agreement": (plain["nc4"], 1 - measure.clf_ncc_agreement(decisions)),
        "equinorm_h : std / mean of mean_norms(M, mG)": (
            biased["equinorm_h"],
            float((norms_h := measure.mean_norms(M, unweighted)).std() / norms_h.mean()),
        ),
    }


class Released(nn.Module):
    """A network whose features are its input, as the released evaluation of the two papers expects it. layers: whether
    `fc` is a list of layers."""

    def __init__(self, case: Case, layers: bool) -> None:
        super().__init__()
        last = nn.Linear(WIDTH, K).to(case.features.dtype)
        with torch.no_grad():
            last.weight.copy_(case.weight)
            last.bias.copy_(case.bias)
        self.last, self.fc = last, nn.ModuleList([last]) if layers else last

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return [self.last(inputs.clone())]  # they sum means in the memory of the features


def released_sums(case: Case, theirs: Any, layers: bool, data: str) -> tuple[Any, Any, Any]:
    """Their global mean, class means and NC1."""
    network, kept = Released(case, layers).eval(), theirs.FCFeatures()
    network.last.register_forward_pre_hook(kept)
    for name in ("MNIST_TRAIN_SAMPLES", "CIFAR10_TRAIN_SAMPLES"):
        setattr(theirs, name, case.counts)
    theirs.NUM_TRAIN_SAMPLES = sum(case.counts)
    arguments = types.SimpleNamespace(device="cpu", dataset=data)
    hooks = [kept] if layers else kept
    overall, means, *_ = theirs.compute_info(arguments, network, hooks, case.batches())
    if layers:
        overall, means = overall[0], means[0]
    within = theirs.compute_Sigma_W(arguments, network, kept, means, case.batches())
    between = theirs.compute_Sigma_B(means, overall)
    return overall, means, np.trace(within @ theirs.scilin.pinv(between)) / K


def zhu(case: Case, theirs: Any) -> Pairs:
    """tding1's validate_NC."""
    overall, means, nc1 = released_sums(case, theirs, layers=False, data="mnist")
    biased = case.measured(True)
    return {
        "nc1 : collapse_metric": (biased["nc1"], nc1),
        "nc2_w (bias) : ETF_metric": (biased["nc2_w"], theirs.compute_ETF(case.weight)),
        "etf_w : ETF_metric": (biased["etf_w"], theirs.compute_ETF(case.weight)),
        "nc3 (bias) : WH_relation_metric": (
            biased["nc3"],
            theirs.compute_W_H_relation(case.weight, means, overall)[0],
        ),
    }


def dang_balanced(case: Case, theirs: Any) -> Pairs:
    """Fsoft's validate_NC."""
    overall, means, nc1 = released_sums(case, theirs, layers=True, data="mnist")
    biased, plain, W = case.measured(True), case.measured(False), case.weight
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):  # it writes two files
        identity = theirs.compute_NC3_Identity_WH(W, means)
    return {
        "nc1 : NC1": (biased["nc1"], nc1),
        "nc2_w (bias) : NC2_ETF_W": (biased["nc2_w"], theirs.compute_NC2_ETF_W(W)),
        "nc2_h (bias) : NC2_ETF_H": (biased["nc2_h"], theirs.compute_NC2_ETF_H(means, overall)),
        "nc3 (bias) : NC3_ETF_WH": (biased["nc3"], theirs.compute_NC3_ETF_WH(W, means, overall)[0]),
        "nc2_w (no bias) : NC2_Identity_W": (plain["nc2_w"], theirs.compute_NC2_Identity_W(W)),
        "nc2_h (no bias) : NC2_Identity_H": (plain["nc2_h"], theirs.compute_NC2_Identity_H(means)),
        "nc3 (no bias) : NC3_Identity_WH": (plain["nc3"], identity),
        "duality (no bias) : NC3_W_sub_H": (plain["duality"], theirs.compute_NC3_W_sub_H(W, means)),
        "duality (bias) : NC3_W_sub_H_centered": (
            biased["duality"],
            theirs.compute_NC3_W_sub_H_centered(W, means, overall),
        ),
    }


def dang_imbalanced(case: Case, theirs: Any) -> Pairs:
    """Fsoft's validate_NC_unbalanced, for which the theory of the decays is part of the metric."""
    _, means, nc1 = released_sums(case, theirs, layers=True, data="cifar10")
    plain, W = case.measured(False), case.weight
    s = theirs.compute_s(DECAY_WEIGHT, DECAY_FEATURE, 1, "cpu")
    return {
        "nc1 : NC1 (imbalanced)": (plain["nc1"], nc1),
        "nc2_w (no bias) : NC2_W_GOF": (plain["nc2_w"], theirs.compute_NC2_W_GOF(W.clone(), s, 1)),
        "nc2_h (no bias) : NC2_H_GOF": (plain["nc2_h"], theirs.compute_NC2_H_GOF(means, s, DECAY_FEATURE, 1)),
        "nc3 (no bias) : NC3_WH": (plain["nc3"], theirs.compute_NC3_WH(W, means, s, DECAY_FEATURE, 1)),
    }


def dang_cross_entropy(case: Case, theirs: Any) -> Pairs:
    """The validate_NC_unbalanced of Dang et al. 2024: features of a ReLU, cross-entropy, no bias. Its M_k has lam_W / 2
    instead of the theorem's sqrt(lam_W lam_H): equal if lam_W = 4 lam_H, but not with the released decays."""
    features, counts, pairs = case.features.relu(), case.counts, Pairs()
    network, kept = Released(case, layers=True).eval(), theirs.FCFeatures()
    network.last.register_forward_pre_hook(kept)
    batches = [(inputs.relu(), labels) for inputs, labels in case.batches()]
    arguments = types.SimpleNamespace(device="cpu")
    (overall,), (means,), *_ = theirs.compute_info(arguments, network, [kept], batches, True, counts)
    within = theirs.compute_Sigma_W(arguments, network, kept, means, batches, counts, True)
    nc1 = np.trace(within @ theirs.scilin.pinv(theirs.compute_Sigma_B(means, overall))) / K
    for weight, feature in ((4e-4, 1e-4), (1e-4, 1e-5)):
        stated: dict[str, Any] = {"loss": "ce", "decay_weight": weight, "decay_feature": feature}
        ours = ncrun.measure(features, case.labels, case.weight, nonnegative_features=True, **stated).metrics
        with contextlib.redirect_stdout(None), tempfile.TemporaryDirectory() as folder:
            M = theirs.compute_M_array(counts, feature, weight, "cpu")
            found = {
                "nc2_w : NC2_WWT": theirs.compute_NC2_WWT(case.weight.clone(), M, counts),
                "nc2_h : NC2_H": theirs.compute_NC2_H(means, feature, weight, M, counts, folder),
                "nc3 : NC3_WH": theirs.compute_NC3_WH(case.weight.clone(), means, M, folder),
            }
        decays = f"decays {weight:.0e} and {feature:.0e}"
        pairs |= {f"{name}, {decays}": (ours[name.split(" ")[0]], value) for name, value in found.items()}
        pairs["nc1 : NC1"] = (ours["nc1"], nc1)
    return pairs


def papyan(case: Case, theirs: Any) -> Pairs:
    """The notebook's analysis, with the globals that its other cells set."""

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = Released(case, False).last

        def forward(self, inputs: Tensor) -> Tensor:
            kept.value = inputs.clone()
            out: Tensor = self.last(inputs)
            return out

    kept, network = types.SimpleNamespace(), Last()
    graphs = types.SimpleNamespace(**{name: [] for name in GRAPHS})
    silent = types.SimpleNamespace(update=lambda *_: None, set_description=lambda *_: None, close=lambda: None)
    vars(theirs).update(
        torch=torch, np=np, F=nn.functional, C=K, debug=False, device="cpu", epoch=0, loss_name="MSELoss"
    )
    vars(theirs).update(tqdm=lambda **_: silent, svds=importlib.import_module("scipy.sparse.linalg").svds)
    vars(theirs).update(features=kept, classifier=network.last, weight_decay=DECAY_WEIGHT)
    theirs.analysis(graphs, network, nn.MSELoss(reduction="sum"), "cpu", K, case.batches())
    biased = case.measured(True)
    return {
        "nc1 : Sw_invSb / K": (biased["nc1"], graphs.Sw_invSb[0] / K),
        "duality (bias) : sqrt(W_M_dist)": (biased["duality"], math.sqrt(graphs.W_M_dist[0])),
        "nc4 : NCC_mismatch": (biased["nc4"], graphs.NCC_mismatch[0]),
        "equinorm_w : norm_W_CoV": (biased["equinorm_w"], graphs.norm_W_CoV[0]),
        "equinorm_h : norm_M_CoV": (biased["equinorm_h"], graphs.norm_M_CoV[0]),
        "angle_w : cos_W": (biased["angle_w"], graphs.cos_W[0]),
        "angle_h : cos_M": (biased["angle_h"], graphs.cos_M[0]),
        "train_accuracy : accuracy": (biased["train_accuracy"], graphs.accuracy[0]),
        "2 data_term : loss": (2 * biased["data_term"], graphs.loss[0]),
    }


GRAPHS = (
    *("accuracy", "loss", "reg_loss", "Sw_invSb", "norm_M_CoV", "norm_W_CoV", "cos_M", "cos_W", "W_M_dist"),
    *("NCC_mismatch", "MSE_wd_features", "LNC1", "LNC23", "Lperp"),
)
# Module, a name that only the right module has, and the comparison.
OTHERS: tuple[tuple[str, str, Callable[[Case, Any], Pairs]], ...] = (
    ("neural_collapse", "measure", rhubarbwu),
    ("validate_NC", "compute_ETF", zhu),
    ("validate_NC", "compute_NC2_ETF_W", dang_balanced),
    ("validate_NC_unbalanced", "compute_s", dang_imbalanced),
    ("validate_NC_unbalanced", "compute_NC2_WWT", dang_cross_entropy),
    ("nc_analysis", "analysis", papyan),
)


def compared(compare: Callable[..., Pairs], *theirs: Any) -> None:
    """A row for each pair, a column for each case and precision."""
    columns: list[str] = []
    rows: dict[str, list[str]] = {}
    for dtype in (torch.float64, torch.float32):
        torch.set_default_dtype(dtype)  # the dtype of tensors that they create
        for case in cases(dtype):
            columns.append(f"{case.name}, {str(dtype).removeprefix('torch.')}")
            for name, (ours, other) in compare(case, *theirs).items():
                rows.setdefault(name, []).append(difference(ours, float(other)))
    print(f"\n| ncrun : {compare.__name__} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(values)} |")


def difference(ours: float | None, theirs: float) -> str:
    """The relative difference; both numbers if it is 1e-3 or more."""
    if ours is None:
        return f"null / {theirs:.4g}"
    if ours == theirs:
        return "equal"
    relative = abs(theirs - ours) / abs(ours) if ours else math.inf
    return f"{relative:.0e}" if relative < 1e-3 else f"{ours:.4g} / {theirs:.4g}"


if __name__ == "__main__":
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    if importlib.util.find_spec("wandb") is None:
        sys.modules["wandb"] = types.ModuleType("wandb")  # one of them imports it for logging
    compared(exact)
    for module, mark, compare in OTHERS:
        try:
            theirs = importlib.import_module(module)
        except ImportError as error:
            print(f"skipped {compare.__name__}: {error}")
            continue
        if hasattr(theirs, mark):
            compared(compare, theirs)
        else:
            print(f"skipped {compare.__name__}: this {module} has no {mark}")
