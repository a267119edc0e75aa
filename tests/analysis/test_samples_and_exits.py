"""Samples assigned to exits, confidence of two exits, and frequencies of images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeexit.analysis import (
    choose_exit_labels,
    compare_confidence,
    compute_assigned_accuracy,
    compute_frequency_share,
)
from edgeexit.analysis.frequencies import make_cosine_basis
from edgeexit.calibration import ReplayTable
from edgeexit.errors import InputError
from tests.calibration.worlds import world


@given(st.integers(0, 300), st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_accuracy_by_assigned_exit_adds_up_to_that_of_the_policy(seed: int, thresholds: list[float]) -> None:
    """The diagonal weighted by the shares is the policy's accuracy, a row that of its exit."""
    table = world(seed, 60, 3)
    assert table.correct is not None
    leaves = table.leaves_at(thresholds)
    found = compute_assigned_accuracy(table, leaves)
    sums = np.nan_to_num(found.accuracy) * found.shares

    assert table.evaluate(thresholds).accuracy == pytest.approx(np.trace(sums))
    assert np.allclose(table.correct.mean(axis=0), sums.sum(axis=1))
    assert np.array_equal(np.isnan(found.accuracy[0]), found.shares == 0)


def test_leaves_that_name_no_exit_are_refused() -> None:
    """As are leaves for other samples."""
    table = world(0, 5, 3)

    for leaves in ([0, 1, 2, 3, 0], [0, 1], [0.5] * 5, [-1] * 5):
        with pytest.raises(InputError, match="from 0 to 2 for each of 5 samples"):
            compute_assigned_accuracy(table, leaves)


def make_exits(seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits of 4 exits over 3 classes on 80 samples, and labels."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(80, 4, 3)) * 2, rng.integers(3, size=80)


COSTS = np.array([1e6, 3e6, 5e6, 9e6])


@given(st.integers(0, 300), st.floats(0.01, 100))
def test_the_label_is_the_right_exit_of_highest_score(seed: int, price: float) -> None:
    """Equations 4.1 and 4.2, sample by sample; -1 where no exit is right."""
    logits, labels = make_exits(seed)
    found = choose_exit_labels(logits, labels, price=price, macs=COSTS)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    for s, label in enumerate(labels):
        scores = [1 / (price * COSTS[k] * 1e-6) + p[s, k].max() if p[s, k].argmax() == label else 0.0 for k in range(4)]
        assert found[s] == -1 if max(scores) == 0 else scores[found[s]] == pytest.approx(max(scores))


def test_a_small_price_favours_cheap_exits_and_a_large_one_sure_exits() -> None:
    """The mean label rises with the price."""
    logits, labels = make_exits(1)
    means = []
    for price in (0.001, 1.0, 10.0, 1000.0):
        found = choose_exit_labels(logits, labels, price=price, macs=COSTS)
        means.append(found[found >= 0].mean())
    right = logits.argmax(-1) == labels[:, None]

    assert means == sorted(means)
    assert right.argmax(axis=1)[right.any(axis=1)].mean() == means[0]


def test_the_binary_variant_chooses_between_two_exits() -> None:
    """Labels 0 and 1 for the first and the last exit; the others are not looked at."""
    logits, labels = make_exits(2)
    found = choose_exit_labels(logits, labels, price=10, macs=COSTS, only=(1, 4))
    alone = choose_exit_labels(logits[:, [0, 3]], labels, price=10, macs=COSTS[[0, 3]])

    assert np.array_equal(alone, found)
    assert {-1, 0, 1} == set(found.tolist())


def test_measured_milliseconds_take_the_place_of_operations() -> None:
    """The same numbers give the same labels."""
    logits, labels = make_exits(3)

    assert np.array_equal(
        choose_exit_labels(logits, labels, price=5, macs=COSTS),
        choose_exit_labels(logits, labels, price=5, cost_ms=COSTS / 1e6),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"price": 0, "macs": COSTS}, "price must be greater than 0"),
        ({"price": 1}, "either macs= or cost_ms="),
        ({"price": 1, "macs": COSTS, "cost_ms": COSTS}, "either macs= or cost_ms="),
        ({"price": 1, "macs": COSTS[:3]}, "4 finite numbers"),
        ({"price": 1, "macs": [0, 1, 2, 3]}, "greater than 0"),
        ({"price": 1, "macs": COSTS, "only": (1, 5)}, "from 1 to 4"),
        ({"price": 1, "macs": COSTS, "only": (2,)}, "two or more"),
    ],
)
def test_labels_that_cannot_be_chosen_are_refused(options: dict[str, Any], message: str) -> None:
    """One message each."""
    with pytest.raises(InputError, match=message):
        choose_exit_labels(*make_exits(0), **options)


@given(st.integers(0, 300), st.booleans())
def test_ranks_depend_on_the_order_of_the_scores_only(seed: int, ties: bool) -> None:
    """A rising function of an exit's scores changes nothing; each exit's ranks add up to n (n + 1) / 2."""
    table = world(seed, 40, 3, ties=ties)
    other = ReplayTable.from_arrays(np.exp(3 * table.scores), None, table.cost_s)
    found, again = compare_confidence(table, 1, 2), compare_confidence(other, 1, 2)

    assert np.array_equal(found.first, again.first)
    assert found.spearman == again.spearman
    assert 40 * 41 / 2 == found.first.sum() == found.second.sum()


def test_spearmans_coefficient_is_that_of_the_textbook() -> None:
    """1 - 6 Σ d² / (n (n² - 1)) without ties; 1 for an exit and itself, -1 for the opposite order, None for equal scores."""
    scores = world(1, 50, 3).scores
    table = ReplayTable.from_arrays(
        np.column_stack([scores, -scores[:, 0], np.ones(50)]), None, [1.0, 2.0, 3.0, 4.0, 5.0]
    )
    found = compare_confidence(table, 1, 2)
    squares = ((found.first - found.second) ** 2).sum()

    assert 1 - 6 * squares / (50 * (50**2 - 1)) == pytest.approx(found.spearman)
    assert 1.0 == pytest.approx(compare_confidence(table, 1, 1).spearman)
    assert -1.0 == pytest.approx(compare_confidence(table, 1, 3).spearman)
    assert compare_confidence(table, 1, 4).spearman is None


@pytest.mark.parametrize("pair", [(0, 1), (1, 3), (2, 4)])
def test_the_last_exit_has_no_confidence_to_rank(pair: tuple[int, int]) -> None:
    """Nor has an exit that does not exist."""
    with pytest.raises(InputError, match="early exits are 1 to 2"):
        compare_confidence(world(0, 5, 3), *pair)


def test_the_basis_of_cosines_is_orthonormal() -> None:
    """Of any size; so no energy is lost."""
    for size in (1, 2, 8, 31):
        basis = make_cosine_basis(size)
        assert np.allclose(np.eye(size), basis @ basis.T)


@given(st.integers(0, 5), st.integers(0, 7))
def test_one_frequency_needs_all_coefficients_up_to_its_own(row: int, column: int) -> None:
    """Read row by row, in an image of 6 x 8."""
    image = np.outer(make_cosine_basis(6)[row], make_cosine_basis(8)[column])

    assert [(8 * row + column + 1) / 48] == compute_frequency_share(image[None]).tolist()


@given(st.integers(0, 100), st.floats(0.1, 0.9))
def test_more_energy_needs_more_frequencies_and_brightness_does_not_count(seed: int, energy: float) -> None:
    """The share rises with the energy, is the same for a scaled image, and squares need no more than magnitudes."""
    images = np.random.default_rng(seed).random((5, 3, 8, 8))
    share = compute_frequency_share(images, energy=energy)

    assert (share <= compute_frequency_share(images, energy=min(1.0, energy + 0.1))).all()
    assert np.array_equal(share, compute_frequency_share(4 * images, energy=energy))
    assert (compute_frequency_share(images, energy=0.98, power=2) <= compute_frequency_share(images, energy=0.98)).all()


def test_an_image_of_zeros_needs_nothing_and_pixels_may_be_bytes() -> None:
    """Channels are averaged first."""
    black = np.zeros((2, 3, 4, 4), np.uint8)
    white = np.full((1, 3, 4, 4), 255, np.uint8)

    assert [0.0, 0.0] == compute_frequency_share(black).tolist()
    assert [1 / 16] == compute_frequency_share(white).tolist() == compute_frequency_share(white[:, 0]).tolist()
    assert 0 == len(compute_frequency_share(black[:0]))


@pytest.mark.parametrize("options", [{"energy": 0.0}, {"energy": 1.1}, {"power": 3}])
def test_a_share_that_means_nothing_is_refused(options: dict[str, Any]) -> None:
    """As are images of another shape."""
    with pytest.raises(InputError, match="energy must be above 0"):
        compute_frequency_share(np.ones((1, 4, 4)), **options)
    with pytest.raises(InputError, match=r"\[n, height, width\]"):
        compute_frequency_share(np.ones((4, 4)))
