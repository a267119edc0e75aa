from __future__ import annotations

import math
from pathlib import Path

import pytest

from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware.power import FakePowerMeter, NoPowerMeter, PowerMeter, find_power_meter
from edgeexit.hardware.power.base import Capability, Channel

from . import boards
from .boards import plant


def watts(meter: PowerMeter) -> dict[str, float]:
    """One reading by channel name."""
    with meter:
        return dict(zip(meter.capability.names, meter.read().values, strict=True))


def total_of(meter: PowerMeter) -> float:
    with meter:
        return meter.capability.subject_value(meter.read().values)


@pytest.mark.parametrize("board", boards.JETSONS)
def test_every_jetson_adds_up_the_rails_that_make_its_total(board: str, tmp_path: Path) -> None:
    """The total of each board is the sum that its profile names, in W."""
    tree, expected_w = boards.JETSONS[board]
    meter = find_power_meter(plant(tmp_path, tree()))

    assert expected_w == pytest.approx(total_of(meter), rel=1e-6)
    assert meter.capability.total


def test_bus_voltage_in_millivolts_is_not_power(tmp_path: Path) -> None:
    """JetPack 5+: in1_input is mV and curr1_input mA; their product is µW. 4984 mV * 1056 mA = 5.263 W, not 4.984 W."""
    meter = find_power_meter(plant(tmp_path, boards.jetson_orin_nano()))

    assert 5.263104 == pytest.approx(watts(meter)["VDD_IN"])


def test_iio_power_is_in_milliwatts(tmp_path: Path) -> None:
    """JetPack 4: in_power0_input is mW, not µW."""
    meter = find_power_meter(plant(tmp_path, boards.jetson_nano_jp4()))

    assert {"POM_5V_IN": 3.0, "POM_5V_GPU": 0.6, "POM_5V_CPU": 1.0} == pytest.approx(watts(meter))


def test_ina238_power_is_in_microwatts(tmp_path: Path) -> None:
    """Thor: power1_input is µW, not mW."""
    meter = find_power_meter(plant(tmp_path, boards.jetson_thor(vin_uw=23_520_000)))

    assert 23.52 == pytest.approx(watts(meter)["VIN"])
    assert ("VIN",) == meter.capability.total
    assert "module and carrier board" == meter.capability.scope


def test_the_nano_does_not_add_gpu_and_cpu_to_the_input_that_holds_them(tmp_path: Path) -> None:
    """POM_5V_IN includes POM_5V_GPU and POM_5V_CPU."""
    meter = find_power_meter(plant(tmp_path, boards.jetson_nano_jp4()))

    assert 3.0 == pytest.approx(total_of(meter))


def test_the_agx_orin_does_not_count_its_memory_twice(tmp_path: Path) -> None:
    """VDDQ_VDD2_1V8AO is inside VIN_SYS_5V0: it is shown, and it is not in the total."""
    meter = find_power_meter(plant(tmp_path, boards.jetson_agx_orin()))

    assert ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0") == meter.capability.total
    assert "VDDQ_VDD2_1V8AO" in meter.capability.names


def test_rails_that_are_not_connected_are_no_channels(tmp_path: Path) -> None:
    """Neither NC nor the sum of shunt voltages nor the summed current is a rail."""
    meter = find_power_meter(plant(tmp_path, boards.jetson_agx_orin()))

    assert ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO") == meter.capability.names


def test_the_memory_rail_of_the_agx_xavier_is_not_its_cpu(tmp_path: Path) -> None:
    """VDDRQ feeds the memory; the CPU has a rail of its own."""
    roles = {c.name: c.role for c in find_power_meter(plant(tmp_path, boards.jetson_agx_xavier())).capability.channels}

    assert ("memory", "cpu", "gpu") == (roles["VDDRQ"], roles["CPU"], roles["GPU"])


def test_a_shared_rail_is_neither_cpu_nor_gpu(tmp_path: Path) -> None:
    """VDD_CPU_GPU_CV is one rail and is never split."""
    roles = {c.name: c.role for c in find_power_meter(plant(tmp_path, boards.jetson_orin_nx())).capability.channels}

    assert "cpu+gpu" == roles["VDD_CPU_GPU_CV"]
    assert "cpu" not in roles.values()


@pytest.mark.parametrize("number", [0, 3, 17])
def test_the_number_of_the_hwmon_does_not_matter(number: int, tmp_path: Path) -> None:
    """It changes from boot to boot: rails are found by driver and label."""
    rails = {1: ("VDD_IN", 5000, 1000), 2: ("VDD_CPU_GPU_CV", 5000, 10), 3: ("VDD_SOC", 5000, 10)}
    tree = {**boards.compatible("nvidia,p3767-0000"), **boards.hwmon_ina3221("1-0040", number, rails)}

    assert 5.0 == pytest.approx(total_of(find_power_meter(plant(tmp_path, tree))))


def test_a_container_that_sees_only_the_hwmon_class_finds_the_rails(tmp_path: Path) -> None:
    """Chips are also found by the name of their hwmon, and a chip found both ways counts once."""
    plant(tmp_path, boards.jetson_orin_nx())
    (tmp_path / "sys/class/hwmon").mkdir(parents=True, exist_ok=True)
    (tmp_path / "sys/class/hwmon/hwmon3").symlink_to(tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3")

    assert ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC") == find_power_meter(tmp_path).capability.names


def test_usb_power_delivery_is_not_a_measurement(tmp_path: Path) -> None:
    """ucsi-source-psy-* shows what was negotiated; it is never read."""
    plant(tmp_path, {"sys/class/power_supply/ucsi-source-psy-1-00081/voltage_now": 5000000})

    assert not find_power_meter(tmp_path).present


def test_a_board_without_a_profile_has_rails_and_no_total(tmp_path: Path) -> None:
    """Which rails hold which others is not guessed."""
    rails = {1: ("VDD_A", 5000, 100), 2: ("VDD_B", 5000, 100)}
    meter = find_power_meter(plant(tmp_path, boards.hwmon_ina3221("1-0040", 1, rails)))

    assert () == meter.capability.total
    assert "no device profile" in meter.capability.notes[0]


def test_a_total_of_which_a_rail_is_missing_is_no_total(tmp_path: Path) -> None:
    """The AGX Orin without its second chip still has two of three rails; their sum is not its power."""
    low = {1: ("VDD_GPU_SOC", 19688, 160), 2: ("VDD_CPU_CV", 19688, 40)}
    tree = {**boards.compatible("nvidia,p3701-0005"), **boards.hwmon_ina3221("1-0040", 1, low)}
    meter = find_power_meter(plant(tmp_path, tree))

    assert () == meter.capability.total
    assert "VIN_SYS_5V0" in meter.capability.notes[0]


def test_a_negative_reading_stays_negative(tmp_path: Path) -> None:
    """A sensor with an offset shows -392 mW at idle; clipping it would bias every sum."""
    meter = find_power_meter(plant(tmp_path, boards.jetson_thor(gpu_ma=-20)))

    assert -0.392 == pytest.approx(watts(meter)["VDD_GPU"])


def test_rapl_counts_microjoules_of_the_package_once(tmp_path: Path) -> None:
    """psys, the parts of the package and its mmio copy are not added to it."""
    meter = find_power_meter(plant(tmp_path, boards.pc_intel()))

    assert ("package-0",) == meter.capability.total
    assert {"package-0": 5.0, "package-0/core": 3.0, "package-0/uncore": 0.5, "psys": 9.0} == pytest.approx(
        watts(meter)
    )
    assert "counter" == meter.capability.kind


@pytest.mark.parametrize(("vendor", "expected"), [("GenuineIntel", 3.0), ("AuthenticAMD", 1.0)])
def test_dies_add_up_on_intel_and_are_one_counter_on_amd(vendor: str, expected: float, tmp_path: Path) -> None:
    """Two files of one AMD socket show the same counter."""
    meter = find_power_meter(plant(tmp_path, boards.server_two_dies(vendor)))

    assert expected == pytest.approx(total_of(meter))


def test_rapl_in_a_guest_is_refused(tmp_path: Path) -> None:
    """A virtual machine's counter is not the machine's."""
    plant(tmp_path, {**boards.pc_intel(), **boards.cpu_x86(flags="fpu hypervisor")})
    meter = find_power_meter(tmp_path)

    assert not meter.present
    assert "virtual machine" in {r.name: r.why for r in meter.rejected}["rapl"]


def test_a_counter_that_cannot_be_read_names_the_udev_rule(tmp_path: Path) -> None:
    """Since CVE-2020-8694 only root may read it. A folder in its place cannot be read by root either."""
    plant(tmp_path, {**boards.cpu_x86(), "sys/class/powercap/intel-rapl:0/name": "package-0"})
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").mkdir()
    why = {r.name: r.why for r in find_power_meter(tmp_path).rejected}["rapl"]

    assert "chgrp -R rapl" in why
    assert "CVE-2020-8694" in why


def test_rails_without_a_current_are_left_out_on_the_raspberry_pi_5(tmp_path: Path) -> None:
    """EXT5V and BATT have a voltage only, so the board has no total, and the core rail is what is reported."""
    meter = find_power_meter(boards.script(plant(tmp_path, boards.raspberry_pi(5)), "vcgencmd", boards.PMIC))

    assert {"3V7_WL_SW": 0.185, "3V3_SYS": 0.33, "VDD_CORE": 1.5} == pytest.approx(watts(meter))
    assert () == meter.capability.total
    assert ("VDD_CORE",) == meter.capability.subject
    assert "rail VDD_CORE only" == meter.capability.subject_scope
    assert meter.capability.rate_hz <= 10


def test_a_raspberry_pi_4_has_no_power_meter(tmp_path: Path) -> None:
    """Its vcgencmd knows no pmic_read_adc."""
    meter = find_power_meter(
        boards.script(plant(tmp_path, boards.raspberry_pi(4)), "vcgencmd", 'error=1 error_msg="Command not registered"')
    )

    assert not meter.present
    assert "Raspberry Pi 5" in {r.name: r.why for r in meter.rejected}["rpi-pmic"]


def test_without_a_meter_there_is_an_object_that_knows_why(tmp_path: Path) -> None:
    """Every adapter says why it is not it; there is nothing to read, and no zero."""
    meter = find_power_meter(tmp_path)

    assert isinstance(meter, NoPowerMeter)
    assert ["ina", "rapl", "nvml", "rpi-pmic"] == [r.name for r in meter.rejected]
    assert () == watts_values(meter)


def watts_values(meter: PowerMeter) -> tuple[float, ...]:
    with meter:
        return meter.read().values


def test_a_meter_that_is_not_open_cannot_be_read() -> None:
    """Nothing is opened before `with`."""
    meter = FakePowerMeter(Capability("fake", "x", "sampled", (Channel("a", "total"),)), [(1.0,)])

    with pytest.raises(HardwareMissing, match="with"):
        meter.read()


def test_a_rail_that_stops_answering_reads_as_not_a_number(tmp_path: Path) -> None:
    """A sensor of a domain that was switched off must not read as 0 W."""
    plant(tmp_path, boards.jetson_orin_nx())
    meter = find_power_meter(tmp_path)
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    with meter:
        (folder / "curr2_input").write_text("")
        values = dict(zip(meter.capability.names, meter.read().values, strict=True))

    assert math.isnan(values["VDD_CPU_GPU_CV"])
    assert 6.0 == pytest.approx(values["VDD_IN"])


def test_an_unknown_meter_is_refused_with_the_nearest_name() -> None:
    """Names are checked before any hardware is touched."""
    with pytest.raises(InputError, match="Did you mean 'rapl'"):
        find_power_meter(only="rappl")
