"""CPUs of different kinds on one chip (big.LITTLE), and threads pinned to some of them.

The kernel says how much a CPU can do beside the chip's best one in `cpu_capacity` (64-bit Arm); where it does not, the highest clock stands
for it. Where all are alike, the big and the little ones are all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from edgeexit.errors import HardwareMissing, InputError
from edgeexit.hardware.identity import ROOT
from edgeexit.hardware.sysfs import read_text

BIG, LITTLE = "big", "little"
_RANGES = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")
_FOLDER = "sys/devices/system/cpu"


def parse_cpu_list(text: str) -> tuple[int, ...]:
    """The CPUs of a list as the kernel writes it, such as `0-3,6`."""
    spans = ([int(end) for end in part.split("-")] for part in text.strip().split(",") if part)
    return tuple(sorted({cpu for span in spans for cpu in range(span[0], span[-1] + 1)}))


def format_cpu_list(cpus: Iterable[int]) -> str:
    """A list as the kernel writes it: `(0, 1, 2, 6)` -> `0-2,6`."""
    spans: list[list[int]] = []
    for cpu in sorted(cpus):
        if spans and cpu == spans[-1][1] + 1:
            spans[-1][1] = cpu
        else:
            spans.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def read_core_capacities(root: Path = ROOT) -> dict[int, int]:
    """What each CPU that is online can do, beside the others of this machine; empty where the kernel does not tell."""
    listed = read_text(root / _FOLDER / "online")
    found = {cpu: _read_capacity(root / _FOLDER / f"cpu{cpu}") for cpu in parse_cpu_list(listed or "")}
    return {cpu: capacity for cpu, capacity in found.items() if capacity is not None}


def _read_capacity(folder: Path) -> int | None:
    text = read_text(folder / "cpu_capacity") or read_text(folder / "cpufreq/cpuinfo_max_freq") or ""
    return int(text) if text.strip().isdecimal() else None


def find_cores(choice: str, root: Path = ROOT) -> tuple[int, ...]:
    """The CPUs that a choice of cores names.

    Args:
        choice: `big`, `little`, or a list such as `0-3,6`.
        root: root of the file system; another one than `/` is for tests.

    Raises:
        InputError: another text, or CPUs that are not online.
    """
    online = parse_cpu_list(read_text(root / _FOLDER / "online") or "")
    if choice in (BIG, LITTLE):
        capacities = read_core_capacities(root)
        wanted = (max if choice == BIG else min)(capacities.values(), default=None)
        return tuple(cpu for cpu, capacity in capacities.items() if capacity == wanted) or online
    if not _RANGES.fullmatch(choice):
        msg = f"cores must be {BIG}, {LITTLE} or a list of CPUs such as 0-3, not {choice!r}."
        raise InputError(msg)
    cpus = parse_cpu_list(choice)
    missing = set(cpus) - set(online)
    if missing or not cpus:
        msg = f"CPUs {format_cpu_list(missing)} are not online: this machine has {format_cpu_list(online) or 'none that it tells of'}."
        raise InputError(msg)
    return cpus


def pin_to_cores(choice: str, root: Path = ROOT) -> tuple[int, ...]:
    """Let this thread, and the threads and processes that it starts from now on, run on these CPUs only; returns them.

    Raises:
        InputError: as of `find_cores`.
        HardwareMissing: this system cannot pin threads, or does not let this process use those CPUs.
    """
    cpus = find_cores(choice, root)
    if not cpus or not hasattr(os, "sched_setaffinity"):
        msg = "threads cannot be pinned to cores on this system."
        raise HardwareMissing(msg)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        msg = f"this process may not run on the CPUs {format_cpu_list(cpus)}: {error.strerror}."
        raise HardwareMissing(msg) from error
    return cpus


def describe_kinds(cpus: Iterable[int], root: Path = ROOT) -> str:
    """Which kinds of cores are among some CPUs, where this machine has several: `big (4-7)`, `all kinds (0-7)`; else an empty text.

    A measurement on one kind says nothing of another; which of the equal cores a thread runs on changes nothing.
    """
    cpus, capacities = tuple(cpus), read_core_capacities(root)
    kinds, used = sorted(set(capacities.values())), {capacities[cpu] for cpu in cpus if cpu in capacities}
    if len(kinds) < 2 or not used:
        return ""
    names = {kinds[0]: LITTLE, **dict.fromkeys(kinds[1:-1], "middle"), kinds[-1]: BIG}
    called = "all kinds" if used == set(kinds) else " and ".join(dict.fromkeys(names[kind] for kind in sorted(used)))
    return f"{called} ({format_cpu_list(cpus)})"
