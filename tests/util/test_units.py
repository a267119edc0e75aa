"""Numbers as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.util import units

FINITE = st.floats(-1e6, 1e6)


@given(FINITE, st.integers(0, 6))
def test_fixed_decimals_are_within_half_a_unit_of_the_last(value: float, digits: int) -> None:
    """The text read back is the number, rounded, with that count of decimals."""
    text = units.fixed(value, digits)

    assert abs(float(text) - value) <= 0.5 * 10**-digits * (1 + 1e-9)
    assert digits == len(text.partition(".")[2])


@given(FINITE, st.integers(1, 9))
def test_significant_digits_bound_the_relative_error(value: float, digits: int) -> None:
    """Half a unit of the last digit that is kept."""
    read = float(units.significant(value, digits))

    assert math.isclose(read, value, rel_tol=0.51 * 10.0 ** (1 - digits), abs_tol=1e-300)


@given(st.floats(1e-6, 1e6))
def test_ratios_have_three_significant_digits(value: float) -> None:
    """However large or small: 1.83, 5,340, 0.0471."""
    text = units.format_ratio(value).replace(",", "")

    assert math.isclose(float(text), value, rel_tol=0.0051)
    assert 3 == len(text.replace(".", "").lstrip("0")) or float(text) >= 1000
    assert f"{units.format_ratio(value)} ×" == units.ratio(value)
    assert ["1.83", "5,340", "0.0471", "1.00"] == [units.format_ratio(x) for x in (1.834, 5337.75, 0.04712, 0.9996)]


@given(st.floats(-10.0, 10.0))
def test_shares_read_the_same_in_tables_and_in_sentences(share: float) -> None:
    """Only the space before the sign of percent differs."""
    assert units.percent(share, 1).replace(" ", "") == units.compact_percent(share)
    assert units.change(share, 1).replace(" ", "") == units.compact_percent(share, signed=True)


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_was_not_measured_is_not_a_number(nothing: float | None) -> None:
    """Never 0."""
    assert {"n/a"} == {
        f(nothing)
        for f in (units.percent, units.compact_percent, units.change, units.seconds, units.joules, units.ratio)
    }
