"""The power management chip of a Raspberry Pi 5, through `vcgencmd pmic_read_adc`.

Every rail has a line `VDD_CORE_A current(7)=1.23A` and one `VDD_CORE_V volt(15)=0.85V`; EXT5V and BATT have a voltage only, so
the 5 V peripherals, and with them the board's total, cannot be known. Each reading starts a process: 10 readings a second is what
does not disturb the measured work. The user must be in group `video`.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.commands import find_tool, run_tool
from edgeexit.hardware.power.base import NAN, Capability, Channel, PowerMeter

_LINE = re.compile(r"^\s*(\S+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]\s*$", re.MULTILINE)
_ROLES = {"VDD_CORE": "cpu", "DDR_VDD2": "memory", "DDR_VDDQ": "memory"}


class PmicMeter(PowerMeter):
    """Rails that have a voltage and a current."""

    def __init__(self, capability: Capability, root: Path) -> None:
        super().__init__(capability)
        self._root = root

    def _read(self) -> tuple[float, ...]:
        rails = parse_rail_powers(run_tool(self._root, "vcgencmd", "pmic_read_adc") or "")
        return tuple(rails.get(name, NAN) for name in self.capability.names)


def find_pmic(root: Path) -> PmicMeter:
    """The meter of a Raspberry Pi 5.

    Raises:
        HardwareMissing: no `vcgencmd`, or it gives no rail: an older board, or no permission.
    """
    if find_tool(root, "vcgencmd") is None:
        msg = "there is no vcgencmd: this is not a Raspberry Pi, or raspi-utils is not installed."
        raise HardwareMissing(msg)
    rails = parse_rail_powers(run_tool(root, "vcgencmd", "pmic_read_adc") or "")
    if not rails:
        msg = "`vcgencmd pmic_read_adc` gives no rail: only the Raspberry Pi 5 has it, and the user must be in group video."
        raise HardwareMissing(msg)
    capability = Capability(
        name="rpi-pmic",
        scope="single rails",
        kind="sampled",
        channels=tuple(Channel(name, _ROLES.get(name, "system")) for name in rails),
        interval_s=None,
        rate_hz=10.0,
        notes=("EXT5V has no current: the 5 V peripherals and the board's total are not known",),
    )
    return PmicMeter(capability, root)


def parse_rail_powers(text: str) -> dict[str, float]:
    """Power of every rail that has both a voltage and a current in the tool's output, W."""
    values = {(rail, unit): float(value) for rail, unit, value in _LINE.findall(text)}
    return {
        rail: values[rail, "A"] * values[rail, "V"] for rail, unit in values if unit == "A" and (rail, "V") in values
    }
