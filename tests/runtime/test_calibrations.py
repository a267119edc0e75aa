"""Which calibration a Runner takes: of this device, of another one that is like it, or the one that became active meanwhile."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import edgeexit
from edgeexit.bundle import Bundle, CalibrationDocument
from edgeexit.errors import BundleError, InputError
from edgeexit.hardware import read_device_facts
from edgeexit.hardware.keys import find_old_device_key, make_device_key
from edgeexit.runtime import CalibrationWarning, Runner, Settings
from edgeexit.runtime.calibrations import find_settings_key
from edgeexit.runtime.recheck import Recheck, recheck_times
from tests.networks import chain, images

HERE = find_settings_key(Settings())


def document(inner: float, **changed: Any) -> dict[str, Any]:
    """As far as loading reads it; exits that take a second, so that here none is slower."""
    return {
        "schema": "edgeexit.calibration/1",
        "created": "2026-01-01T00:00:00+00:00",
        "target": "drop<=1",
        "met": True,
        "inner_thresholds": [inner, inner],
        "device": dict(read_device_facts()),
        "settings": {"spin": False, "options": ""},
        "exits": [{"mean_s": 1.0 * k, "p50_s": 1.0 * k, "p99_s": 2.0 * k} for k in (1, 2, 3)],
        **changed,
    }


def load_quietly(path: Path, **options: Any) -> Runner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        return edgeexit.load(path, mode="staged", **options)


def elsewhere(**facts: str) -> tuple[str, dict[str, str]]:
    """Key and facts of a device that differs from this one in some facts."""
    changed = {**read_device_facts(), **facts}
    return Settings().key(make_device_key(changed)), changed


def test_a_calibration_under_a_key_of_an_earlier_version_is_found(bundle_path: Path) -> None:
    """Without a warning; the same device, whatever its key was called."""
    Bundle.open(bundle_path).write_calibration(Settings().key(find_old_device_key()), document(-0.5))

    with edgeexit.load(bundle_path, mode="staged") as runner:
        assert (-0.5, -0.5) == runner.inner_thresholds


def test_a_calibration_of_another_python_and_numpy_is_one_of_this_device(bundle_path: Path) -> None:
    """Even under a key that nothing here would give."""
    facts = {**read_device_facts(), "python": "3.99", "numpy": "9.9.9", "kernel": "0.1"}
    Bundle.open(bundle_path).write_calibration(
        "some-old-key/onnxruntime-staged-float32-t1", document(-0.5, device=facts)
    )

    with edgeexit.load(bundle_path, mode="staged") as runner:
        assert (-0.5, -0.5) == runner.inner_thresholds


def test_the_nearest_calibration_of_another_device_is_named_with_what_changed(bundle_path: Path) -> None:
    """And not used unasked: nothing leaves early."""
    far, facts = elsewhere(cpu="ARM 0x41:0xd42", onnxruntime="1.0.0")
    near, near_facts = elsewhere(onnxruntime="1.0.0")
    bundle = Bundle.open(bundle_path).write_calibration(near, document(-0.5, device=near_facts), name="near")
    bundle.write_calibration(far, document(-0.7, device=facts), name="far")

    with pytest.warns(CalibrationWarning, match=r"nearest is 'near'.*ONNX Runtime 1\.0 → .*--accept-device"):
        runner = edgeexit.load(bundle_path, mode="staged")

    assert (float("inf"), float("inf")) == runner.inner_thresholds
    assert runner.calibration_name is None


@pytest.mark.parametrize(
    ("times_s", "used"),
    [
        ([1.0, 50.0, 3.0], False),  # faster here, but in other proportions
        ([1e-9, 2e-9, 3e-9], False),
        ([1e-3, 2e-3, 3e-3], True),
        ([1.1e-3, 2.2e-3, 3.3e-3], True),
    ],
)
def test_a_calibration_of_another_device_is_used_if_it_is_accepted_and_its_times_hold(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, times_s: list[float], used: bool
) -> None:
    """A re-check of forced times decides; here it finds 1, 2 and 3 ms."""
    monkeypatch.setattr("edgeexit.runtime.recheck.SECONDS", 0.0)
    monkeypatch.setattr("edgeexit.runtime.recheck._time_block_mean", lambda runner, x, exit: 1e-3 * exit)
    key, facts = elsewhere(onnxruntime="1.0.0")
    exits = [{"mean_s": t} for t in times_s]
    Bundle.open(bundle_path).write_calibration(key, document(-0.5, device=facts, exits=exits))

    with pytest.warns(CalibrationWarning, match="so it is used" if used else "do not hold here"):
        runner = edgeexit.load(bundle_path, mode="staged", accept_device=True)

    assert used == (runner.inner_thresholds == (-0.5, -0.5))


def test_a_recheck_times_every_exit(bundle_path: Path) -> None:
    """Forced, on random inputs."""
    with load_quietly(bundle_path) as runner:
        found = recheck_times(runner, CalibrationDocument(document(0.0)), seconds=0.0)

    assert 3 == len(found.now_s)
    assert all(now > 0 for now in found.now_s)


def test_a_device_that_is_faster_throughout_is_accepted_and_a_slower_exit_is_not() -> None:
    """What counts is that no exit is slower, and that the exits keep their proportions."""
    then = (1.0, 2.0, 4.0)

    assert Recheck(then, (0.5, 1.0, 2.0)).agrees
    assert Recheck(then, (1.1, 2.2, 4.4)).agrees
    assert not Recheck(then, (1.3, 2.6, 5.2)).agrees
    assert not Recheck(then, (0.9, 1.0, 1.0)).agrees


@pytest.mark.parametrize(
    "exits", [None, [], [{"mean_s": 1.0}] * 2, [{"mean_s": "inf"}] * 3, [{"mean_s": 0.0}] * 3, [1, 2, 3]]
)
def test_a_calibration_without_times_cannot_be_rechecked(bundle_path: Path, exits: object) -> None:
    """One message, whatever stands there."""
    with load_quietly(bundle_path) as runner, pytest.raises(InputError, match="no time of each exit"):
        recheck_times(runner, CalibrationDocument(document(0.0, exits=exits)), seconds=0.01)


def test_an_active_calibration_whose_target_was_not_met_is_warned_of(bundle_path: Path) -> None:
    """It runs all the same: somebody made it active."""
    Bundle.open(bundle_path).write_calibration(HERE, document(-0.5, met=False))

    with pytest.warns(CalibrationWarning, match="'cal-1' is active although its target drop<=1 was not met"):
        runner = edgeexit.load(bundle_path, mode="staged")

    assert (-0.5, -0.5) == runner.inner_thresholds


def test_an_inactive_calibration_is_offered_where_there_is_no_active_one(bundle_path: Path) -> None:
    """With the command that makes it active."""
    Bundle.open(bundle_path).write_calibration(HERE, document(-0.5, met=False), activate=False)

    with pytest.warns(CalibrationWarning, match=r"'cal-1' \(drop<=1: not met\) is kept but not active.*use .* cal-1"):
        edgeexit.load(bundle_path, mode="staged")


def test_a_reloaded_runner_has_the_calibration_that_is_active_by_now(bundle_path: Path) -> None:
    """True where anything changed; thresholds set by hand stay until then."""
    Bundle.open(bundle_path).write_calibration(HERE, document(-0.5))
    with edgeexit.load(bundle_path, mode="staged") as runner:
        runner.inner_thresholds = (-0.1, -0.1)
        assert not runner.reload()
        assert (-0.1, -0.1) == pytest.approx(runner.inner_thresholds)

        Bundle.open(bundle_path).write_calibration(HERE, document(-0.75), name="night")

        assert runner.reload()
        assert ((-0.75, -0.75), "night") == (runner.inner_thresholds, runner.calibration_name)
        Bundle.open(bundle_path).write_calibration(HERE, document(-0.25, met=False), activate=False)
        assert not runner.reload()


def recompile(path: Path, model: Path) -> None:
    edgeexit.compile(model, path, criterion="max_softmax", seconds=0)


def test_a_reloaded_runner_has_the_network_that_was_compiled_meanwhile(bundle_path: Path, model: Path) -> None:
    """Stages, criterion and all."""
    with load_quietly(bundle_path) as runner:
        recompile(bundle_path, model)
        with pytest.warns(CalibrationWarning, match="no calibration"):
            assert runner.reload()

        assert "max_softmax" == runner.criterion.name
        assert 4 == len(runner.batch(images(4)))
        assert not runner.reload()


LATE: dict[str, Callable[[Runner], object]] = {
    "batch": lambda r: r.batch(images(4)),
    "replay": lambda r: r.replay(images(4)),
    "backbone": lambda r: r.backbone(),
    "deadline": lambda r: r.prepare_deadlines(),
}


@pytest.mark.parametrize("call", LATE.values(), ids=list(LATE))
def test_what_is_opened_late_says_that_the_bundle_was_compiled_anew(
    bundle_path: Path, tmp_path: Path, call: Callable[[Runner], object]
) -> None:
    """What is open goes on; `reload` mends the rest."""
    fused = Settings(mode="fused")
    Bundle.open(bundle_path).write_calibration(find_settings_key(fused), document(-0.5))
    with edgeexit.load(bundle_path, mode="fused") as runner:
        edgeexit.compile(chain(tmp_path / "other.onnx", width=20), bundle_path, seconds=0)

        assert 0 <= runner(images(1)).label < runner.classes
        with pytest.raises(BundleError, match=r"recompiled.*runner\.reload\(\)"):
            call(runner)


def test_loading_beside_a_compile_gets_the_bundle_that_is_there_in_the_end(
    bundle_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old files vanish between the check and the opening."""
    real, calls = Bundle.open, []

    def slow(path: Path) -> Bundle:
        bundle = real(path)
        calls.append(path)
        if len(calls) == 1:
            recompile(bundle_path, model)
        return bundle

    monkeypatch.setattr(Bundle, "open", slow)

    with load_quietly(bundle_path) as runner:
        assert "max_softmax" == runner.criterion.name


def test_a_clone_has_the_name_of_its_calibration(bundle_path: Path) -> None:
    """As its thresholds."""
    Bundle.open(bundle_path).write_calibration(HERE, document(-0.5), name="night")

    with edgeexit.load(bundle_path, mode="staged") as runner, runner.clone() as other:
        assert "night" == other.calibration_name


def test_the_manifest_of_a_bundle_that_is_gone_is_one_message(bundle_path: Path) -> None:
    """The Runner itself goes on."""
    with load_quietly(bundle_path) as runner:
        shutil.rmtree(bundle_path)
        with pytest.raises(BundleError, match="does not exist"):
            runner.reload()
        assert 0 <= runner(images(1)).label < runner.classes
        assert json.dumps(runner.thresholds)
