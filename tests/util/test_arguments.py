"""Arguments of the wrong kind raise a clear error, in every public function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.calibration import samples_needed
from edgeexit.errors import InputError, ModelError
from edgeexit.runtime import CalibrationWarning, Runner
from edgeexit.util.arguments import as_seconds

NOT_NAMES: list[Any] = ["exit1", b"exit1", 5, [1, 2], ["exit1", None]]
NOT_SECONDS: list[Any] = ["1", None, float("nan"), -1, float("inf"), True]
NOT_THREADS: list[Any] = ["2", 1.5, 0, 1025]


def refused(call: Callable[..., object], **arguments: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(**arguments)
    return str(caught.value)


@pytest.mark.parametrize("what", ["exits", "scores"])
@pytest.mark.parametrize("names", NOT_NAMES)
def test_names_are_a_list_of_texts(model: Path, tmp_path: Path, what: str, names: Any) -> None:
    """One name by itself is not read letter by letter."""
    told = refused(edgeexit.compile, model=model, output=tmp_path / "b.eexit", **{what: names})

    assert f"{what} must be a list of names" in told


def test_names_may_come_in_any_sequence(model: Path, tmp_path: Path) -> None:
    """What is missing is then said of the whole name."""
    with pytest.raises(ModelError, match="'nowhere' is not an output"):
        edgeexit.compile(model, tmp_path / "b.eexit", exits=("nowhere", "elsewhere"))


@pytest.mark.parametrize("seconds", NOT_SECONDS)
def test_seconds_are_a_number_from_0_on(model: Path, tmp_path: Path, seconds: Any) -> None:
    """0 skips the timing."""
    assert "seconds must be" in refused(edgeexit.compile, model=model, output=tmp_path / "b.eexit", seconds=seconds)


@pytest.mark.parametrize("path", [5, None, b"model.onnx"])
def test_paths_are_texts_or_paths(model: Path, path: Any) -> None:
    """Of the model, of the bundle to write and of the bundle to read."""
    assert "model must be a path" in refused(edgeexit.compile, model=path, output="b.eexit")
    assert "output must be a path" in refused(edgeexit.compile, model=model, output=path)
    assert "path must be a path" in refused(edgeexit.load, path=path)


@pytest.mark.parametrize("what", ["criterion", "backend", "precision"])
def test_a_choice_that_is_no_text_is_an_unknown_name(model: Path, tmp_path: Path, what: str) -> None:
    """The message lists what there is."""
    assert "5" in refused(edgeexit.compile, model=model, output=tmp_path / "b.eexit", **{what: 5})


@pytest.mark.parametrize("threads", NOT_THREADS)
def test_threads_are_a_whole_number(compiled: Path, model: Path, tmp_path: Path, threads: Any) -> None:
    """From 1 on."""
    assert "threads must be 1 to" in refused(edgeexit.load, path=compiled, threads=threads)
    assert "threads must be 1 to" in refused(
        edgeexit.compile, model=model, output=tmp_path / "b.eexit", threads=threads
    )


def test_a_compile_is_given_its_threads(model: Path, tmp_path: Path) -> None:
    """None leaves the choice to `load`, which knows what was tuned."""
    assert "threads must be 1 to" in refused(edgeexit.compile, model=model, output=tmp_path / "b.eexit", threads=None)


@pytest.mark.parametrize("wrong", [{"mode": 3}, {"backend": 3}, {"options": 3}, {"spin": "yes"}])
def test_settings_of_another_kind_are_refused(compiled: Path, wrong: dict[str, Any]) -> None:
    """Each with its value."""
    assert str(next(iter(wrong.values()))) in refused(edgeexit.load, path=compiled, **wrong)


def test_numpy_numbers_are_numbers(compiled: Path) -> None:
    """As they come out of a table."""
    with pytest.warns(CalibrationWarning), edgeexit.load(compiled, threads=np.int64(1)) as runner:
        assert 1 == runner.settings.threads
    assert 6.0 == as_seconds("seconds", np.int64(6)) == 6 * as_seconds("seconds", np.float32(1))
    assert {"rate1>=0.5": 2} == samples_needed("rate1>=0.5", np.float32(0.75))


@pytest.mark.parametrize("exit", ["1", 1.5, None, 0, [1]])
def test_an_exit_is_a_whole_number(runner: Runner, exit: Any) -> None:
    """From 1 to the last."""
    [spec] = runner.bundle.manifest.inputs
    x = np.zeros(spec.shape_at_1, np.float32)

    assert "exit must be 1 to" in refused(runner.forced, x=x, exit=exit)


@pytest.mark.parametrize("values", ["12", ["a", "b"], None, {}])
def test_thresholds_are_numbers(runner: Runner, values: Any) -> None:
    """A text is not read digit by digit."""
    for name in ("thresholds", "inner_thresholds"):
        with pytest.raises(InputError, match="thresholds must be"):
            setattr(runner, name, values)


@pytest.mark.parametrize("what", ["target", "confidence", "seed", "seconds", "runner"])
@pytest.mark.parametrize("value", ["much", [1]])
def test_arguments_of_a_calibration_are_checked_before_anything_is_timed(runner: Runner, what: str, value: Any) -> None:
    """Each is named, with its value."""
    [spec] = runner.bundle.manifest.inputs
    given: dict[str, Any] = {
        "runner": runner,
        "inputs": np.zeros((40, *spec.shape_at_1[1:]), np.float32),
        "labels": np.arange(40) % 2,
        "target": "drop<=5",
    }

    told = refused(edgeexit.calibrate, **{**given, what: value})

    assert what in told or repr(value) in told
