"""The best answer in time: stages start only while their calibrated p99 fits."""

from __future__ import annotations

import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.backends import StagedProgram
from edgeexit.backends.onnxruntime import backend as onnxruntime
from edgeexit.bundle import Bundle
from edgeexit.errors import BundleError, InputError
from edgeexit.hardware import find_device_key, read_device_state
from edgeexit.runtime import CalibrationWarning, Runner, Settings
from tests.networks import images

NEVER = ["inf", "inf"]


def claiming(p99_s: list[float], inner: list[object] | None = None, *, spin: bool = False) -> dict[str, Any]:
    """A calibration that claims these cumulative times."""
    return {
        "schema": "edgeexit.calibration/1",
        "inner_thresholds": inner or NEVER,
        "exits": [{"p50_s": p, "p99_s": p} for p in p99_s],
        "settings": {"spin": spin},
    }


def keep(bundle_path: Path, mode: str, calibration: dict[str, Any]) -> None:
    """Put it into the bundle, as one of this device."""
    edgeexit.Bundle.open(bundle_path).write_calibration(Settings(mode=mode).key(find_device_key()), calibration)


def calibrated(bundle_path: Path, p99_s: list[float], mode: str, inner: list[object] | None = None) -> Runner:
    """The bundle with a calibration of this device that claims these cumulative times."""
    keep(bundle_path, mode, claiming(p99_s, inner))
    return edgeexit.load(bundle_path, mode=mode)


@pytest.mark.parametrize("mode", ["staged", "fused"])
@pytest.mark.parametrize(("deadline_s", "exit"), [(10.0, 1), (60.0, 2), (300.0, 3)])
def test_no_stage_starts_whose_p99_does_not_fit(bundle_path: Path, mode: str, deadline_s: float, exit: int) -> None:
    """Stages that claim 1 s, 50 s and 200 s: the answer is the deepest exit that fits, and it is not late."""
    runner = calibrated(bundle_path, [1.0, 51.0, 251.0], mode)

    p = runner(images(1), deadline_s=deadline_s)

    assert (exit, False) == (p.exit, p.late)


def test_exit_1_always_runs_and_says_when_it_is_late(bundle_path: Path) -> None:
    """An answer that comes too late is still an answer."""
    runner = calibrated(bundle_path, [1.0, 2.0, 3.0], "staged")

    p = runner(images(1), deadline_s=1e-9)

    assert (1, True) == (p.exit, p.late)


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_waiting_for_another_thread_counts(bundle_path: Path, mode: str) -> None:
    """Seconds from the call, not from when the runner was free: by then only exit 1 is run, and it is late."""
    runner = calibrated(bundle_path, [1e-6, 2e-6, 3e-6], mode)
    busy, free = threading.Event(), threading.Event()

    def hold(_what: str, _done: int, _total: int) -> None:
        busy.set()
        free.wait(600)

    other = threading.Thread(target=lambda: runner.replay(images(1), hold))
    other.start()
    assert busy.wait(600)
    threading.Timer(0.2, free.set).start()
    p = runner(images(1), deadline_s=0.1)
    other.join()

    assert (1, True) == (p.exit, p.late)


@pytest.fixture
def slow_to_open(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds that opening the staged mode takes, as where engines have to be built: on the runner's clock, which is put forward."""
    seconds, opened, passed = 120.0, onnxruntime.BACKEND.open_staged, [0.0]

    def open_slowly(bundle: Bundle, settings: Settings) -> StagedProgram:
        passed[0] += seconds
        return opened(bundle, settings)

    for module in ("deadline", "runner"):
        monkeypatch.setattr(f"edgeexit.runtime.{module}.perf_counter", lambda: time.perf_counter() + passed[0])
    monkeypatch.setattr(onnxruntime.BACKEND, "open_staged", open_slowly)
    return seconds


def test_opening_the_stages_counts_where_nobody_prepared_it(bundle_path: Path, slow_to_open: float) -> None:
    """The first call with a deadline pays for it in fused mode, and says that it is late."""
    runner = calibrated(bundle_path, [1e-6, 2e-6, 3e-6], "fused")

    p = runner(images(1), deadline_s=slow_to_open / 2)

    assert (1, True) == (p.exit, p.late)


@pytest.mark.parametrize("cloned", [False, True])
def test_a_prepared_runner_is_in_time_at_once(bundle_path: Path, slow_to_open: float, cloned: bool) -> None:
    """Its clones are prepared with it."""
    runner = calibrated(bundle_path, [1e-6, 2e-6, 3e-6], "fused")
    runner.prepare_deadlines()

    p = (runner.clone() if cloned else runner)(images(1), deadline_s=slow_to_open / 2)

    assert (3, False) == (p.exit, p.late)


def test_the_times_of_the_staged_form_decide_in_fused_mode_too(bundle_path: Path) -> None:
    """Deadlines run its stages; inside the fused graph the same stages take less."""
    keep(bundle_path, "staged", claiming([1.0, 51.0, 251.0]))
    runner = calibrated(bundle_path, [1.0, 2.0, 3.0], "fused")

    assert 2 == runner(images(1), deadline_s=60.0).exit
    assert 2 == runner.clone()(images(1), deadline_s=60.0).exit


@pytest.mark.parametrize(
    "staged",
    [
        claiming([1.0, 51.0, 251.0], spin=True),
        {**claiming([1.0, 51.0, 251.0]), "schema": "edgeexit.calibration/2"},
        {**claiming([1.0, 51.0, 251.0]), "exits": "none"},
    ],
    ids=["other settings", "newer", "no times"],
)
def test_times_of_the_staged_form_that_do_not_hold_are_left_aside(bundle_path: Path, staged: dict[str, Any]) -> None:
    """Those of the fused mode are then nearer."""
    keep(bundle_path, "staged", staged)
    runner = calibrated(bundle_path, [1.0, 2.0, 3.0], "fused")

    assert 3 == runner(images(1), deadline_s=60.0).exit


def test_preparing_for_deadlines_needs_a_calibration(bundle_path: Path) -> None:
    """It would open what no call may use."""
    with pytest.warns(CalibrationWarning):
        runner = edgeexit.load(bundle_path, mode="fused")

    with pytest.raises(InputError, match="needs the p99 of each exit"):
        runner.prepare_deadlines()


def test_a_sure_sample_leaves_before_the_deadline_is_used_up(bundle_path: Path) -> None:
    """The thresholds hold under a deadline too."""
    runner = calibrated(bundle_path, [1e-3, 2e-3, 3e-3], "staged", ["-inf", "-inf"])

    assert runner(images(1), deadline_s=60.0).exit == 1


def test_the_answer_in_time_is_that_exits_answer(bundle_path: Path) -> None:
    """Same logits as forcing the exit."""
    runner = calibrated(bundle_path, [1.0, 51.0, 251.0], "fused")

    p = runner(images(1), deadline_s=60.0)

    assert p.logits == pytest.approx(runner.forced(images(1), exit=2).logits, abs=1e-5)


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, float("nan"), float("inf"), "1", [1], 1j])
def test_a_deadline_that_is_no_positive_number_is_refused(bundle_path: Path, deadline_s: Any) -> None:
    """Seconds from now."""
    runner = calibrated(bundle_path, [1.0, 2.0, 3.0], "staged")

    with pytest.raises(InputError, match="deadline_s must be a positive number"):
        runner(images(1), deadline_s=deadline_s)


def test_a_deadline_may_be_a_number_of_numpy(bundle_path: Path) -> None:
    """As it comes out of a table."""
    runner = calibrated(bundle_path, [1.0, 2.0, 3.0], "staged")

    assert 3 == runner(images(1), deadline_s=np.float32(60.0)).exit


def test_load_picks_up_the_thresholds_of_this_device(bundle_path: Path) -> None:
    """In the engines' units inside, in nats outside."""
    runner = calibrated(bundle_path, [1.0, 2.0, 3.0], "staged", [-0.25, "inf"])

    assert runner.inner_thresholds == (-0.25, float("inf"))
    assert runner.thresholds == [0.25, float("-inf")]


def test_load_warns_when_the_device_is_in_another_state(bundle_path: Path) -> None:
    """Latencies measured in one power mode do not hold in another."""
    calibrated(bundle_path, [1.0, 2.0, 3.0], "staged").close()
    bundle = edgeexit.Bundle.open(bundle_path)
    key = Settings().key(find_device_key())
    document = bundle.read_calibration(key)
    assert document is not None
    bundle.write_calibration(key, {**document, "state": {"before": {"power_mode": "15W", "cores_online": 1}}})

    with pytest.warns(
        CalibrationWarning, match=r"another power mode \(15W, now .*\); another number of cores online \(1, now"
    ):
        edgeexit.load(bundle_path, mode="staged")


@pytest.mark.parametrize(("cpus", "warned"), [([900, 901], True), ([904], False), ("none", False), ([[0]], False)])
def test_load_warns_when_other_kinds_of_cores_are_used(
    bundle_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: object, warned: bool
) -> None:
    """What the little cores took says nothing of the big ones; which of the big ones it is changes nothing."""
    calibrated(bundle_path, [1.0, 2.0, 3.0], "staged").close()
    bundle, key = edgeexit.Bundle.open(bundle_path), Settings().key(find_device_key())
    bundle.write_calibration(key, {**(bundle.read_calibration(key) or {}), "state": {"before": {"affinity": cpus}}})
    kinds = {(900, 901): "little (900-901)", (904,): "big (904)"}
    here = tuple(read_device_state().affinity)
    monkeypatch.setattr(
        "edgeexit.runtime.loading.describe_kinds", lambda c: {**kinds, here: "big (5)"}.get(tuple(c), "")
    )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CalibrationWarning)
        edgeexit.load(bundle_path, mode="staged").close()

    assert warned == any("another kind of cores (little (900-901), now big (5))" in str(w.message) for w in caught)


def test_load_warns_when_the_spin_setting_is_not_the_calibrated_one(bundle_path: Path) -> None:
    """Spinning moves both time and energy by factors, so the latencies would not hold."""
    calibrated(bundle_path, [1.0, 2.0, 3.0], "staged").close()

    with pytest.warns(CalibrationWarning, match=r"another spinning \(False, now True\)"):
        edgeexit.load(bundle_path, mode="staged", spin=True)


@pytest.mark.parametrize("exits", ["abc", [1, 2, 3], [{"p99_s": "a", "p50_s": "b"}] * 3, [{}, {}, {}]])
def test_a_calibration_without_times_is_refused_for_a_deadline(bundle_path: Path, exits: object) -> None:
    """A document from a stranger may hold anything there."""
    document = {"schema": "edgeexit.calibration/1", "inner_thresholds": NEVER, "exits": exits}
    edgeexit.Bundle.open(bundle_path).write_calibration(Settings(mode="staged").key(find_device_key()), document)
    runner = edgeexit.load(bundle_path, mode="staged")

    with pytest.raises(InputError, match="needs the p99 of each exit"):
        runner(images(1), deadline_s=1.0)


def test_a_calibration_of_a_newer_edgeexit_is_refused_with_the_remedy(bundle_path: Path) -> None:
    """Its thresholds may mean something else."""
    document = {"schema": "edgeexit.calibration/2", "inner_thresholds": NEVER}
    edgeexit.Bundle.open(bundle_path).write_calibration(Settings(mode="staged").key(find_device_key()), document)

    with pytest.raises(BundleError, match=r"newer edgeexit .*pip install -U"):
        edgeexit.load(bundle_path, mode="staged")
