"""Data that cannot be what they are taken for are refused before anything is timed or written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.calibration import calibrate, parse_calibration
from edgeexit.data import Dataset, find_demo_asset
from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from tests.support.measured import open_bundle

QUICKLY = 0.3


def one_class(data: Dataset) -> Dataset:
    return data.take(np.flatnonzero(data.y == 3))


def shuffled_labels(data: Dataset) -> Dataset:
    return Dataset("shuffled", data.x, np.random.default_rng(0).permutation(data.y))


def other_scale(data: Dataset) -> Dataset:
    return Dataset("inverted", 1 - data.x, data.y)


def too_few(data: Dataset) -> Dataset:
    return data.take(slice(40))


@pytest.mark.parametrize(
    ("broken", "target", "told"),
    [
        (one_class, "mean<=0.9x", "have the label 3"),
        (shuffled_labels, "drop<=5", "close to chance"),
        (other_scale, "drop<=5", "close to chance"),
        (too_few, "drop<=1", "At least 100 are needed"),
        (too_few, "mean<=0.9x, accuracy>=0.99", "accuracy>=0.99 cannot be judged with 40 samples"),
        (too_few, "agreement>=0.99", "At least 100 are needed"),
    ],
)
def test_implausible_data_are_refused_and_nothing_is_written(
    demo_runner: Runner, digits: Dataset, broken: Callable[[Dataset], Dataset], target: str, told: str
) -> None:
    """The message names what was found and how to go on; the runner keeps its thresholds."""
    data, before = broken(digits), demo_runner.thresholds

    with pytest.raises(InputError, match=told) as refusal:
        calibrate(demo_runner, data.inputs, data.labels, target=target, seconds=QUICKLY)

    assert "--force" in str(refusal.value)
    assert before == demo_runner.thresholds
    assert not edgeexit.Bundle.open(demo_runner.bundle.path).manifest.calibrations


def test_inputs_that_the_recorded_preprocessing_never_makes_are_refused(tmp_path: Path, digits: Dataset) -> None:
    """Values of 0 to 1 for a network that takes normalised ones, though nothing else is known of its data."""
    path = tmp_path / "b.eexit"
    edgeexit.compile(find_demo_asset("lenet-digits.onnx"), path, preprocess="mean=0.13,std=0.31", seconds=0)

    with open_bundle(path, [0.9]) as runner, pytest.raises(InputError, match="as if it was not normalised"):
        calibrate(runner, digits.inputs, target="agreement>=0.9", seconds=QUICKLY)


def test_every_finding_is_in_one_message(demo_runner: Runner, digits: Dataset) -> None:
    """A user mends all of it at once."""
    few = too_few(shuffled_labels(digits))

    with pytest.raises(InputError, match="close to chance") as refusal:
        calibrate(demo_runner, few.inputs, few.labels, target="drop<=1", seconds=QUICKLY)

    assert "cannot be judged with 40 samples" in str(refusal.value)


def test_forced_data_are_recorded_with_what_was_found(demo_runner: Runner, digits: Dataset) -> None:
    """The document says later why the calibration should not be believed."""
    data = one_class(digits)

    result = calibrate(demo_runner, data.inputs, data.labels, target="mean<=0.9x", seconds=QUICKLY, force=True)

    assert ["one_class"] == [finding.code for finding in result.findings]
    assert result == parse_calibration(json.loads(json.dumps(result.to_document())), "here")


def test_a_bound_without_labels_or_answers_needs_no_number_of_samples(demo_runner: Runner, digits: Dataset) -> None:
    """Exit rates and costs of 40 samples are only uncertain, not impossible to judge."""
    few = too_few(digits)

    result = calibrate(demo_runner, few.inputs, target="rate1>=0.1, macs<=100M", seconds=QUICKLY)

    assert () == result.findings


def test_the_sample_for_which_the_network_gives_nan_is_named(demo_runner: Runner, digits: Dataset) -> None:
    """Finite values can overflow inside the network."""
    x = digits.x[:60].copy()
    x[37] = np.finfo(np.float32).max

    with pytest.raises(InputError, match=r"1 of 60 samples \(numbered from 0: 37\)"):
        calibrate(demo_runner, x, digits.y[:60], target="rate1>=0.1", seconds=QUICKLY)


@pytest.mark.parametrize("masked", ["inputs", "labels"])
def test_masked_arrays_are_refused_as_run_refuses_them(demo_runner: Runner, digits: Dataset, masked: str) -> None:
    """What is masked would otherwise count as any other value."""
    hidden = {"inputs": False, "labels": False, masked: True}
    inputs, labels = (
        np.ma.masked_array(array, mask=np.zeros_like(array, bool)) if hidden[name] else array
        for name, array in (("inputs", digits.x), ("labels", digits.y))
    )

    with pytest.raises(InputError, match="masked"):
        calibrate(demo_runner, inputs, labels, target="drop<=5", seconds=QUICKLY)


def test_a_wrong_method_is_refused_before_anything_runs(demo_runner: Runner, digits: Dataset) -> None:
    """Not after the timing, and with the near miss."""
    heard: list[str] = []

    with pytest.raises(InputError, match="Did you mean 'exact'"):
        calibrate(
            demo_runner,
            digits.inputs,
            digits.labels,
            target="drop<=5",
            method="exct",
            seconds=QUICKLY,
            progress=lambda what, _done, _total: heard.append(what),
        )

    assert [] == heard
