"""The fingerprint of the training data finds training data again, and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.data import find_demo_asset, load_data, make_dataset
from edgeexit.data.fingerprint import KEY, compute_fingerprint, read_fingerprint
from edgeexit.errors import InputError


def test_it_survives_being_written() -> None:
    """In the metadata of a model it is text."""
    print_ = compute_fingerprint(load_data("digits:train"))

    assert print_ == read_fingerprint(print_.as_text())


@settings(max_examples=20)
@given(st.integers(1, 400), st.integers(0, 99))
def test_the_samples_kept_are_found_in_any_set(size: int, seed: int) -> None:
    """Whatever the order and whatever else is in the set; all of them where all are kept."""
    rng = np.random.default_rng(seed)
    train = make_dataset("train", rng.normal(size=(400, 3)))
    others = make_dataset(
        "mixed", np.concatenate([rng.normal(size=(50, 3)), train.take(rng.permutation(400)[:size]).x])
    )

    assert list(range(50, 50 + size)) == compute_fingerprint(train).find_shared(others)


def test_a_part_of_a_large_set_is_enough() -> None:
    """64 of 1,000 kept: 200 of them met again are noticed."""
    train = make_dataset("train", np.random.default_rng(0).normal(size=(1000, 3)))

    print_ = compute_fingerprint(train, kept=64)

    assert 64 == len(print_.hashes)
    assert 0 < len(print_.find_shared(train.take(slice(0, 200)))) <= 64


def test_training_data_is_refused_and_fresh_data_is_not() -> None:
    """The demo's model knows what it was trained on."""
    [text] = [p.value for p in onnx.load(find_demo_asset("lenet-digits.onnx")).metadata_props if p.key == KEY]
    print_ = read_fingerprint(text)

    print_.refuse(load_data("digits:calibration"))
    print_.refuse(load_data("digits:test"))
    with pytest.raises(
        InputError,
        match="digits:train has samples that the model was trained on: 797 are in digits:train, first sample 0",
    ):
        print_.refuse(load_data("digits:train"))


@pytest.mark.parametrize("text", ["", "{}", '{"name": "a", "samples": 1, "hashes": "%%"}', "[]"])
def test_a_damaged_one_is_one_message(text: str) -> None:
    """It comes from a file that anyone may have written."""
    with pytest.raises(InputError, match=KEY):
        read_fingerprint(text)
