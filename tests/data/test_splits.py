"""Splits are disjoint, complete and the same for a seed everywhere; overlap is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.data import find_overlap, hash_indices, make_dataset, split_calibration, split_counts
from edgeexit.errors import InputError


@given(st.integers(10, 500), st.integers(0, 2**31), st.sampled_from([(0.8, 0.2), (0.4, 0.4, 0.2), (1.0,)]))
def test_parts_are_disjoint_and_complete(n: int, seed: int, parts: tuple[float, ...]) -> None:
    """Every sample is in exactly one part, and the parts have their shares."""
    split = split_calibration(n, seed, parts)

    assert list(range(n)) == sorted(np.concatenate(split).tolist())
    assert all(abs(len(part) - share * n) <= 1 for part, share in zip(split, parts, strict=True))


def test_a_seed_gives_the_same_split_everywhere() -> None:
    """Pinned: records of one machine must hold on another, and in later versions."""
    assert [6, 3, 4, 9, 0, 2, 8, 7] == split_calibration(10, 7)[0].tolist()
    assert hash_indices(np.arange(3)) == "ab25350e3e65efebe24584461683ecda68725576e825e550038b90e7b1479946"


def test_another_seed_gives_another_split() -> None:
    """The seed matters."""
    assert split_calibration(100, 1)[0].tolist() != split_calibration(100, 2)[0].tolist()


@pytest.mark.parametrize("parts", [(0.5, 0.4), (1.2, -0.2), ()])
def test_shares_that_do_not_sum_to_one_are_refused(parts: tuple[float, ...]) -> None:
    """No sample is lost or used twice."""
    with pytest.raises(InputError, match="sum to 1"):
        split_calibration(100, 0, parts)


def test_too_few_samples_for_the_parts_are_refused() -> None:
    """No part is empty."""
    with pytest.raises(InputError, match="2 samples are too few"):
        split_calibration(2, 0, (0.4, 0.4, 0.2))


def test_counts_make_up_the_whole() -> None:
    """Named sets are split by count."""
    parts = split_counts(10, 0, [6, 4])

    assert [6, 4] == [len(p) for p in parts]
    assert all(p.tolist() == sorted(p) for p in parts)
    with pytest.raises(InputError, match="do not make up 10"):
        split_counts(10, 0, [6, 5])


def test_overlap_is_found_by_equal_inputs() -> None:
    """Wherever the samples stand, whatever their labels."""
    train = make_dataset("train", np.arange(20.0).reshape(10, 2), np.arange(10))
    fresh = make_dataset("fresh", np.arange(100.0, 120.0).reshape(10, 2))
    mixed = make_dataset("mixed", np.concatenate([fresh.x[:3], train.x[4:6]]))

    assert [] == find_overlap(fresh, train.sample_hashes()).tolist()
    assert [3, 4] == find_overlap(mixed, train.sample_hashes()).tolist()
