"""The budget of `edgeexit tune` is that of the whole run; a clock of the test's own moves by what each kind of work is said to take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeexit
from edgeexit.calibration import parse_target
from edgeexit.calibration.device import time_variants
from edgeexit.compiler.compilation import compile_model
from edgeexit.data import make_dataset
from edgeexit.graph import read_model
from edgeexit.graph.expected_data import read_model_info
from edgeexit.hardware import read_device_state
from edgeexit.runtime import CalibrationWarning, load_quietly
from edgeexit.tuning import TuningSpace
from edgeexit.tuning.budget import LEAST, SHARES, TimeBudget
from edgeexit.tuning.plan import TuningPlan
from edgeexit.tuning.result import TuningResult
from edgeexit.tuning.session import TuningSession
from edgeexit.util.documents import read_json

pytestmark = pytest.mark.filterwarnings("ignore::edgeexit.CalibrationWarning")  # such as of a noisy machine

SPACE = TuningSpace(("onnxruntime",), ("float32", "int8"), ("staged", "fused"), (1,), ("entropy",), mixed=False)


@dataclass
class MadeUpClock:
    """A clock that only moves when it is told to."""

    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s

    def delay(self, function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """The function, which takes so long by this clock."""

        def slow(*args: Any, **kwargs: Any) -> Any:
            self.now_s += seconds
            return function(*args, **kwargs)

        return slow


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_the_timing_and_other_work_add_up_to_the_budget(seed: int) -> None:
    """Whatever other work takes, as long as it leaves more than the least, and though estimates of it are off by a third."""
    rng, clock = np.random.default_rng(seed), MadeUpClock()
    budget = TimeBudget(100.0, clock)
    work_s = rng.dirichlet(np.ones(len(SHARES))) * rng.uniform(5, 55)
    for place, part in enumerate(SHARES):
        clock.now_s += work_s[place]
        clock.now_s += budget.allot(part, rng.uniform(0.67, 1.33) * work_s[place + 1 :].sum())
    assert clock.now_s == pytest.approx(100, abs=1e-6)


def test_timing_has_a_least_share_and_the_overrun_is_known_before_it_begins() -> None:
    """Where other work alone takes the budget, what the run takes longer is what was said."""
    clock = MadeUpClock()
    budget = TimeBudget(100.0, clock)
    clock.now_s = 90.0
    parts = list(SHARES)[1:]
    said_s = budget.find_overrun(parts[0], 30.0)
    clock.now_s += 30.0 + sum(budget.allot(part, 30.0) for part in parts)
    assert clock.now_s == pytest.approx(100 + said_s)
    assert clock.now_s > 120 + 0.9 * LEAST * 100


def _make_samples(model: Path, compiled: Path) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((160, 3, 8, 8)).astype(np.float32)
    with load_quietly(compiled) as runner:
        return x, runner.replay(x)[1][:, -1].argmax(axis=-1)


def _tune_by(
    clock: MadeUpClock, seconds: float, monkeypatch: pytest.MonkeyPatch, places: Sequence[Path], *, resume: bool = False
) -> TuningResult:
    """A run in which a compile takes 3 s by this clock, a run over all samples 5 s, and all timing what it is allotted."""
    model, compiled, output = places

    def time_briefly(calls: Any, length_s: float, *rest: Any, **more: Any) -> Any:
        clock.now_s += length_s
        return time_variants(calls, 0.01, *rest, **more)

    def calibrate_briefly(*args: Any, seconds: float, **more: Any) -> Any:
        clock.now_s += seconds + 5.0
        return edgeexit.calibrate(*args, seconds=0.02, **more)

    with monkeypatch.context() as patch:
        for module in ("answers", "confirm"):
            patch.setattr(f"edgeexit.tuning.{module}.compile_model", clock.delay(compile_model, 3.0))
        for module in ("timing", "confirm"):
            patch.setattr(f"edgeexit.tuning.{module}.time_variants", time_briefly)
        patch.setattr("edgeexit.tuning.answers.load_quietly", clock.delay(load_quietly, 5.0))
        patch.setattr("edgeexit.tuning.confirm.calibrate", calibrate_briefly)
        x, y = _make_samples(model, compiled)
        data = make_dataset("data", x, y, read_model_info(read_model(model), str(model)))
        budget = TimeBudget(seconds, clock)
        plan = TuningPlan(model, output, data, parse_target("drop<=60"), SPACE, budget, 0, lambda *_: None, force=True)
        return TuningSession(plan, plan.open_store(resume=resume)).run()


def test_a_run_ends_near_its_budget(
    model: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiling, recording, calibrating and timing together, by the clock of the run; and a run that is resumed times nothing anew."""
    clock, places = MadeUpClock(), (model, compiled, tmp_path / "best.eexit")
    result = _tune_by(clock, 120.0, monkeypatch, places)
    assert 108 <= clock.now_s <= 132
    assert result.seconds == pytest.approx(clock.now_s, abs=0.1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "best.tune").glob("*.npz")}
    _tune_by(MadeUpClock(), 120.0, monkeypatch, places, resume=True)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "best.tune").glob("*.npz")}


def test_a_larger_budget_times_the_setups_for_longer(
    model: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run that was there already and is resumed with it."""
    places = (model, compiled, tmp_path / "best.eexit")
    lengths: list[float] = []
    for seconds in (60.0, 240.0):
        _tune_by(MadeUpClock(), seconds, monkeypatch, places, resume=bool(lengths))
        record = read_json(tmp_path / "best.tune" / "record.json", "a record of tuning")
        lengths.append(max(one["seconds"] for one in record["setups"]))
    assert lengths[1] > 3 * lengths[0]


class TimingBegins(Exception):
    """The setups would be timed now."""


def _stop(*_: Any, **__: Any) -> None:
    raise TimingBegins


def test_cores_that_are_busy_are_told_before_anything_is_timed(
    model: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes that leave no core free make times incomparable, however alike the first blocks were."""
    state = replace(read_device_state(), cores_online=2, steal_cpu_s=0.0, busy_cpu_s=100.0)
    later = replace(state, monotonic_s=state.monotonic_s + 10, busy_cpu_s=119.0)
    states = iter((state, later))
    monkeypatch.setattr("edgeexit.tuning.session.read_device_state", lambda: next(states))
    monkeypatch.setattr("edgeexit.tuning.session.time_setups", _stop)
    warns = pytest.warns(CalibrationWarning, match=r"noisy: .*other processes used 1\.9 of 2 cores")
    with warns, pytest.raises(TimingBegins):
        _tune_by(MadeUpClock(), 10.0, monkeypatch, (model, compiled, tmp_path / "best.eexit"))


def test_a_budget_that_other_work_takes_is_told_before_anything_is_timed(
    model: Path, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how much later the run ends, and what to do."""
    places = (model, compiled, tmp_path / "best.eexit")
    monkeypatch.setattr("edgeexit.tuning.session.time_setups", _stop)
    warns = pytest.warns(CalibrationWarning, match=r"after its budget of 10 s.*larger")
    with warns, pytest.raises(TimingBegins):
        _tune_by(MadeUpClock(), 10.0, monkeypatch, places)
