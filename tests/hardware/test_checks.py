from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeexit.cli.app import app
from edgeexit.hardware.checks import MachineCheck, check_machine

from . import boards
from .boards import plant


def checks(root: Path) -> dict[str, MachineCheck]:
    return {check.name: check for check in check_machine(root)}


def test_a_jetson_left_to_its_governors_is_advised_to_fix_its_clocks(tmp_path: Path) -> None:
    """With the board's own tool."""
    clocks = checks(plant(tmp_path, boards.jetson_orin_nano()))["clocks"]

    assert "warn" == clocks.status
    assert "sudo jetson_clocks" == clocks.fix


def test_fixed_clocks_are_in_order(tmp_path: Path) -> None:
    """Lowest equals highest in every domain."""
    tree = {
        **boards.jetson_orin_nano(),
        "sys/devices/system/cpu/cpufreq/policy0/scaling_min_freq": 1510400,
        "sys/class/devfreq/17000000.gpu/min_freq": 1020000000,
    }

    assert "ok" == checks(plant(tmp_path, tree))["clocks"].status


def test_the_power_meter_is_checked_by_reading_it(tmp_path: Path) -> None:
    """A value of every rail, and what the total covers."""
    found = checks(plant(tmp_path, boards.jetson_orin_nano()))["power meter"]

    assert "ok" == found.status
    assert "VDD_IN 5.263 W" in found.found


def test_without_a_power_meter_every_reason_is_reported(tmp_path: Path) -> None:
    """Energy is then not measured, and not zero."""
    found = checks(tmp_path)["power meter"]

    assert "warn" == found.status
    assert "rapl:" in found.found


def test_over_current_since_boot_is_reported_and_no_fault(tmp_path: Path) -> None:
    """Only a rise during a run is."""
    found = checks(plant(tmp_path, boards.jetson_orin_nano(oc=(0, 0, 37))))["throttling"]

    assert "ok" == found.status
    assert "(oc3): 37" in found.found


def test_a_board_that_is_too_hot_now_is_reported(tmp_path: Path) -> None:
    """Before anything is measured."""
    tree = {**boards.jetson_orin_nano(), "sys/class/thermal/cooling_device1/cur_state": 3}

    assert "warn" == checks(plant(tmp_path, tree))["throttling"].status


def test_boards_whose_jetpack_is_too_old_hear_it_from_the_doctor(tmp_path: Path) -> None:
    """The profile's own note."""
    assert "too old" in checks(plant(tmp_path, boards.jetson_nano_jp4()))["device"].found


def test_a_cpu_limit_and_too_many_threads_are_warned_of(tmp_path: Path) -> None:
    """Both stop threads for parts of a run; a whole machine to itself is in order."""
    online = {"sys/devices/system/cpu/online": "0-7"}
    limited = plant(tmp_path / "limited", {**online, "sys/fs/cgroup/cpu.max": "50000 100000"})
    free = plant(tmp_path / "free", online)

    warned = checks(limited)["CPUs"]
    short = {check.name: check for check in check_machine(free, threads=64)}["CPUs"]

    assert "warn" == warned.status == short.status
    assert "0.5 of 8 CPUs" in warned.found
    assert "64 threads" in short.found
    assert "ok" == checks(free)["CPUs"].status


def test_every_warning_has_a_fix(tmp_path: Path) -> None:
    """On an empty machine, where nearly everything is missing."""
    assert all(check.fix for check in check_machine(tmp_path) if check.status == "warn" and check.name != "other load")


def test_the_doctor_prints_json_with_every_check() -> None:
    """Ready means that the backend runs; warnings do not stop a measurement."""
    result = CliRunner().invoke(app, ["doctor", "--json"])
    document = json.loads(result.stdout)

    assert 0 == result.exit_code
    assert document["ready"]
    assert {"backend onnxruntime", "device", "power meter", "cache counters", "cache simulation"} <= {
        c["name"] for c in document["checks"]
    }


def test_the_doctor_refuses_a_backend_that_does_not_exist() -> None:
    """With the nearest name."""
    result = CliRunner().invoke(app, ["doctor", "--backend", "onnxruntim"])

    assert 2 == result.exit_code
    assert "Did you mean 'onnxruntime'" in result.output


def test_devices_lists_every_board_and_what_this_machine_is() -> None:
    """Names whole, never shortened."""
    result = CliRunner().invoke(app, ["devices"], env={"COLUMNS": "80"})

    assert 0 == result.exit_code
    assert "jetson-agx-xavier" in result.stdout
    assert "This machine:" in result.stdout


def test_devices_shows_one_board_with_its_sources() -> None:
    """Rails, caches, power modes, defaults."""
    result = CliRunner().invoke(app, ["devices", "jetson-thor", "--json"])
    [device] = json.loads(result.stdout)["devices"]

    assert ["VIN"] == device["power"]["total"]
    assert "366461" in device["power"]["source"]


@pytest.mark.parametrize("name", ["jetson-nano", "rpi5", "x86-64", "nvidia-gpu"])
def test_every_kind_of_profile_can_be_shown(name: str) -> None:
    """As a table, with or without caches, GPU and power modes."""
    result = CliRunner().invoke(app, ["devices", name], env={"COLUMNS": "100"})

    assert 0 == result.exit_code
    assert "power" in result.stdout
