"""What is checked on the way of every inference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.errors import InputError
from edgeexit.graph.model import TensorSpec
from edgeexit.runtime.inputs import make_input_writer

FINITE_AND_INFINITE = st.floats(width=16)  # infinities and NaN among them; each is a float32 and a float64, too
LARGEST = {"float16": 6e4, "float32": 3e38, "float64": 1e308}


@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("size", [3, 8192, 8193])
@settings(max_examples=30)
@given(values=st.lists(FINITE_AND_INFINITE, min_size=1, max_size=3), place=st.integers(0, 8192), data=st.data())
def test_an_input_is_refused_where_it_holds_nan_and_only_there(
    dtype: str, size: int, values: list[float], place: int, data: st.DataObject
) -> None:
    """Whatever lies beside it: infinities of both signs, values whose square no float holds. How many there are is told."""
    background = data.draw(st.sampled_from([0.0, LARGEST[dtype], -LARGEST[dtype], math.inf, -math.inf]))
    x = np.full((1, size), background, dtype)
    x[0, (place + np.arange(len(values))) % size] = values
    buffer = np.zeros_like(x)
    fill = make_input_writer(TensorSpec("x", dtype, (1, size)), buffer)
    count = int(np.isnan(x).sum())

    if count:
        with pytest.raises(InputError, match=f"holds {count} NaN values out of {size}"):
            fill(x)
    else:
        fill(x)

    np.testing.assert_array_equal(x, buffer)
