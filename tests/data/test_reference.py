"""What is recorded of data travels in a model's metadata, and tells data that were prepared otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.data import Dataset, InputSpec, ModelInfo, Preprocess, read_preprocess
from edgeexit.data.reference import (
    DataRecord,
    DataReference,
    describe_data,
    find_input_differences,
    range_differences,
    read_data_record,
)
from edgeexit.errors import InputError

PICTURE = ModelInfo("net", (InputSpec("x", "float32", (3, 4, 4)),))


def pictures(seed: int, samples: int = 300) -> np.ndarray:
    """Pixels of 0 to 1 whose channels have means of their own."""
    means = np.array([0.55, 0.45, 0.35], np.float32)[:, None, None]
    drawn = np.random.default_rng(seed).normal(means, 0.15, (samples, 3, 4, 4))
    return np.clip(drawn, 0, 1).astype(np.float32)


def reference(x: np.ndarray) -> DataReference:
    return describe_data(Dataset("known", x, None), PICTURE, None, "compile")


def differences(known: np.ndarray, other: np.ndarray) -> list[str]:
    return find_input_differences(reference(known), Dataset("d", other, None), PICTURE.inputs)


def normalised(x: np.ndarray) -> np.ndarray:
    return np.asarray((x - 0.45) / 0.2, np.float32)


@pytest.mark.parametrize(
    ("known", "other", "told"),
    [
        (pictures, lambda x: x * 255, "0 to 255 that were not scaled"),
        (lambda s: normalised(pictures(s)), lambda x: x, "0 to 1 that were not normalised"),
        (lambda s: pictures(s) * 2 - 1, lambda x: x, "no value below 0"),
        (pictures, lambda x: x * 2 - 1, "values below 0"),
        (pictures, lambda x: x[:, ::-1], "BGR"),
        (pictures, lambda x: x + 1, "shifted"),
    ],
)
def test_data_prepared_otherwise_are_told(
    known: Callable[[int], np.ndarray], other: Callable[[np.ndarray], np.ndarray], told: str
) -> None:
    """Scale, normalisation, order of channels: each with both sides' numbers."""
    (difference,) = differences(known(0), np.asarray(other(pictures(1)), np.float32))

    assert told in difference
    assert "in known" in difference


PREPARED = Preprocess(channels="rgb", mean=(0.55, 0.45, 0.35), std=(0.25, 0.2, 0.15))


def prepared(x: np.ndarray) -> np.ndarray:
    means, stds = (np.array(v, np.float32)[:, None, None] for v in (PREPARED.mean, PREPARED.std))
    return np.asarray((x - means) / stds, np.float32)


def test_channels_swapped_before_they_were_normalised_are_told() -> None:
    """As OpenCV reads pictures: each channel has the mean of another subtracted."""
    known, swapped = prepared(pictures(0)), prepared(pictures(1)[:, ::-1])

    (difference,) = find_input_differences(reference(known), Dataset("d", swapped, None), PICTURE.inputs, PREPARED)

    assert "BGR" in difference
    assert not find_input_differences(
        reference(known), Dataset("d", prepared(pictures(1)), None), PICTURE.inputs, PREPARED
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda x: x, "as if it was not normalised"),
        (lambda x: x * 255, "lies outside what the bundle's preprocessing makes of pixels"),
        (lambda x: prepared(x * 255), "lies outside"),
        (prepared, None),
        (lambda x: prepared(x) * 1.1, None),
    ],
)
def test_a_preprocessing_tells_what_inputs_cannot_come_from_it(
    given: Callable[[np.ndarray], np.ndarray], told: str | None
) -> None:
    """Without a reference as well."""
    found = range_differences(
        PREPARED, Dataset("d", np.asarray(given(pictures(0)), np.float32), None), PICTURE.inputs[0]
    )

    assert [told] == [told for clause in found if told and told in clause] if told else not found


@given(st.integers(0, 2**32), st.floats(0.7, 1.3), st.integers(20, 300))
def test_other_samples_of_the_same_kind_are_not(seed: int, contrast: float, samples: int) -> None:
    """Nor are some brighter or darker ones."""
    assert not differences(pictures(0), pictures(seed, samples) * np.float32(contrast))


def test_tokens_have_no_scale() -> None:
    """Other sentences have other words."""
    tokens = ModelInfo("net", (InputSpec("ids", "int64", (5,)),))
    known, other = (Dataset("d", {"ids": np.full((9, 5), n) + np.arange(5)}, None) for n in (1, 9000))

    assert not find_input_differences(describe_data(known, tokens, None, "compile"), other, tokens.inputs)


def test_a_record_is_the_same_after_a_models_metadata() -> None:
    """What is not known is left out."""
    whole = DataRecord(read_preprocess("imagenet"), ("cat", "dog"), reference(pictures(0)))

    assert whole == read_data_record(whole.as_metadata(), "model.onnx")
    assert ({}, DataRecord()) == (DataRecord().as_metadata(), read_data_record({}, "model.onnx"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("preprocess", "{"),
        ("preprocess", '{"std": [0.0]}'),
        ("classes", '{"0": "cat"}'),
        ("reference", '{"data": 3}'),
        ("reference", "[" * 9999),
    ],
)
def test_damaged_metadata_is_one_message(key: str, value: str) -> None:
    """With the file's name."""
    with pytest.raises(InputError, match=r"model\.onnx"):
        read_data_record({f"edgeexit.{key}": value}, "model.onnx")


def test_numbers_that_no_sum_holds_are_recorded_as_infinite() -> None:
    """A document cannot hold NaN."""
    large = ModelInfo("net", (InputSpec("x", "float64", (2,)),))

    found = describe_data(Dataset("d", np.array([[1e308, -1e308]] * 9), None), large, None, "compile").inputs[0]

    assert not np.isnan([*found.mean, *found.std]).any()
