"""From the singular values of a linear head's optimal logits to the Gram matrices of its layers.

At every optimum of a deep linear head the M layers and the features have equal decay terms: with
z the singular values of the logits times sqrt(n_k), Lambda = lam_H * prod_m lam_W_m and
    e = (Lambda z^2)^(1/(M+1)),
the squared singular values of W_m are e / lam_W_m and those of the class means times sqrt(n_k) are e / lam_H.
Source: Dang et al. 2023, stationarity conditions; the Schatten quasi-norm of a product of M+1 factors.
"""

import numpy as np
from numpy.typing import NDArray

from ncrun.problem import Problem
from ncrun.theory.class_matrix import ClassMatrix
from ncrun.theory.exchangeable import Entries, Kinds
from ncrun.theory.prediction import Array, LayerTarget, Prediction, Tie
from ncrun.theory.products import mean_decay, running_products
from ncrun.theory.spectra import AnySpectrum


def shared_penalty(problem: Problem, kept: Array) -> Array:
    """e above, (r,): along each direction every one of the M+1 factors has the penalty e/2.

    kept: (r,) singular values of the optimal logits times sqrt(n_k).
    """
    return np.asarray(mean_decay(problem) * kept ** (2 / (problem.depth + 1)))


def balanced_powers(problem: Problem, kept: Array) -> tuple[list[Array], list[Array]]:
    """Squared singular values of each suffix W_M..W_m and of its input times sqrt(n_k), for m = 1..M.

    kept: (r,) singular values of the optimal logits times sqrt(n_k).
    """
    assert problem.feature_decay is not None
    energy = shared_penalty(problem, kept)
    layers = [energy / decay for decay in problem.weight_decays]
    weights = running_products(reversed(layers))[::-1]
    features = running_products([energy / problem.feature_decay, *layers[:-1]])
    return weights, features


def assemble(
    problem: Problem,
    spectrum: AnySpectrum,
    kept: Array,
    weight_powers: list[Array],
    feature_powers: list[Array],
    rank: int,
) -> Prediction:
    """Turns values along the spectrum's directions into K x K matrices, with a separate entry for ties at a bottleneck.

    The result has claim "none"; the caller replaces it.
    """
    counts = np.asarray(problem.counts, dtype=float)
    open_directions, open_rank = _open_directions(spectrum.values, kept, rank)
    fixed = np.where(open_directions, 0.0, 1.0)
    axes = spectrum.axes_of(problem)
    layers = tuple(
        LayerTarget(axes.weights(w * fixed), axes.features(h * fixed))
        for w, h in zip(weight_powers, feature_powers, strict=True)
    )
    tie = None
    if open_rank:
        # Only equal counts tie, so D is a multiple of the identity on the tied directions: left and right agree there.
        classes = spectrum.classes_along(open_directions)
        kept_one = int(np.flatnonzero(open_directions)[0])
        count = float(counts[classes[0]])
        tie = Tie(
            len(counts),
            classes,
            int(open_directions.sum()) < len(classes),
            open_rank,
            tuple(float(w[kept_one]) for w in weight_powers),
            tuple(float(h[kept_one]) / count for h in feature_powers),
            float(kept[kept_one]) / count**0.5,
        )
    logits = axes.logits(kept * fixed)
    mean_rank = None if tie is not None else centred_rank(layers[0].features, counts)
    return Prediction(problem, "none", "", layers=layers, class_logits=logits, tie=tie, mean_rank=mean_rank)


def centred_rank(features: ClassMatrix, counts: Array) -> int:
    """Rank of the class means after subtracting their sample-weighted mean, from their (K, K) Gram matrix."""
    K = len(counts)
    # Squared singular values round at eps times the largest entry that was subtracted.
    rounding = 1e-13 * K * max(float(features.own.max()), np.finfo(float).tiny)
    if features.is_diagonal:
        number = int((features.own > rounding).sum())
        return number - (number == K)  # of independent means the differences have one dimension less
    kinds = Kinds(features.of_class)
    gram = kinds.packed(Entries(features.off, features.own[kinds.members]))
    root = np.sqrt(kinds.sizes)
    centring = np.eye(len(root)) - np.outer(root, root * counts[kinds.members] / counts.sum())
    block = np.linalg.eigvalsh(centring @ gram[:-1] @ centring.T)
    apart = gram[-1] / np.where(kinds.sizes > 1, kinds.rest, 1)
    return int((block > rounding).sum() + ((kinds.sizes - 1) * (apart > rounding)).sum())


def ties(values: Array, rank: int) -> bool:
    """Whether the first direction that a bottleneck drops is as strong as the last one that it keeps."""
    return rank < len(values) and bool(np.isclose(values[rank], values[rank - 1], rtol=1e-9, atol=0))


def _open_directions(values: Array, kept: Array, rank: int) -> tuple[NDArray[np.bool_], int]:
    """The directions that tie for the last places of a bottleneck, and how many of them it keeps (0: no tie)."""
    if not ties(values, rank) or kept[rank - 1] == 0:
        return np.zeros(len(values), dtype=bool), 0
    tied = np.isclose(values, values[rank - 1], rtol=1e-9, atol=0)
    return tied, int(tied[:rank].sum())
