from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeexit.errors import InputError
from edgeexit.hardware.power import NoPowerMeter, RejectedMeter, find_power_meter
from edgeexit.hardware.power.external import CsvRecorder
from edgeexit.hardware.power.recorder import ProcessRecorder
from edgeexit.measure.energy.measurement import measure_energy, measure_runner_energy
from edgeexit.measure.energy.options import EnergyOptions
from edgeexit.measure.energy.report import EnergyReport
from edgeexit.measure.energy.trace import unwrap
from edgeexit.measure.energy.windows import SystemClock
from edgeexit.measure.scenarios import Pace
from edgeexit.runtime import Runner
from tests.hardware import boards
from tests.networks import SIDE

from .sources import IDLE_W, Simulated, World, gaps, stuck

EXIT_1 = (0.001, 9.0)
EXIT_2 = (0.003, 11.0)
"""Length in s and power in W of an inference: 9 mJ and 33 mJ gross, 5 mJ and 21 mJ net of 4 W."""


def measured(world: World, meter: Simulated) -> EnergyReport:
    """Two exits and their mix, three of four inferences leaving at the first."""
    one, two = world.work(*EXIT_1), world.work(*EXIT_2)
    calls = {"exit 1": one, "exit 2": two, "mix": lambda i: two(i) if i % 4 == 0 else one(i)}
    return measure_energy(
        calls,
        EnergyOptions(recorder=meter, clock=world, seconds=5.0, idle_s=2.0, trials=3),
        shares={"exit 1": 0.75, "exit 2": 0.25},
    )


def test_known_joules_come_out_within_the_budget_and_within_one_percent() -> None:
    """A square wave between idle and loops, through a meter with 40 mW steps."""
    world = World()
    report = measured(world, Simulated(world))
    exit_1, exit_2 = report.find_call("exit 1"), report.find_call("exit 2")

    assert 0.009 == pytest.approx(exit_1.gross_j, rel=0.01)
    assert 0.033 == pytest.approx(exit_2.gross_j, rel=0.01)
    assert 0.005 == pytest.approx(exit_1.net_j, rel=0.01)
    assert 0.021 == pytest.approx(exit_2.net_j, rel=0.01)
    assert exit_1.budget is not None
    assert abs((exit_1.gross_j or 0) - 0.009) <= exit_1.budget.gross_j
    assert IDLE_W == pytest.approx(report.idle_w, rel=0.01)
    assert "valid" == report.validity.status
    assert ["exit 1", "exit 2", "mix"] == [call.name for call in report.calls]


@settings(max_examples=25)
@given(
    power_w=st.floats(6.0, 40.0),
    per_inference_s=st.floats(2e-4, 0.02),
    step=st.sampled_from([0.01, 0.04, 0.1, 0.39]),
    kind=st.sampled_from(["sampled", "counter"]),
)
def test_the_error_is_inside_its_budget(power_w: float, per_inference_s: float, step: float, kind: str) -> None:
    """Whatever power, length, step and kind of meter; where the budget says 1 %, the error is below 1 %."""
    world = World()
    meter = Simulated(
        world, kind, step if kind == "sampled" else step / 1000, range_j=500.0 if kind == "counter" else None
    )
    report = measure_energy(
        {"exit 1": world.work(per_inference_s, power_w)},
        EnergyOptions(recorder=meter, clock=world, seconds=5.0, idle_s=2.0, trials=2),
    )
    call, truth = report.find_call("exit 1"), power_w * per_inference_s

    assert call.gross_j is not None
    assert call.budget is not None
    error = abs(call.gross_j - truth)
    # Sampling error is a standard deviation of a few percent of a percent; three of them bound it.
    assert error <= call.budget.gross_j + 2 * call.budget.sampling_j + 1e-9 * truth
    if call.budget.gross_j < 0.003 * truth:
        assert error < 0.01 * truth


def test_the_exits_energies_explain_the_mix() -> None:
    """0.75 * 9 mJ + 0.25 * 33 mJ = 15 mJ."""
    world = World()
    report = measured(world, Simulated(world))

    assert 0.015 == pytest.approx(report.find_call("mix").gross_j, rel=0.01)
    assert 0.0 == pytest.approx(report.closure, abs=0.01)


def test_a_mix_that_the_exits_do_not_explain_is_suspect() -> None:
    """Exits that disturb each other cost more together than each alone."""
    world = World()
    calls = {"exit 1": world.work(0.001, 9.0), "mix": world.work(0.001, 12.0)}
    report = measure_energy(
        calls,
        EnergyOptions(recorder=Simulated(world), clock=world, seconds=5, idle_s=2, trials=2),
        shares={"exit 1": 1.0},
    )

    assert -0.25 == pytest.approx(report.closure, abs=0.01)
    assert "suspect" == report.validity.status


def test_a_counter_that_wraps_every_second_loses_nothing() -> None:
    """It starts again from 0 at its range; a fall is a start, not negative energy."""
    world = World()
    report = measured(world, Simulated(world, "counter", 61e-6, interval_s=976e-6, range_j=8.0))

    assert 0.009 == pytest.approx(report.find_call("exit 1").gross_j, rel=0.01)
    assert 0.033 == pytest.approx(report.find_call("exit 2").gross_j, rel=0.01)


def test_a_counter_that_ticks_slowly_is_read_from_tick_to_tick() -> None:
    """A counter with 100 ms between its ticks would be off by a tick at each end."""
    world = World()
    report = measured(world, Simulated(world, "counter", 1e-3, interval_s=0.1))

    assert 0.009 == pytest.approx(report.find_call("exit 1").gross_j, rel=0.01)


def test_a_stuck_code_gives_no_energy() -> None:
    """The same value in every reading carries no information, and is not reported as power."""
    world = World()
    report = measured(world, Simulated(world, fault=stuck))

    assert report.find_call("exit 1").gross_j is None
    assert "stuck" in (report.reason or "")


def test_a_negative_offset_cancels_in_net_energy_and_is_reported_for_gross() -> None:
    """A Thor shows -392 mW at idle: net energy is right, gross carries it and its budget says so."""
    world = World(idle_w=0.0)
    report = measured(world, Simulated(world, offset_w=-0.392))
    call = report.find_call("exit 1")

    assert call.budget is not None
    assert 0.009 == pytest.approx(call.net_j, rel=0.01)
    assert abs((call.gross_j or 0) - 0.009) <= call.budget.gross_j
    assert call.budget.offset_j > 0
    assert any("negative power" in reason for reason in report.validity.reasons)


def test_net_energy_below_three_steps_is_refused() -> None:
    """On an AGX Orin, half a watt over idle is 1.3 codes: not told from nothing."""
    world = World()
    meter = Simulated(world, step=0.39, dither_w=0.3)
    report = measure_energy(
        {"exit 1": world.work(0.001, IDLE_W + 0.5)}, EnergyOptions(recorder=meter, clock=world, seconds=5.0, idle_s=2.0)
    )
    call = report.find_call("exit 1")

    assert call.net_j is None
    assert "3 resolution steps" in (call.reason or "")
    assert call.gross_j is not None


def test_missing_readings_are_left_out_and_told() -> None:
    """A failed reading is no zero."""
    world = World()
    report = measured(world, Simulated(world, fault=gaps))

    assert 0.009 == pytest.approx(report.find_call("exit 1").gross_j, rel=0.01)
    assert any("lack a channel" in reason for reason in report.validity.reasons)


def test_a_sensor_that_never_answers_gives_no_energy() -> None:
    """Unreadable is not 0 J."""
    world = World()
    report = measured(world, Simulated(world, fault=lambda values: np.full_like(values, math.nan)))

    assert report.find_call("mix").gross_j is None
    assert "0 readings" in (report.reason or "")


def test_idle_power_that_drifts_is_suspect_and_in_the_budget() -> None:
    """A machine that warms up draws more at the end than at the start."""
    world = World()

    def warming(i: int) -> None:
        world.idle_w += 2e-5
        world.spend(0.001, 9.0)

    report = measure_energy(
        {"exit 1": warming}, EnergyOptions(recorder=Simulated(world), clock=world, seconds=5.0, idle_s=2.0, trials=3)
    )
    budget = report.find_call("exit 1").budget

    assert (report.idle_drift or 0) > 0.02
    assert budget is not None
    assert budget.idle_j > budget.quantisation_j
    assert any("drifted" in reason for reason in report.validity.reasons)


def test_loops_are_long_enough_for_the_meter() -> None:
    """200 updates: a meter that is read ten times a second needs 20 s."""
    world = World()
    report = measure_energy(
        {"exit 1": world.work(0.01, 9.0)},
        EnergyOptions(recorder=Simulated(world, rate_hz=10), clock=world, seconds=1.0, idle_s=0.1, trials=1),
    )

    assert report.find_call("exit 1").window_s >= 20.0


def test_a_step_that_no_one_knows_is_taken_from_the_readings() -> None:
    """The smallest change that was seen."""
    world = World()
    report = measured(world, Simulated(world, step=0.05, known_step=False, dither_w=0.2))

    assert 0.05 == pytest.approx(report.step)


def test_without_a_meter_everything_is_null_with_the_reasons() -> None:
    """Never 0 J."""
    report = measure_energy(
        {"exit 1": lambda i: None}, EnergyOptions(meter=NoPowerMeter((RejectedMeter("rapl", "no package"),)))
    )
    document = json.loads(json.dumps(report.to_document(), allow_nan=False))

    assert document["calls"][0]["gross_j"] is None
    assert document["calls"][0]["net_j"] is None
    assert "rapl: no package" in document["reason"]
    assert "edgeexit.energy/1" == document["schema"]


def test_a_report_is_json_without_a_nan() -> None:
    """Intervals, budget and rails included."""
    world = World()
    document = json.loads(json.dumps(measured(world, Simulated(world)).to_document(), allow_nan=False))

    assert (
        document["calls"][0]["gross_ci95"]["low"]
        <= document["calls"][0]["gross_j"]
        <= document["calls"][0]["gross_ci95"]["high"]
    )
    assert "VDD_IN" in document["calls"][0]["rails_j"]


@given(st.lists(st.floats(0.0, 0.9), min_size=1, max_size=50))
def test_unwrapping_undoes_a_wrap(increments: list[float]) -> None:
    """For any energies below the range between two readings."""
    energy = np.concatenate([[0.25], 0.25 + np.cumsum(increments)])

    assert np.allclose(unwrap(energy % 1.0, 1.0), energy - 0.25, atol=1e-9)


@pytest.mark.parametrize("offset_s", [-3600.0, 0.0, 12.345, 1.7e9])
def test_an_external_meters_clock_is_found_from_the_pattern_of_the_load(offset_s: float) -> None:
    """To within a sample, whatever its origin."""
    world = World()
    report = measured(world, Simulated(world, clock_offset_s=offset_s, step=0.001))

    assert 0.009 == pytest.approx(report.find_call("exit 1").gross_j, rel=0.01)
    assert "shifted by" in report.notes[-1]


def test_a_log_that_does_not_follow_the_load_is_refused() -> None:
    """Another device's log, or one that ended too early, is not aligned to anything."""
    world = World()
    meter = Simulated(
        world, clock_offset_s=5.0, fault=lambda values: np.random.default_rng(1).normal(5.0, 1.0, values.size)
    )
    report = measured(world, meter)

    assert report.find_call("exit 1").gross_j is None
    assert "cannot be aligned" in (report.reason or "")


def write_log(path: Path, header: str, rows: list[tuple[float, ...]]) -> Path:
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("time_s,power_w", (1.0, 2.5)),
        ("time_s, power_mW", (1.0, 2500.0)),
        ("Timestamp,voltage_mV,current_mA,note", (1.0, 5000.0, 500.0, 0.0)),
    ],
)
def test_every_unit_of_an_external_log_becomes_watts(header: str, row: tuple[float, ...], tmp_path: Path) -> None:
    """W, mW, or volts times amperes in V, mV, A, mA."""
    recorder = CsvRecorder(write_log(tmp_path / "log.csv", header, [row]), "DC input")

    assert (2.5,) == recorder.stop()[0].values


def test_a_log_without_power_is_refused_with_what_is_understood(tmp_path: Path) -> None:
    """The columns it has, the nearest known ones, and all that are understood."""
    recorder = CsvRecorder(write_log(tmp_path / "log.csv", "time_s,powr_w", [(1.0, 2.0)]), "DC input")

    with pytest.raises(InputError, match="Did you mean 'power_w'"):
        recorder.start()


def test_a_log_with_a_broken_line_names_it(tmp_path: Path) -> None:
    """Line and content."""
    path = tmp_path / "log.csv"
    path.write_text("time_s,power_w\n1.0,2.0\n1.1,oops\n")

    with pytest.raises(InputError, match="line 3"):
        CsvRecorder(path, "DC input").start()


@pytest.mark.parametrize("last", ["1.2,", "1.2,1"])
def test_a_row_that_is_still_being_written_is_left_out(last: str, tmp_path: Path) -> None:
    """Of `12.3` only `1` may be there yet, which would be a watt."""
    path = tmp_path / "log.csv"
    path.write_text(f"time_s,power_w\n1.0,12.1\n1.1,12.2\n{last}")

    assert [(12.1,), (12.2,)] == [reading.values for reading in CsvRecorder(path, "DC input").stop()]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_a_log_in_another_encoding_is_refused_with_the_remedy(encoding: str, tmp_path: Path) -> None:
    """Common on Windows; no traceback."""
    path = tmp_path / "log.csv"
    path.write_bytes("time_s,power_w,\u00b5\n1.0,12.1,0\n".encode(encoding))

    with pytest.raises(InputError, match=r"UTF-8|Columns understood"):
        CsvRecorder(path, "DC input").start()


def test_bad_lengths_are_refused() -> None:
    """Before anything runs."""
    with pytest.raises(InputError, match="positive"):
        measure_energy({"exit 1": lambda i: None}, EnergyOptions(seconds=0.0))
    with pytest.raises(InputError, match="calls is empty"):
        measure_energy({})


@pytest.mark.serial
def test_a_board_is_measured_through_the_sampling_process(tmp_path: Path) -> None:
    """The whole way in real time: another process reads the files of a modelled Orin Nano, which show 5 W idle and 9 W in loops."""
    meter = find_power_meter(boards.plant(tmp_path, boards.jetson_orin_nano()))
    rail = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    (rail / "in1_input").write_text("5000")

    class Board(SystemClock):
        def sleep(self, seconds: float) -> None:
            (rail / "curr1_input").write_text("1000")
            super().sleep(seconds)

    def infer(i: int) -> None:
        (rail / "curr1_input").write_text("1800")
        time.sleep(0.002)

    recorder = ProcessRecorder(meter, tmp_path)
    report = measure_energy(
        {"exit 1": infer}, EnergyOptions(recorder=recorder, clock=Board(), seconds=1.0, idle_s=0.5, trials=1)
    )
    call = report.find_call("exit 1")

    assert 9.0 == pytest.approx(call.power_w, rel=0.01)
    assert 9.0 * call.window_s / call.loops == pytest.approx(call.gross_j, rel=0.01)
    assert 4.0 * call.window_s / call.loops == pytest.approx(call.net_j, rel=0.02)
    assert 0.01 < (report.poll_s or 0) < 0.04


def test_a_runner_is_measured_exit_by_exit(runner: Runner) -> None:
    """Every exit forced, the mixture and the backbone, in one report; without a meter on the tree all is null."""
    samples = [np.zeros((1, 3, SIDE, SIDE), np.float32)]
    report = measure_runner_energy(runner, samples, EnergyOptions(meter=NoPowerMeter()), pace=Pace(10.0))

    assert ["exit 1", "exit 2", "exit 3", "mix", "backbone", "paced mix", "paced backbone"] == [
        c.name for c in report.calls
    ]
