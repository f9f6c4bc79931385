"""How many samples each class gets."""

import pytest
from conftest import RunOf

from ncrun.data.counts import class_counts, seeded_class_order


@pytest.mark.parametrize(
    ("profile", "imbalance", "counts"),
    [
        # 5000 * 0.1^(k/9), rounded down; both ends are whole numbers that floating point could miss by one
        ("exp", 0.1, [5000, 3871, 2997, 2320, 1796, 1391, 1077, 834, 645, 500]),
        ("step", 0.1, [5000] * 5 + [500] * 5),
        ("linear", 0.1, [5000, 4500, 4000, 3500, 3000, 2500, 2000, 1500, 1000, 500]),
        ("exp", 1, [5000] * 10),
        ("step", 1, [5000] * 10),
        ("linear", 1, [5000] * 10),
        ("exp", 0.001, [5000, 2320, 1077, 500, 232, 107, 50, 23, 10, 5]),
        ("step", 1e-9, [5000] * 5 + [1] * 5),
    ],
)
def test_profiles(profile: str, imbalance: float, counts: list[int]) -> None:
    assert class_counts([5000] * 10, imbalance, profile) == counts


@pytest.mark.parametrize("ratio", [0.7, 0.3, 0.29, 0.07, 0.01])
def test_smallest_class_is_exact_and_rounded_down(ratio: float) -> None:
    """n_max r in decimal arithmetic: 5000 * 0.29 is 1450, although the nearest floating-point product is below it."""
    wanted = round(ratio * 100) * 50
    assert {class_counts([5000] * 10, ratio, profile)[-1] for profile in ("exp", "step", "linear")} == {wanted}
    assert class_counts([143] * 10, 0.5, "step")[-1] == 71


def test_counts_start_at_the_smallest_class() -> None:
    assert class_counts([9, 7, 8], 1.0, "exp") == [7, 7, 7]
    assert class_counts([9, 7, 8], None, "exp") == [9, 7, 8]


def test_step_of_an_odd_number_of_classes_makes_the_smaller_half_small() -> None:
    assert class_counts([100] * 5, 0.1, "step") == [100, 100, 100, 10, 10]


def test_one_class() -> None:
    assert class_counts([50], 0.1, "exp") == [50]


def test_rare_order_permutes_the_counts() -> None:
    assert class_counts([100] * 3, 0.25, "linear", [2, 0, 1]) == [62, 25, 100]


def test_class_order_depends_on_the_seed_alone(run_of: RunOf) -> None:
    orders = [seeded_class_order(10, seed) for seed in range(5)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders == [seeded_class_order(10, seed) for seed in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    listed = list(run_of("imbalance=0.1", "seed=3").data.counts)
    drawn = [
        list(run_of("imbalance=0.1", "class_order=seed", "seed=3", e).data.counts) for e in ("epochs=5", "loss=ce")
    ]
    assert drawn[0] == drawn[1] != listed
    assert sorted(drawn[0]) == sorted(listed)
    assert [drawn[0][k] for k in orders[3]] == listed
