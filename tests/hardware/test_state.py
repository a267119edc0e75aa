from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeexit.errors import InputError
from edgeexit.hardware import (
    DeviceState,
    Validity,
    combine_findings,
    find_device_key,
    judge,
    parse_state,
    read_device_facts,
    read_device_state,
)
from edgeexit.hardware.timeline import Series, StateRecorder, Timeline

from . import boards
from .boards import plant
from .sampling import wait_for_records  # noqa: F401 - a fixture


@pytest.fixture
def orin(tmp_path: Path) -> Path:
    return plant(tmp_path, boards.jetson_orin_nano())


def test_a_snapshot_reads_clocks_in_hertz(orin: Path) -> None:
    """The CPU's files count in kHz, those of devfreq in Hz."""
    clocks = {clock.name: clock for clock in read_device_state(orin).clocks}

    assert 1.5104e9 == clocks["cpu-policy0"].current_hz
    assert 306e6 == clocks["17000000.gpu"].current_hz
    assert 3.199e9 == clocks["emc-cap"].max_hz
    assert "schedutil" == clocks["cpu-policy0"].governor
    assert not clocks["cpu-policy0"].fixed


def test_temperatures_are_in_degrees_and_powered_off_zones_are_left_out(orin: Path) -> None:
    """cv0-thermal of an idle Orin answers EAGAIN."""
    assert {"cpu-thermal#0": 48.5} == read_device_state(orin).temperatures_c


def test_a_fan_is_not_a_throttle(orin: Path) -> None:
    """A cooling device that is a fan slows nothing down."""
    assert {"cpufreq-cpu0#1": 0} == read_device_state(orin).cooling


def test_the_power_mode_has_its_name_and_number_without_root(orin: Path) -> None:
    """From the file that nvpmodel writes, with the name from its configuration."""
    assert "25W (1)" == read_device_state(orin).power_mode


def test_the_power_mode_is_asked_of_the_tool_where_there_is_no_file(tmp_path: Path) -> None:
    """`nvpmodel -q` prints name and number on two lines."""
    boards.script(tmp_path, "nvpmodel", "NV Power Mode: MAXN_SUPER\n2")

    assert "MAXN_SUPER (2)" == read_device_state(tmp_path).power_mode


def test_a_state_survives_json(orin: Path) -> None:
    """Nothing is lost, and unknown fields are refused."""
    state = read_device_state(orin)
    document = json.loads(json.dumps(state.to_document(), allow_nan=False))

    assert state == parse_state(document)
    with pytest.raises(InputError, match="speed"):
        parse_state({**document, "speed": 1})


def test_this_machines_state_can_be_read() -> None:
    """Whatever it shows."""
    state = read_device_state()

    assert (state.busy_cpu_s or 0) > 0
    assert (state.memory_available_bytes or 0) > 0


def rising(root: Path, **later: object) -> tuple[DeviceState, DeviceState]:
    """Two snapshots, the second with other values and ten seconds later."""
    before = read_device_state(root)
    return before, replace(before, monotonic_s=before.monotonic_s + 10.0, **later)  # type: ignore[arg-type]


def test_nothing_changed_is_valid(orin: Path) -> None:
    """No reasons, no doubt."""
    assert Validity("valid") == judge(*rising(orin))


@pytest.mark.parametrize(
    ("counter", "status"),
    [
        ("under-voltage (oc1)", "invalid"),
        ("average over-current (oc2)", "invalid"),
        ("peak over-current (oc3)", "suspect"),
        ("pages swapped in", "suspect"),
        ("core thermal throttling", "invalid"),
    ],
)
def test_events_that_lower_clocks_are_told_by_how_much_they_rose(counter: str, status: str, orin: Path) -> None:
    """oc3 fires on healthy boards and is short; the others pull the clocks down for long."""
    before, after = rising(orin)
    judged = judge(replace(before, counters={counter: 3}), replace(after, counters={counter: 15}))

    assert status == judged.status
    assert (f"{counter} +12",) == judged.reasons


@pytest.mark.parametrize(
    ("later", "status", "word"),
    [
        ({"power_mode": "15W (0)"}, "invalid", "power mode changed"),
        ({"cores_online": 4}, "invalid", "cores online changed"),
        ({"cooling": {"cpufreq-cpu0#1": 2}}, "invalid", "cooling device"),
        ({"temperatures_c": {"cpu-thermal#0": 58.0}}, "suspect", "went from 48.5 to 58.0"),
        ({"busy_cpu_s": 12.0}, "suspect", "other processes used 1.0 cores"),
        ({"alarms": {"under-voltage": True}}, "invalid", "under-voltage"),
        ({"alarms": {"throttled since boot": True}}, "invalid", "happened during the run"),
    ],
)
def test_what_makes_a_run_doubtful(later: dict[str, object], status: str, word: str, orin: Path) -> None:
    """Each with a sentence that has the values."""
    before, after = rising(orin, **later)
    judged = judge(before, after)

    assert status == judged.status
    assert word in judged.reasons[0]


def test_an_alarm_from_before_the_run_does_not_spoil_it(orin: Path) -> None:
    """A bit that the firmware keeps until the next boot."""
    before, after = rising(orin, alarms={"throttled since boot": True})

    assert "valid" == judge(replace(before, alarms=after.alarms), after).status


def test_a_governor_that_was_changed_makes_another_machine(orin: Path) -> None:
    """So do its limits."""
    before, after = rising(orin)
    clock = replace(after.clocks[0], governor="powersave")

    assert "invalid" == judge(before, replace(after, clocks=(clock, *after.clocks[1:]))).status


def test_ones_own_work_is_not_foreign_load(orin: Path) -> None:
    """Only what other processes used counts."""
    before, after = rising(orin, busy_cpu_s=12.0, own_cpu_s=read_device_state(orin).own_cpu_s + 10.0)

    assert "valid" == judge(before, after).status


def test_a_machine_whose_clocks_cannot_be_seen_is_suspect(tmp_path: Path) -> None:
    """A change of speed would go unseen."""
    assert "suspect" == judge(*rising(plant(tmp_path, boards.cpu_x86(flags="fpu hypervisor")))).status


def test_verdicts_add_up_to_the_worst() -> None:
    """All reasons are kept, each once, worst first."""
    both = combine_findings([("suspect", "a"), ("invalid", "b")]) & Validity("suspect", ("a", "c"))

    assert Validity("invalid", ("b", "a", "c")) == both


def test_the_raspberry_pis_firmware_tells_throttling_now_and_since_boot(tmp_path: Path) -> None:
    """Bit 0 is under-voltage now, bit 18 throttled since boot."""
    plant(tmp_path, {**boards.raspberry_pi(5), "sys/devices/platform/soc/soc:firmware/get_throttled": "40001"})
    alarms = read_device_state(tmp_path).alarms

    assert alarms["under-voltage"]
    assert alarms["throttled since boot"]
    assert not alarms["throttled"]


def test_vcgencmd_is_asked_where_the_kernel_has_no_file(tmp_path: Path) -> None:
    """`throttled=0x50005`."""
    boards.script(plant(tmp_path, boards.raspberry_pi(4)), "vcgencmd", "throttled=0x50005")

    assert read_device_state(tmp_path).alarms["under-voltage since boot"]


@pytest.mark.parametrize(
    ("tree", "limit"),
    [
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": 50000, "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000}, 0.5),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": -1, "sys/fs/cgroup/cpu/cpu.cfs_period_us": 100000}, None),
    ],
)
def test_a_containers_cpu_limit_is_known(tree: dict[str, object], limit: float | None, tmp_path: Path) -> None:
    """Both versions of control groups."""
    assert limit == read_device_state(plant(tmp_path, tree)).cpu_limit


SERVICE = "sys/fs/cgroup/system.slice/cam.service"


@pytest.mark.parametrize(
    ("tree", "limit"),
    [
        ({"proc/self/cgroup": "0::/system.slice/cam.service\n", f"{SERVICE}/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "0::/system.slice/cam.service\n",
                f"{SERVICE}/cpu.max": "max 100000",
                "sys/fs/cgroup/system.slice/cpu.max": "25000 100000",
            },
            0.25,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/box\n1:name=systemd:/\n",
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": 75000,
                "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": 100000,
            },
            0.75,
        ),
        ({"proc/self/cgroup": "0::/../outside\n", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        ({"proc/self/cgroup": "no such line", "sys/fs/cgroup/cpu.max": "50000 0"}, None),
    ],
)
def test_the_limit_of_a_service_is_the_least_of_its_group_and_those_above(
    tree: dict[str, object], limit: float | None, tmp_path: Path
) -> None:
    """Of systemd, Kubernetes and both versions of control groups; a group outside of the container's view is left alone."""
    assert limit == read_device_state(plant(tmp_path, tree)).cpu_limit


def test_a_run_that_its_cpu_limit_stopped_is_invalid(tmp_path: Path) -> None:
    """The control group counts how often it stopped the process."""
    tree = {"sys/fs/cgroup/cpu.max": "50000 100000", "sys/fs/cgroup/cpu.stat": "nr_periods 9\nnr_throttled 3\n"}
    before = read_device_state(plant(tmp_path, tree))
    plant(tmp_path, {"sys/fs/cgroup/cpu.stat": "nr_periods 20\nnr_throttled 8\n"})

    found = judge(before, read_device_state(tmp_path))

    assert "invalid" == found.status
    assert any("stopped by the control group's CPU limit +5" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("affinity", "limit", "threads", "suspect"),
    [(8, None, 8, False), (1, None, 2, True), (8, 0.5, 1, True), (8, 4.0, 2, False)],
)
def test_more_threads_than_usable_cpus_make_a_result_suspect(
    affinity: int, limit: float | None, threads: int, suspect: bool, orin: Path
) -> None:
    """They wait for each other."""
    state = replace(read_device_state(orin), affinity=tuple(range(affinity)), cores_online=8, cpu_limit=limit)

    assert suspect == any("threads share" in reason for reason in judge(state, state, threads=threads).reasons)


def test_the_key_is_stable_and_safe_in_a_file_name(orin: Path) -> None:
    """The same twice, without anything that a path could trip over, and told by its facts."""
    assert find_device_key(orin) == find_device_key(Path(str(orin)))
    assert set(find_device_key(orin)) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert "ARM 0x41:0xd42" == read_device_facts(orin)["cpu"]


def test_another_core_makes_another_key(tmp_path: Path) -> None:
    """A calibration of one machine is not taken for another's."""
    one = plant(tmp_path / "one", boards.cpu_x86())
    two = plant(tmp_path / "two", boards.cpu_x86(model="Intel(R) Core(TM) i9-9900K CPU @ 3.60GHz"))
    fewer = plant(tmp_path / "fewer", {**boards.cpu_x86(), "sys/devices/system/cpu/present": "0-3"})

    assert 3 == len({find_device_key(one), find_device_key(two), find_device_key(fewer)})
    assert find_device_key(one).startswith("intel-core-i7-1165g7-")


def test_cores_that_a_power_mode_parks_do_not_change_the_key(tmp_path: Path) -> None:
    """Online is state, present is the device."""
    full = plant(tmp_path / "full", boards.jetson_orin_nano())
    parked = plant(tmp_path / "parked", {**boards.jetson_orin_nano(), "sys/devices/system/cpu/online": "0-3"})

    assert find_device_key(full) == find_device_key(parked)
    assert 4 == read_device_state(parked).cores_online


def test_a_clock_that_moves_during_the_run_is_suspect() -> None:
    """More than 2 % of its mean; a fixed one is valid."""
    moving = Series("gpu", "clock", (0.0, 1.0, 2.0), (306e6, 1020e6, 306e6))
    fixed = Series("cpu", "clock", (0.0, 1.0, 2.0), (1.5e9, 1.5e9, 1.5e9))

    assert "suspect" == Timeline((moving, fixed)).judge().status
    assert "306 and 1020 MHz" in Timeline((moving,)).judge().reasons[0]
    assert "valid" == Timeline((fixed,)).judge().status


def test_a_fixed_clock_that_moves_was_pulled_down() -> None:
    """Not a governor's choice, so the machine was not the same throughout."""
    moving = Series("gpu", "clock", (0.0, 1.0, 2.0), (1020e6, 306e6, 1020e6))

    assert "invalid" == Timeline((moving,)).judge(fixed={"gpu"}).status
    assert "which was fixed" in Timeline((moving,)).judge(fixed={"gpu"}).reasons[0]


def test_cooling_that_came_and_went_between_the_snapshots_is_reported() -> None:
    """Both snapshots find it idle; the timed stretch does not."""
    throttled = Series("cpufreq-cpu0#1", "cooling", (0.0, 1.0, 2.0), (0.0, 3.0, 0.0))

    assert "invalid" == Timeline((throttled,)).judge().status
    assert "rose from state 0 to 3" in Timeline((throttled,)).judge().reasons[0]


def test_only_the_timed_stretches_are_judged() -> None:
    """A clock may do as it likes while a process starts."""
    series = Series("gpu", "clock", (0.0, 1.0, 2.0, 3.0), (306e6, 1020e6, 1020e6, 306e6))
    timed = Timeline((series,)).cut_to_spans([(0.5, 1.5), (1.8, 2.5)])

    assert (1020e6, 1020e6) == timed.series[0].values
    assert "valid" == timed.judge().status


@pytest.mark.slow
def test_ctrl_c_does_not_cost_the_records(
    orin: Path,
    wait_for_records: Callable[[], None],  # noqa: F811
) -> None:
    """The terminal interrupts the sampling process too; only its parent ends it."""
    recorder = StateRecorder(orin)
    recorder.start()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for child in map(int, children):
        if b"edgeexit.hardware.sampling_process" in Path(f"/proc/{child}/cmdline").read_bytes():
            os.kill(child, signal.SIGINT)
    wait_for_records()

    assert 2 <= len(recorder.stop().select("clock")[0].values)


def test_a_machine_that_shows_nothing_costs_no_process(tmp_path: Path) -> None:
    """Its timeline is empty and has no findings."""
    recorder = StateRecorder(tmp_path)
    recorder.start()

    assert () == recorder.stop().series


@pytest.mark.slow
def test_the_timeline_is_read_by_another_process(
    orin: Path,
    wait_for_records: Callable[[], None],  # noqa: F811
) -> None:
    """Clocks in Hz, temperatures in °C, counters in events; a change during the run is in it."""
    recorder = StateRecorder(orin)
    recorder.start()
    wait_for_records()
    (orin / "sys/class/devfreq/17000000.gpu/cur_freq").write_text("1020000000\n")
    wait_for_records()
    timeline = recorder.stop()
    gpu = next(series for series in timeline.series if series.name == "17000000.gpu")

    assert {306e6, 1020e6} == set(gpu.values)
    assert 48.5 == timeline.select("temperature")[0].values[0]
    assert 3 == len(timeline.select("counter"))
    assert "suspect" == timeline.judge().status
    assert 1020e6 == timeline.to_document()["17000000.gpu"]["max"]


@pytest.mark.slow
def test_a_file_in_the_working_folder_does_not_shadow_the_standard_library(
    orin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sampling process runs wherever the user is, on any Python: one before 3.11 knows no PYTHONSAFEPATH, as here."""
    (tmp_path / "random.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    start = subprocess.Popen

    def started(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        environment = dict(options.pop("env", None) or os.environ)
        environment.pop("PYTHONSAFEPATH", None)
        return start(command, env=environment, **options)

    monkeypatch.setattr(subprocess, "Popen", started)
    recorder = StateRecorder(orin)
    recorder.start()

    assert recorder.stop().select("clock")
