"""Energy of frames on a schedule, and by several meters at once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware.power import NoPowerMeter, PowerReading, find_power_meters
from edgeexit.hardware.power.recorder import ProcessRecorder
from edgeexit.measure.energy.measurement import measure_energy
from edgeexit.measure.energy.options import EnergyOptions
from edgeexit.measure.energy.windows import Frames, SystemClock
from edgeexit.measure.scenarios import Pace
from edgeexit.measure.timing import Call
from tests.hardware import boards

from .sources import Simulated, World, stuck

EXIT_1 = (0.001, 9.0)
"""Length in s and power in W of an inference: 9 mJ gross, 5 mJ net of 4 W."""


def test_a_frame_has_the_idle_time_up_to_the_next_one() -> None:
    """20 frames per second of 10 ms at 9 W, asleep at 4 W in between: 0.09 J and 0.16 J."""
    world = World()
    work = world.work(0.01, 9.0)
    calls: dict[str, Call] = {"mix": work, "paced mix": Frames(work, Pace(20.0), world)}
    counter, coarse = Simulated(world, kind="counter", step=1e-4), Simulated(world)
    report = measure_energy(calls, EnergyOptions(recorder=counter, also=[coarse], clock=world, trials=3))

    assert 0.25 == pytest.approx(report.find_call("paced mix").gross_j, rel=0.01)
    assert 0.09 == pytest.approx(report.find_call("mix").gross_j, rel=0.01)
    assert 0.05 == pytest.approx(report.find_call("paced mix").net_j, rel=0.02)
    sampled = report.others[0].find_call("paced mix")
    assert sampled.budget is not None
    assert abs((sampled.gross_j or 0) - 0.25) <= 3 * sampled.budget.gross_j


@pytest.mark.parametrize(("rate_hz", "arrivals", "expected_hz"), [(20.0, "poisson", 20.0), (1000.0, "fixed", 100.0)])
def test_frames_come_at_their_rate_or_back_to_back(rate_hz: float, arrivals: str, expected_hz: float) -> None:
    """Random arrivals have the rate in the mean; work of 10 ms cannot be done more than 100 times a second."""
    world = World()
    frames = Frames(world.work(0.01, 9.0), Pace(rate_hz, arrivals), world)
    start_s = world.now()
    for i in range(2000):
        frames(i)

    assert expected_hz == pytest.approx(2000 / (world.now() - start_s), rel=0.06)


def test_a_schedule_begins_anew_after_an_idle_window() -> None:
    """Nothing that was due while the machine was left alone is caught up on."""
    world = World()
    frames = Frames(world.work(0.01, 9.0), Pace(10.0), world)
    frames(0)
    world.sleep(5.0)
    start_s = world.now()
    for i in range(11):
        frames(i)

    assert 1.01 == pytest.approx(world.now() - start_s)


def test_two_meters_stand_side_by_side() -> None:
    """Each with its own joules of the same work; the first is the report, and nothing is added."""
    world = World()
    board, package = Simulated(world), Simulated(world, kind="counter", step=1e-3, offset_w=0.0)
    work = world.work(*EXIT_1)
    report = measure_energy(
        {"exit 1": work}, EnergyOptions(recorder=board, also=[package], clock=world, seconds=5.0, trials=2)
    )

    (other,) = report.others
    assert ("sampled", "counter") == (report.kind, other.kind)
    for found in (report, other):
        assert 0.009 == pytest.approx(found.find_call("exit 1").gross_j, rel=0.01)
    assert 1 == len(report.to_document()["others"])


def test_an_external_meter_is_enough() -> None:
    """Where the machine has none of its own: the log's clock is found, and its figures are the report."""
    world = World()
    log = Simulated(world, clock_offset_s=37.0)
    report = measure_energy(
        {"exit 1": world.work(*EXIT_1)},
        EnergyOptions(meter=NoPowerMeter(), also=[log], clock=world, seconds=5.0, trials=3),
    )

    assert () == report.others
    assert 0.009 == pytest.approx(report.find_call("exit 1").gross_j, rel=0.02)


class Faulty(Simulated):
    """Its sampling process does not start, or its log cannot be read at the end."""

    def __init__(self, world: World, when: str) -> None:
        super().__init__(world)
        self.when = when

    def start(self) -> None:
        if self.when == "start":
            msg = "the sampling process did not start"
            raise HardwareMissing(msg)
        super().start()

    def stop(self) -> list[PowerReading]:
        if self.when == "stop":
            msg = "the log is gone"
            raise InputError(msg)
        return super().stop()


@pytest.mark.parametrize(
    ("when", "reason"), [("start", "did not start"), ("stop", "log is gone"), ("values", "is stuck")]
)
def test_a_meter_that_fails_leaves_the_others_their_joules(when: str, reason: str) -> None:
    """The report is that of the first meter that measured; the faulty one stands beside it with its reason."""
    world = World()
    faulty = Simulated(world, fault=stuck) if when == "values" else Faulty(world, when)
    log = Simulated(world, clock_offset_s=37.0)
    calls: dict[str, Call] = {"exit 1": world.work(*EXIT_1)}
    report = measure_energy(calls, EnergyOptions(recorder=faulty, also=[log], clock=world, seconds=5.0, trials=3))

    assert report.reason is None
    assert 0.009 == pytest.approx(report.find_call("exit 1").gross_j, rel=0.02)
    (other,) = report.others
    assert reason in (other.reason or "")
    assert "simulated" == other.meter


def test_where_every_meter_fails_nothing_is_run() -> None:
    """Loops of minutes would give nothing; the reason is the first meter's."""
    world = World()
    calls: dict[str, Call] = {"exit 1": world.work(*EXIT_1)}
    start_s = world.now()
    report = measure_energy(
        calls, EnergyOptions(recorder=Faulty(world, "start"), also=[Faulty(world, "start")], clock=world)
    )

    assert "did not start" in (report.reason or "")
    assert start_s == world.now()


@pytest.mark.serial
def test_every_meter_of_a_machine_is_read_at_once(tmp_path: Path) -> None:
    """A modelled PC with package counters, and a modelled board's rails under the same root: two sampling processes, two reports."""
    root = boards.plant(tmp_path, {**boards.jetson_orin_nano(), **boards.pc_intel(), **boards.jetson_orin_nano()})
    rail, package = root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1", root / "sys/class/powercap/intel-rapl:0"
    meters, spent_uj = find_power_meters(root), [1e9]
    assert ["ina", "rapl"] == [meter.adapter for meter in meters]
    (rail / "in1_input").write_text("5000")

    files = [os.open(path, os.O_RDWR) for path in (rail / "curr1_input", package / "energy_uj")]

    def spend(seconds: float, board_ma: int, package_w: float) -> None:
        start_s = time.monotonic()
        os.pwrite(files[0], b"%04d\n" % board_ma, 0)  # as long as before and in place: never seen half written
        time.sleep(seconds)
        spent_uj[0] += 1e6 * package_w * (time.monotonic() - start_s)
        os.pwrite(files[1], b"%012d\n" % int(spent_uj[0]), 0)

    class Machine(SystemClock):
        def sleep(self, seconds: float) -> None:
            for _ in range(round(seconds / 0.01)):
                spend(0.01, 1000, 3.0)

    first, second = (ProcessRecorder(meter, root) for meter in meters)
    calls: dict[str, Call] = {"exit 1": lambda i: spend(0.002, 1800, 20.0)}
    report = measure_energy(
        calls, EnergyOptions(recorder=first, also=[second], clock=Machine(), seconds=1.0, idle_s=0.5, trials=1)
    )

    assert 9.0 == pytest.approx(report.find_call("exit 1").power_w, rel=0.02)
    assert 20.0 == pytest.approx(report.others[0].find_call("exit 1").power_w, rel=0.05)
