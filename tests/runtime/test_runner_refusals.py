"""What raises an InputError in a Runner, and that the Runner works as before afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.errors import InputError
from edgeexit.runtime import CalibrationWarning, Runner
from tests.networks import chain, images


@pytest.mark.parametrize("call", ["batch", "replay", "clone", "in time", "prepare"])
def test_a_closed_runner_refuses_every_call(runner: Runner, call: str) -> None:
    """None of them opens engines anew."""
    runner.close()

    calls: dict[str, Callable[[], object]] = {
        "batch": lambda: runner.batch(images(2)),
        "replay": lambda: runner.replay(images(2)),
        "clone": runner.clone,
        "in time": lambda: runner(images(1), deadline_s=1.0),
        "prepare": runner.prepare_deadlines,
    }
    with pytest.raises(InputError, match="it is closed"):
        calls[call]()


@pytest.mark.parametrize("values", [0.5, "ab", [None, 1.0], [[0.1], 0.2]])
def test_thresholds_that_are_no_numbers_are_refused(runner: Runner, values: Any) -> None:
    """One message, and the ones before stay."""
    before = runner.thresholds

    with pytest.raises(InputError, match="thresholds must be 2 numbers"):
        runner.thresholds = values

    assert before == runner.thresholds


def test_nan_is_no_inner_threshold(runner: Runner) -> None:
    """It would be neither always nor never."""
    with pytest.raises(InputError, match="inner thresholds must be 2 numbers"):
        runner.inner_thresholds = (math.nan, 0.0)


def test_a_batch_whose_logits_are_nan_is_refused_as_a_single_sample_is(runner: Runner) -> None:
    """Argmax of NaN is no label."""
    xs = images(3)
    xs[1] = np.inf

    with pytest.raises(InputError, match="NaN at exit 3"):
        runner(xs[1:2])
    with pytest.raises(InputError, match="NaN at exit 3 for sample 1"):
        runner.batch(xs)


def test_more_threads_than_any_machine_has_are_refused(compiled: Path) -> None:
    """Before the runtime tries to start them."""
    with pytest.raises(InputError, match="threads must be 1 to 1024, not 100000"):
        edgeexit.load(compiled, threads=100_000)


@pytest.mark.parametrize("values", [[10**400, 0.1], {0.1, 0.2}, [b"1", 0.2], {0.1: 1, 0.2: 2}])
def test_thresholds_that_no_float_holds_or_without_order_are_refused(runner: Runner, values: Any) -> None:
    """In the words of any other that is none."""
    with pytest.raises(InputError, match="thresholds must be 2 numbers"):
        runner.thresholds = values


def test_a_closed_runner_opens_nothing_anew(runner: Runner) -> None:
    """Neither its backbone nor a with block."""
    backbone = runner.backbone()
    runner.close()
    backbone.close()

    with pytest.raises(InputError, match="it is closed"):
        runner.backbone()
    for closed in (runner, backbone):
        with pytest.raises(InputError, match="it is closed"), closed:
            pass


def test_a_masked_array_is_refused(runner: Runner) -> None:
    """What it hides would be taken for a value."""
    with pytest.raises(InputError, match=r"input 'x' is masked.*x\.filled\(0\)"):
        runner(np.ma.masked_greater(images(1), 1.0))


def test_a_number_is_no_batch(runner: Runner) -> None:
    """It has no samples to count."""
    with pytest.raises(InputError, match=r"must have shape \[1, 3, 8, 8\], not \[\]"):
        runner.batch(np.array(1, np.float32))


def test_arrays_without_dimensions_are_numbers(tmp_path: Path) -> None:
    """One early exit has one threshold, which programs compute as an array."""
    edgeexit.compile(chain(tmp_path / "two.onnx", exits=2), tmp_path / "two.eexit", seconds=0)
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(tmp_path / "two.eexit")
    for value in (np.array(0.5), np.float32(0.5), [np.array(0.5)], np.array([0.5])):
        runner.thresholds = value  # type: ignore[assignment]
        assert [0.5] == runner.thresholds
    for wrong in (np.ma.masked, np.array(True), np.array("0.5"), np.array(None), np.array([[0.5]])):
        with pytest.raises(InputError, match="thresholds must be 1 number"):
            runner.thresholds = wrong


@pytest.mark.parametrize(
    "wrong", [np.array(1.0, object), np.array("x"), np.zeros((1, 3, 8, 8), object), None, 1.0, "x"]
)
def test_what_is_no_array_of_numbers_is_refused_by_every_call(runner: Runner, wrong: Any) -> None:
    """With what it is instead."""
    for call in (runner, lambda x: runner.forced(x, exit=1), runner.batch, runner.replay, runner.backbone()):
        with pytest.raises(InputError, match="input 'x' must"):
            call(wrong)
