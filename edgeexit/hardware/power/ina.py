"""Texas Instruments INA3221 and INA238 on Jetson boards, found by driver and label, never by number.

    JetPack 4, driver ina3221x (iio):   rail_name_<c>, in_power<c>_input mW
    JetPack 5+, driver ina3221 (hwmon): in<c>_label, in<c>_input mV (bus voltage), curr<c>_input mA; there is no power file
    Thor, driver ina238 (hwmon):        power1_input µW, the board's input VIN

The hwmon numbers change from boot to boot. Of the INA3221's hwmon files, in4 to in6 are shunt voltages in µV, in7 their sum and
curr4 a sum of currents: none of them is a rail. Which rails add up to the board's total is in its device profile; of a board
without one only the rails are reported. Source: Linux Documentation/hwmon/ina3221.rst and ina238.rst.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.power.base import Capability, Channel
from edgeexit.hardware.power.files import FileMeter, Sensor, read_once
from edgeexit.hardware.profiles import DeviceProfile, find_current_profile
from edgeexit.hardware.sysfs import read_int, read_text

_NOT_CONNECTED = ("NC", "")
_MV_TIMES_MA = 1e-6
_MW = 1e-3
_UW = 1e-6
_DEFAULT_INTERVAL_S = 3 * (1.1e-3 + 1.1e-3)
"""Three channels of bus and shunt conversion at the chip's power-on setting of 1.1 ms (INA3221 data sheet, table 5)."""


def find_ina(root: Path) -> FileMeter:
    """The meter of a Jetson.

    Raises:
        HardwareMissing: no such chip, or none of its rails can be read.
    """
    found = list(_find_rails(root))
    if not found:
        msg = "no INA3221 or INA238 driver is bound: this is not a Jetson, or the container does not see /sys/bus/i2c."
        raise HardwareMissing(msg)
    readable = [(label, sensor) for label, sensor in found if not math.isnan(read_once(sensor))]
    if not readable:
        labels = ", ".join(label for label, _ in found)
        msg = f"the rails {labels} are there and none can be read: give the user read access to {found[0][1].paths[0]}."
        raise HardwareMissing(msg)
    profile = find_current_profile(root)
    return FileMeter(
        _make_capability(root, [label for label, _ in readable], profile), [sensor for _, sensor in readable]
    )


def _make_capability(root: Path, labels: list[str], profile: DeviceProfile | None) -> Capability:
    power = profile.power if profile is not None and profile.power.meter.startswith("ina") else None
    roles = {rail.label: rail.role for rail in power.rails} if power else {}
    total = power.total if power and set(power.total) <= set(labels) else ()
    return Capability(
        name=power.meter if power else "ina3221",
        scope=power.scope if power and total else "single rails",
        kind="sampled",
        channels=tuple(Channel(label, roles.get(label, "system")) for label in labels),
        total=total,
        step=power.step_w if power else None,
        interval_s=_read_interval_s(root),
        notes=_list_notes(labels, power.total if power else None),
    )


def _list_notes(labels: list[str], wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    if wanted is None:
        return ("no device profile knows this board, so which rails add up to its total is not known",)
    missing = [label for label in wanted if label not in labels]
    return (f"no total: {', '.join(missing)} cannot be read",) if missing else ()


def _find_rails(root: Path) -> Iterator[tuple[str, Sensor]]:
    yield from _find_iio_rails(root)
    for chip in _find_hwmon_chips(root, "ina3221"):
        yield from _find_ina3221_rails(chip)
    for chip in _find_hwmon_chips(root, "ina238"):
        yield from _find_ina238_rail(chip)


def _find_hwmon_chips(root: Path, driver: str) -> list[Path]:
    """By the driver's folder and, for containers that mount only /sys/class, by hwmon name; each chip once."""
    bound = root.glob(f"sys/bus/i2c/drivers/{driver}/*/hwmon/hwmon*")
    named = (chip for chip in root.glob("sys/class/hwmon/hwmon*") if read_text(chip / "name") == driver)
    by_real_path = {chip.resolve(): chip for chip in (*named, *bound)}
    return sorted(by_real_path.values(), key=lambda chip: str(chip.resolve()))


def _find_iio_rails(root: Path) -> Iterator[tuple[str, Sensor]]:
    for chip in sorted(root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*")):
        for c in range(3):
            label = read_text(chip / f"rail_name_{c}") or ""
            if label not in _NOT_CONNECTED:
                yield label, Sensor((chip / f"in_power{c}_input",), _MW)


def _find_ina3221_rails(chip: Path) -> Iterator[tuple[str, Sensor]]:
    for c in range(1, 4):
        label = read_text(chip / f"in{c}_label") or ""
        if label not in _NOT_CONNECTED:
            yield label, Sensor((chip / f"in{c}_input", chip / f"curr{c}_input"), _MV_TIMES_MA)


def _find_ina238_rail(chip: Path) -> Iterator[tuple[str, Sensor]]:
    if (chip / "power1_input").exists():
        yield "VIN", Sensor((chip / "power1_input",), _UW)


def _read_interval_s(root: Path) -> float:
    """The chip's own, from `update_interval` in ms times the number of averaged samples where the kernel shows them."""
    for chip in _find_hwmon_chips(root, "ina3221"):
        interval_ms = read_int(chip / "update_interval")
        if interval_ms:
            return interval_ms / 1e3
    return _DEFAULT_INTERVAL_S
