"""A Dataset is checked once, when it is made, and every fault of it comes in one message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.data import Dataset, check_labels, make_dataset
from edgeexit.errors import InputError


def test_floats_become_float32_and_labels_int64() -> None:
    """Whatever the precision a file has, the rest of edgeexit sees one."""
    data = make_dataset("d", np.ones((3, 2), np.float64), np.array([0, 1, 2], np.uint8))

    assert np.float32 == data.x.dtype
    assert np.int64 == data.y.dtype
    assert 3 == len(data)


def test_whole_numbers_as_floats_are_labels() -> None:
    """Some tools write labels as floats; 2.0 is the class 2."""
    assert [0, 2] == make_dataset("d", np.ones((2, 2)), np.array([0.0, 2.0])).y.tolist()


@pytest.mark.parametrize(
    ("inputs", "labels", "fault"),
    [
        (np.empty((0, 4)), None, "empty"),
        (np.ones(4), None, "samples, ..."),
        (np.array([["a"]]), None, "numbers are needed"),
        (np.ones((2, 2)), np.array([0]), "x has 2, y has 1"),
        (np.ones((2, 2)), np.array([0, -1]), "label -1"),
        (np.ones((2, 2)), np.array([0.0, 0.5]), "whole numbers"),
        (np.ones((2, 2)), np.array([0.0, np.nan]), "y has NaN or infinite values in 1 of 2 samples, first in sample 1"),
        (np.ones((2, 2)), np.array([[1, 1], [0, 1]]), "not one-hot"),
        (np.ones((2, 2)), np.array([[0.9, 0.1], [0.2, 0.8]]), "y.argmax(axis=1)"),
        (np.ones((2, 2)), np.array([0, 2**63], np.uint64), "9223372036854775808 in sample 1, beyond any number"),
        (np.ones((2, 2)), np.array([0.0, 1e19]), "beyond any number"),
        (np.ones((2, 2)), np.array(["cat", "dog"]), "--classes"),
        (np.ones((2, 2)), np.array([None, 1]), "whole numbers"),
    ],
)
def test_a_fault_is_one_clear_message(inputs: np.ndarray, labels: np.ndarray | None, fault: str) -> None:
    """What, with which values; and whose."""
    with pytest.raises(InputError, match=r"samples\.npz") as caught:
        make_dataset("samples.npz", inputs, labels)

    assert fault in str(caught.value)


def test_nan_is_refused_with_the_place_of_the_first() -> None:
    """A person can find the bad sample."""
    x = np.zeros((5, 2, 2))
    x[3, 1, 1], x[4, 0, 0] = np.nan, np.inf

    with pytest.raises(InputError, match="2 of 5 samples, first in sample 3"):
        make_dataset("d", x)


def test_all_faults_come_at_once() -> None:
    """Two faults, one message."""
    with pytest.raises(InputError, match=r"NaN.*lengths differ"):
        make_dataset("d", np.full((2, 2), np.nan), np.array([0, 1, 2]))


def test_several_inputs_keep_their_names_and_types() -> None:
    """Token numbers stay whole numbers."""
    data = make_dataset("d", {"tokens": np.zeros((2, 4), np.int64), "image": np.zeros((2, 3, 8, 8))})

    assert {"tokens": np.dtype(np.int64), "image": np.dtype(np.float32)} == {
        k: v.dtype for k, v in dict(data.inputs).items()
    }


def test_several_inputs_have_one_length() -> None:
    """A sample is one row of each."""
    with pytest.raises(InputError, match="a has 2, b has 3"):
        make_dataset("d", {"a": np.zeros((2, 1)), "b": np.zeros((3, 1))})


def test_labels_beyond_the_models_classes_are_refused() -> None:
    """The model decides how many classes there are."""
    data = make_dataset("d", np.ones((3, 2)), np.array([0, 9, 10]))

    with pytest.raises(InputError, match="label 10 of sample 2 is out of range; the model has 10 classes, 0 to 9"):
        check_labels(data, 10)


def test_a_need_for_labels_says_so() -> None:
    """Accuracy needs labels; agreement does not."""
    with pytest.raises(InputError, match="has no labels"):
        check_labels(make_dataset("d", np.ones((3, 2))), 10)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_take_gives_the_samples_at_these_places_in_this_order(places: list[int]) -> None:
    """Inputs and labels move together."""
    data = make_dataset("d", np.arange(20.0).reshape(10, 2), np.arange(10))

    taken = data.take(places)

    assert places == taken.y.tolist()
    assert [2.0 * p for p in places] == taken.x[:, 0].tolist()


def test_the_hash_sees_inputs_labels_and_shapes() -> None:
    """Anything that changes a result changes the hash."""
    x, y = np.arange(8.0).reshape(2, 4), np.array([0, 1])
    base = make_dataset("d", x, y).sha256

    assert base == make_dataset("another name", x.copy(), y.copy()).sha256
    others = [
        make_dataset("d", x + 1, y),
        make_dataset("d", x, y[::-1]),
        make_dataset("d", x.reshape(2, 2, 2), y),
        make_dataset("d", x),
    ]
    assert base not in {d.sha256 for d in others}


def test_equal_samples_have_equal_hashes_wherever_they_stand() -> None:
    """The overlap check rests on it."""
    a = Dataset("a", np.array([[1, 2], [3, 4]], np.float32), None)
    b = Dataset("b", np.array([[3, 4], [5, 6], [1, 2]], np.float32), np.array([7, 8, 9]))

    assert a.sample_hashes() == [b.sample_hashes()[2], b.sample_hashes()[0]]
