"""Limits of this process's control groups: CPU time per second, and how often it was stopped for having used it up.

A container sees its own group as the root; a service (`CPUQuota=` of systemd) is a group below it, and every group above counts as well.
Version 2 writes `cpu.max` (quota and period in microseconds, or `max`), version 1 `cpu.cfs_quota_us` (-1 for none) and `cpu.cfs_period_us`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgeexit.hardware.sysfs import read_text

STOPPED = "times stopped by the control group's CPU limit"
"""Name of the counter that `stops` gives."""

_MOUNT = "sys/fs/cgroup"
_V1_MOUNTS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")


def read_cpu_limit(root: Path) -> float | None:
    """CPUs' worth of time per second that the control groups of this process grant; None without a limit."""
    return min((limit for folder in _list_folders(root) if (limit := _read_limit(folder)) is not None), default=None)


def count_cpu_stops(root: Path) -> dict[str, int]:
    """Number of times that the groups throttled their processes since they were made; empty where nothing is limited."""
    found = [_read_stop_count(folder) for folder in _list_folders(root) if _read_limit(folder) is not None]
    counts = [count for count in found if count is not None]
    return {STOPPED: sum(counts)} if counts else {}


def _list_folders(root: Path) -> Iterator[Path]:
    """The groups that this process is in, and those above them, wherever their files are mounted."""
    own = dict(_read_own_groups(root))
    yield from _list_ancestors(root / _MOUNT, own.get("", "/"))
    for name in _V1_MOUNTS:
        yield from _list_ancestors(root / _MOUNT / name, own.get("cpu", "/"))


def _read_own_groups(root: Path) -> Iterator[tuple[str, str]]:
    """(controller, group) of each line `id:controllers:group` of /proc/self/cgroup; version 2 has no controllers there."""
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        yield from ((controller, group) for controller in controllers.split(","))


def _list_ancestors(mount: Path, group: str) -> Iterator[Path]:
    """The folders of a group and of all above it; of a group outside of what a container sees only the mount."""
    path = PurePosixPath(group.lstrip("/"))
    if ".." not in path.parts:
        yield from (mount / part for part in (path, *path.parents) if part != PurePosixPath())
    yield mount


def _read_limit(folder: Path) -> float | None:
    text = read_text(folder / "cpu.max")
    if text is None:
        parts = [read_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
        text = " ".join(parts)
    found = re.fullmatch(r"(\d+) (\d+)", text)
    return int(found.group(1)) / int(found.group(2)) if found and int(found.group(2)) else None


def _read_stop_count(folder: Path) -> int | None:
    found = re.search(r"^nr_throttled (\d+)$", read_text(folder / "cpu.stat") or "", re.MULTILINE)
    return int(found.group(1)) if found else None
