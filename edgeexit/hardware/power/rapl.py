"""Running average power limit (RAPL) counters of x86 CPUs through powercap: energy_uj, µJ, starting again at max_energy_range_uj.

One zone `package-<p>` per socket, or `package-<p>-die-<d>` per die. Each die of an Intel package has a counter of its own and
they add up; the dies of an AMD package show the one counter of the socket, and adding them counts it twice (mlco2/codecarbon
issue 788). Since CVE-2020-8694 only root may read. Source: Linux Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.identity import is_virtual
from edgeexit.hardware.power.base import Capability, Channel
from edgeexit.hardware.power.files import FileMeter, Sensor
from edgeexit.hardware.sysfs import explain_unreadable, read_int, read_text

_UJ = 1e-6
_STEP_J = 61e-6
"""The usual energy unit, 2^-14 J (Intel SDM volume 4, MSR_RAPL_POWER_UNIT); some models count in 2^-16 J."""
_INTERVAL_S = 976e-6
"""The usual time unit: counters are updated about every millisecond (same table)."""
_ROLES = {"core": "cpu", "uncore": "gpu", "dram": "memory", "psys": "system"}
_UDEV_RULE = 'SUBSYSTEM=="powercap", ACTION=="add", RUN+="/bin/chgrp -R rapl /sys%p", RUN+="/bin/chmod -R g+r /sys%p"'


class _Zone(NamedTuple):
    """A powercap zone: its folder, its channel name, and its package and die when it is one."""

    folder: Path
    name: str
    package: int | None
    die: int


def find_rapl(root: Path) -> FileMeter:
    """The meter of an x86 machine.

    Raises:
        HardwareMissing: no zones, a virtual machine, or no permission; the message says what would mend it.
    """
    if is_virtual(root):
        msg = "this is a virtual machine: RAPL there is absent, emulated or the whole host's. Measure on the host."
        raise HardwareMissing(msg)
    zones = list(_find_zones(root))
    packages = [zone for zone in zones if zone.package is not None]
    if not packages:
        msg = "/sys/class/powercap has no RAPL package: no such CPU or kernel (AMD: 5.8 or newer). Try `modprobe intel_rapl_msr`."
        raise HardwareMissing(msg)
    _check_permission(packages[0].folder / "energy_uj")
    counted = _drop_duplicate_counters(packages, amd="AuthenticAMD" in (read_text(root / "proc/cpuinfo") or ""))
    parts = [zone for zone in zones if zone.package is None and read_int(zone.folder / "energy_uj") is not None]
    return _make_meter(counted, parts)


def _make_meter(packages: list[_Zone], parts: list[_Zone]) -> FileMeter:
    zones = [*packages, *parts]
    capability = Capability(
        name="rapl",
        scope="CPU package",
        kind="counter",
        channels=tuple(Channel(z.name, _get_role(z), _read_range_j(z.folder)) for z in zones),
        total=tuple(z.name for z in packages),
        step=_STEP_J * len(packages),
        interval_s=_INTERVAL_S,
        notes=("the counter is the whole package's: what other processes draw is in it",),
    )
    return FileMeter(capability, [Sensor((z.folder / "energy_uj",), _UJ) for z in zones])


def _find_zones(root: Path) -> Iterator[_Zone]:
    """Top-level zones, then their children. `intel-rapl-mmio` shows the same packages a second time and is left out."""
    powercap = root / "sys/class/powercap"
    for folder in sorted(powercap.glob("intel-rapl:[0-9]*")):
        name = read_text(folder / "name") or folder.name
        package = re.fullmatch(r"package-(\d+)(?:-die-(\d+))?", name)
        is_child = folder.name.count(":") > 1
        parent = read_text(powercap / folder.name.rpartition(":")[0] / "name") if is_child else None
        number, die = (int(package.group(1)), int(package.group(2) or 0)) if package else (None, 0)
        yield _Zone(folder, f"{parent}/{name}" if parent else name, number, die)


def _drop_duplicate_counters(packages: list[_Zone], *, amd: bool) -> list[_Zone]:
    return [zone for zone in packages if zone.die == 0] if amd else packages


def _check_permission(file: Path) -> None:
    why = explain_unreadable(file)
    if why is not None:
        msg = (
            f"{file} cannot be read ({why}): only root may, since CVE-2020-8694. To allow a group: `groupadd rapl`, add the user, "
            f"and put this into /etc/udev/rules.d/70-rapl.rules: {_UDEV_RULE}"
        )
        raise HardwareMissing(msg)
    if read_int(file) is None:
        msg = f"{file} is there and holds no number."
        raise HardwareMissing(msg)


def _get_role(zone: _Zone) -> str:
    return "cpu" if zone.package is not None else _ROLES.get(zone.name.rpartition("/")[2], "system")


def _read_range_j(folder: Path) -> float | None:
    largest = read_int(folder / "max_energy_range_uj")
    return None if largest is None else largest * _UJ
