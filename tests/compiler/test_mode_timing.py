"""Which mode of a bundle is faster is found in processes that have compiled nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import edgeexit
from edgeexit.backends import Settings
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.compiler.mode_timing import ModeTimes, measure_in_process, time_forms
from edgeexit.errors import InputError
from edgeexit.hardware import find_device_key


def test_a_compile_times_both_forms_elsewhere(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed in the process that compiled; every exit of both modes is, and the backbone."""
    monkeypatch.setattr("edgeexit.compiler.mode_timing.measure_in_process", None)
    monkeypatch.setattr("edgeexit.compiler.mode_timing._PROCESSES", 2)
    told: list[tuple[str, int, int]] = []

    bundle = edgeexit.compile(model, tmp_path / "b.eexit", seconds=0.1, progress=lambda *what: told.append(what))

    timing = bundle.manifest.timings[Settings().make_timing_key(find_device_key())]
    assert 3 == len(timing.staged_s) == len(timing.fused_s)
    assert min(*timing.staged_s, *timing.fused_s, timing.backbone_s or 0) > 0
    assert timing.faster == ModeTimes(timing.staged_s, timing.fused_s, 1.0).faster
    assert ("timing in fresh processes", 2, 2) in told


def test_times_are_those_of_this_machine(compiled: Path) -> None:
    """In fresh processes as in this one, to a factor that no load reaches."""
    bundle = Bundle.open(compiled)

    inputs = make_random_inputs(bundle.manifest.inputs, 0, 8)

    here = measure_in_process(bundle, Settings(), 0.2, inputs=inputs)
    fresh = time_forms(bundle, Settings(), 0.2, inputs=inputs)

    for one, other in zip(here.staged_s + here.fused_s, fresh.staged_s + fresh.fused_s, strict=True):
        assert 0.02 < one / other < 50


@pytest.mark.parametrize(
    ("staged_s", "fused_s", "faster"),
    [((1.0, 3.0), (2.0, 2.5), "staged"), ((1.0, 3.0), (1.5, 2.4), "fused"), ((1.0, 2.0), (1.0, 2.0), "staged")],
)
def test_the_form_with_the_lower_mean_over_the_exits_is_faster(
    staged_s: tuple[float, ...], fused_s: tuple[float, ...], faster: str
) -> None:
    """Staged where they are equal: it takes deadlines and batches as well."""
    assert faster == ModeTimes(staged_s, fused_s, 1.0).faster


def test_what_a_process_refuses_is_reported_with_its_message(compiled: Path) -> None:
    """Without a traceback, and with the exit code of the error."""
    bundle = Bundle.open(compiled)
    inputs = make_random_inputs(bundle.manifest.inputs, 0, 8)

    with pytest.raises(InputError, match="backend onnxruntime has no option named 'a'"):
        time_forms(bundle, Settings(options="a=1"), 0.1, inputs=inputs)
