"""Cache geometry: of a named device from its profile, of this machine from the kernel, each checked before anything uses it."""

from __future__ import annotations

import re
from pathlib import Path

from edgeexit.errors import HardwareMissing
from edgeexit.hardware.identity import ROOT, count_cpus
from edgeexit.hardware.profiles import Cache, find_current_profile
from edgeexit.hardware.sysfs import read_int, read_text

_KINDS = {"Data": "data", "Instruction": "instruction", "Unified": "unified"}
_UNITS = {"": 1, "K": 2**10, "M": 2**20}
_LARGEST_BYTES = 256 * 2**20
"""A hypervisor may show a last-level cache of its whole host, or one with a single way: simulated, nothing would ever miss."""


def find_caches(root: Path = ROOT) -> tuple[Cache, ...]:
    """The caches of this machine: its profile's, else those the kernel lists; by level, instruction before data.

    Raises:
        HardwareMissing: neither tells, or what the kernel lists cannot be true; the message says which.
    """
    profile = find_current_profile(root)
    if profile is not None and profile.cache:
        return profile.cache
    listed = read_machine_caches(root)
    faults = [fault for cache in listed if (fault := _explain_implausible(cache))]
    if faults or not listed:
        why = "; ".join(faults) or "the kernel lists none"
        msg = f"the cache geometry of this machine is not known: {why}. Name a device whose caches to use: `edgeexit devices`."
        raise HardwareMissing(msg)
    return listed


def read_machine_caches(root: Path = ROOT) -> tuple[Cache, ...]:
    """The caches of the first CPU as the kernel lists them, plausible or not."""
    found = (_read_cache(index) for index in sorted((root / "sys/devices/system/cpu/cpu0/cache").glob("index*")))
    return tuple(sorted((c for c in found if c is not None), key=lambda c: (c.level, c.kind == "data")))


def _read_cache(index: Path) -> Cache | None:
    size = re.fullmatch(r"(\d+)([KM]?)", read_text(index / "size") or "")
    level, line = read_int(index / "level"), read_int(index / "coherency_line_size")
    kind = _KINDS.get(read_text(index / "type") or "")
    if size is None or level is None or kind is None or not line:
        return None
    size_bytes = int(size.group(1)) * _UNITS[size.group(2)]
    ways = read_int(index / "ways_of_associativity") or size_bytes // line  # 0: fully associative, or not known
    shared = count_cpus(read_text(index / "shared_cpu_list") or "0")
    return Cache(level, kind, size_bytes, ways, line, "the kernel", shared)


def _explain_implausible(cache: Cache) -> str | None:
    what = f"a level {cache.level} {cache.kind} cache of {cache.size_bytes / 2**20:g} MiB with {cache.ways} ways"
    wrong = cache.size_bytes > _LARGEST_BYTES or cache.ways < 2 or cache.size_bytes % (cache.ways * cache.line_bytes)
    return f"the kernel shows {what}, which no core has" if wrong else None
