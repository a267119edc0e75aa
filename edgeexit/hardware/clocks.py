"""Clocks, temperatures, cooling and throttle counters: where each kernel and board keeps them.

Every reader takes the file-system root and returns a mapping from a stable name to a value in SI units; what a board does not
have, or what a powered-off domain refuses to tell, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeexit.hardware.commands import run_tool
from edgeexit.hardware.sysfs import read_int, read_text

SWAPPING = "pages swapped in"
"""The one counter that is not about clocks."""
PEAK_OVER_CURRENT = "peak over-current (oc3)"
_KHZ = 1e3
_THROTTLED_NOW = {0: "under-voltage", 1: "ARM frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Bits 0 to 3 of the Raspberry Pi firmware's `get_throttled`; bits 16 to 19 are the same since boot."""
_OVER_CURRENT = {"oc1": "under-voltage (oc1)", "oc2": "average over-current (oc2)", "oc3": PEAK_OVER_CURRENT}
"""NVIDIA Jetson Linux developer guide, "Over-current event counters": names of the three counters on Orin and Thor."""


@dataclass(frozen=True)
class ClockDomain:
    """One clock domain.

    Attributes:
        name: `cpu-policy0`, or the device's name in devfreq.
        current_hz: now, or None where the driver does not tell.
        min_hz: lowest the governor may choose, or None.
        max_hz: highest the governor may choose, or None.
        governor: who chooses, or None.
    """

    name: str
    current_hz: float | None
    min_hz: float | None
    max_hz: float | None
    governor: str | None

    @property
    def fixed(self) -> bool:
        """Whether the governor has no choice: lowest equals highest."""
        return self.min_hz is not None and self.min_hz == self.max_hz


def read_clocks(root: Path) -> tuple[ClockDomain, ...]:
    """CPU clocks by policy, then the devfreq domains (GPU, memory), then the memory cap of a Jetson's power mode."""
    return (*_read_cpu_clocks(root), *_read_devfreq_clocks(root), *_read_emc_cap(root))


def find_clock_files(root: Path) -> dict[str, tuple[Path, float]]:
    """For a sampler: clock name -> (file with the current frequency, its unit in Hz)."""
    cpu = {f"cpu-{p.name}": (p / "scaling_cur_freq", _KHZ) for p in _list_policies(root)}
    dev = {d.name: (d / "cur_freq", 1.0) for d in _list_devfreqs(root)}
    return {name: found for name, found in {**cpu, **dev}.items() if read_int(found[0]) is not None}


def read_temperatures(root: Path) -> dict[str, float]:
    """Thermal zones by type, °C."""
    return {
        name: value / 1e3
        for name, path in find_temperature_files(root).items()
        if (value := read_int(path)) is not None
    }


def find_temperature_files(root: Path) -> dict[str, Path]:
    """Thermal zones by type: the file in millidegrees. Zones of powered-off domains, which cannot be read, are left out."""
    zones = _list_numbered(root / "sys/class/thermal", "thermal_zone")
    named = {_make_unique_name(zone, "type"): zone / "temp" for zone in zones}
    return {name: path for name, path in named.items() if read_int(path) is not None}


def read_cooling_states(root: Path) -> dict[str, int]:
    """Cooling devices that slow something down, by type: their state, 0 or less meaning idle. Fans are not among them."""
    return {name: state for name, path in find_cooling_files(root).items() if (state := read_int(path)) is not None}


def find_cooling_files(root: Path) -> dict[str, Path]:
    """For a sampler: the files of these states by name, as far as they can be read."""
    devices = _list_numbered(root / "sys/class/thermal", "cooling_device")
    named = {_make_unique_name(device, "type"): device / "cur_state" for device in devices}
    return {n: path for n, path in named.items() if "fan" not in n.lower() and read_int(path) is not None}


def read_fans(root: Path) -> dict[str, int]:
    """PWM duty of fans, 0 to 255, by hwmon name."""
    files = sorted(root.glob("sys/class/hwmon/hwmon*/pwm1"))
    return {read_text(f.parent / "name") or f.parent.name: duty for f in files if (duty := read_int(f)) is not None}


def read_event_counters(root: Path) -> dict[str, int]:
    """Counters of events since boot that pull clocks down: over-current (Jetson), thermal throttling (x86), swapping."""
    return {**_read_over_current(root), **_read_x86_throttling(root), **_read_swapping(root)}


def find_event_counter_files(root: Path) -> dict[str, Path]:
    """For a sampler: the over-current counters' files by name; the others are sums and are read before and after."""
    return {name: path for name, path in _find_over_current_files(root).items() if read_int(path) is not None}


def read_alarms(root: Path) -> dict[str, bool]:
    """Conditions that the firmware reports now, and those seen since boot (`... since boot`): Raspberry Pi."""
    bits = _read_throttled_bits(root)
    flags: dict[str, bool] = {}
    if bits is not None:
        flags |= {name: bool(bits >> bit & 1) for bit, name in _THROTTLED_NOW.items()}
        flags |= {f"{name} since boot": bool(bits >> (16 + bit) & 1) for bit, name in _THROTTLED_NOW.items()}
    for chip in _find_hwmons(root, "rpi_volt"):
        low = read_int(chip / "in0_lcrit_alarm")
        flags |= {} if low is None else {"under-voltage": bool(low) or flags.get("under-voltage", False)}
    return flags


def read_power_mode(root: Path) -> str | None:
    """The power mode by name and number (`25W (1)`), or the platform profile of a PC, or None."""
    return _read_nvpmodel_file(root) or _run_nvpmodel(root) or read_text(root / "sys/firmware/acpi/platform_profile")


def read_boost(root: Path) -> bool | None:
    """Whether x86 turbo frequencies are allowed; None where there is no such switch."""
    no_turbo = read_int(root / "sys/devices/system/cpu/intel_pstate/no_turbo")
    if no_turbo is not None:
        return no_turbo == 0
    allowed = read_int(root / "sys/devices/system/cpu/cpufreq/boost")
    return None if allowed is None else allowed == 1


def _list_numbered(folder: Path, prefix: str) -> list[Path]:
    found = (path for path in folder.glob(f"{prefix}*") if path.name[len(prefix) :].isdigit())
    return sorted(found, key=lambda path: int(path.name[len(prefix) :]))


def _make_unique_name(device: Path, name_file: str) -> str:
    """Two devices may share a type, so the kernel's own number is part of the name."""
    return f"{read_text(device / name_file) or 'unknown'}#{re.sub(r'[^0-9]', '', device.name)}"


def _list_policies(root: Path) -> list[Path]:
    return _list_numbered(root / "sys/devices/system/cpu/cpufreq", "policy")


def _list_devfreqs(root: Path) -> list[Path]:
    return sorted(root.glob("sys/class/devfreq/*"))


def _read_scaled(path: Path, unit: float) -> float | None:
    value = read_int(path)
    return None if value is None else value * unit


def _read_cpu_clocks(root: Path) -> Iterator[ClockDomain]:
    for p in _list_policies(root):
        current, low, high = (_read_scaled(p / f"scaling_{name}_freq", _KHZ) for name in ("cur", "min", "max"))
        yield ClockDomain(f"cpu-{p.name}", current, low, high, read_text(p / "scaling_governor"))


def _read_devfreq_clocks(root: Path) -> Iterator[ClockDomain]:
    for d in _list_devfreqs(root):
        current, low, high = (_read_scaled(d / f"{name}_freq", 1.0) for name in ("cur", "min", "max"))
        yield ClockDomain(d.name, current, low, high, read_text(d / "governor"))


def _read_emc_cap(root: Path) -> Iterator[ClockDomain]:
    cap = read_int(root / "sys/kernel/nvpmodel_clk_cap/emc") or read_int(root / "sys/kernel/nvpmodel_emc_cap/emc")
    if cap:
        yield ClockDomain("emc-cap", None, None, float(cap), None)


def _find_hwmons(root: Path, name: str) -> list[Path]:
    """Devices of hwmon by the driver's name: their numbers change from boot to boot."""
    return [chip for chip in sorted(root.glob("sys/class/hwmon/hwmon*")) if read_text(chip / "name") == name]


def _find_over_current_files(root: Path) -> dict[str, Path]:
    chips = _find_hwmons(root, "soctherm_oc") or sorted(
        root.glob("sys/devices/platform/soctherm-oc-event/hwmon/hwmon*")
    )
    return {name: chips[0] / f"{key}_event_cnt" for key, name in _OVER_CURRENT.items()} if chips else {}


def _read_over_current(root: Path) -> dict[str, int]:
    counts = {name: read_int(path) for name, path in _find_over_current_files(root).items()}
    return {name: count for name, count in counts.items() if count is not None}


def _read_x86_throttling(root: Path) -> dict[str, int]:
    """Summed over cores: which core was hot does not matter here, and siblings report the same event."""
    kinds = {"core_throttle_count": "core thermal throttling", "package_throttle_count": "package thermal throttling"}
    counts = {
        name: [read_int(path) for path in root.glob(f"sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/{file}")]
        for file, name in kinds.items()
    }
    return {name: sum(c for c in found if c is not None) for name, found in counts.items() if found}


def _read_swapping(root: Path) -> dict[str, int]:
    text = read_text(root / "proc/vmstat") or ""
    found = re.search(r"^pswpin (\d+)$", text, re.MULTILINE)
    return {SWAPPING: int(found.group(1))} if found else {}


def _read_throttled_bits(root: Path) -> int | None:
    files = sorted(root.glob("sys/devices/platform/soc*/*firmware*/get_throttled"))
    text = next(filter(None, map(read_text, files)), None) or run_tool(root, "vcgencmd", "get_throttled") or ""
    found = re.search(r"(?:0x)?([0-9a-fA-F]+)\s*$", text)
    return int(found.group(1), 16) if found else None


def _read_nvpmodel_file(root: Path) -> str | None:
    """The mode that nvpmodel last set, from the file it writes; the names stand in its configuration. Needs no root."""
    active = re.search(r"pmode:0*(\d+)", read_text(root / "var/lib/nvpmodel/status") or "")
    if active is None:
        return None
    names = re.findall(
        r"^<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", read_text(root / "etc/nvpmodel.conf") or "", re.MULTILINE
    )
    return f"{dict(names).get(active.group(1), 'mode')} ({active.group(1)})"


def _run_nvpmodel(root: Path) -> str | None:
    found = re.search(r"NV Power Mode:\s*(\S+)\s+(\d+)", run_tool(root, "nvpmodel", "-q") or "")
    return f"{found.group(1)} ({found.group(2)})" if found else None
