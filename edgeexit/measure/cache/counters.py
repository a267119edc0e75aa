"""Cache counters of the CPU: perf_event_open(2) through ctypes, user space only, one counter per event and thread.

Names such as `cache-misses` mean the last level on Intel and the first on Arm, so every event is given by its raw code. Few
are counted at a time, in passes, so that the CPU has a counter for each: `running` below 1 would mean that it had to take turns.
Codes: Linux arch/arm64/kernel/perf_event.c and the Arm architecture reference manual, PMU events; perf_event_open(2) for x86.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexit.errors import HardwareMissing

_SYSCALL = {"x86_64": 298, "aarch64": 241}
_HARDWARE, _HW_CACHE, _RAW = 0, 3, 4
_INHERIT_OFF_DISABLED_USER_ONLY = 1 << 0 | 1 << 5 | 1 << 6
"""disabled, exclude_kernel, exclude_hv of struct perf_event_attr."""
_ATTRIBUTE_BYTES = 64
"""PERF_ATTR_SIZE_VER0: everything that is needed here."""
_TIMES = 1 | 2
"""PERF_FORMAT_TOTAL_TIME_ENABLED and _RUNNING: each read gives value, time enabled, time running."""
_ENABLE, _DISABLE, _RESET = 0x2400, 0x2401, 0x2403


@dataclass(frozen=True)
class Event:
    """One countable event.

    Attributes:
        level: `instructions`, or the cache it is of.
        kind: `instructions`, `accesses` or `misses`.
        type: perf's event type.
        config: perf's event code.
        raw: how the record names it.
    """

    level: str
    kind: str
    type: int
    config: int
    raw: str


def _make_cache_event(level: str, kind: str, cache: int, result: int, name: str) -> Event:
    return Event(level, kind, _HW_CACHE, cache | 0 << 8 | result << 16, name)


def _make_raw_event(level: str, kind: str, code: int, name: str) -> Event:
    return Event(level, kind, _RAW, code, f"r{code:04X} {name}")


_INSTRUCTIONS = Event("instructions", "instructions", _HARDWARE, 1, "instructions")

PASSES: Mapping[str, tuple[tuple[Event, ...], ...]] = {
    "x86_64": (
        (
            _INSTRUCTIONS,
            _make_cache_event("L1D", "accesses", 0, 0, "L1-dcache-loads"),
            _make_cache_event("L1D", "misses", 0, 1, "L1-dcache-load-misses"),
        ),
        (
            _INSTRUCTIONS,
            _make_cache_event("LL", "accesses", 2, 0, "LLC-loads"),
            _make_cache_event("LL", "misses", 2, 1, "LLC-load-misses"),
        ),
    ),
    "aarch64": (
        (
            _INSTRUCTIONS,
            _make_raw_event("L1D", "accesses", 0x04, "L1D_CACHE"),
            _make_raw_event("L1D", "misses", 0x03, "L1D_CACHE_REFILL"),
        ),
        (
            _INSTRUCTIONS,
            _make_raw_event("L2", "accesses", 0x16, "L2D_CACHE"),
            _make_raw_event("L2", "misses", 0x17, "L2D_CACHE_REFILL"),
        ),
        (
            _INSTRUCTIONS,
            _make_raw_event("LL", "accesses", 0x36, "LL_CACHE_RD"),
            _make_raw_event("LL", "misses", 0x37, "LL_CACHE_MISS_RD"),
        ),
    ),
}
"""Groups of events counted together, by architecture."""


@dataclass(frozen=True)
class EventCounts:
    """Counts of one stretch of work.

    Attributes:
        values: by event, over all threads, scaled to the whole time where a counter had to take turns.
        running: smallest share of the time that a counter ran; 1.0 when none took turns.
    """

    values: Mapping[Event, float]
    running: float


Opener = Callable[[Event, int], int]
"""An event and a thread in, an open file descriptor out; raises OSError."""


def open_event(event: Event, thread: int) -> int:
    """Open one counter of one thread of this process.

    Raises:
        OSError: with the kernel's errno.
    """
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"no perf_event_open known for {platform.machine()}")
    attribute = struct.pack(
        "=IIQQQQQIIQ",
        event.type,
        _ATTRIBUTE_BYTES,
        event.config,
        0,
        0,
        _TIMES,
        _INHERIT_OFF_DISABLED_USER_ONLY,
        0,
        0,
        0,
    )
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attribute, _ATTRIBUTE_BYTES)
    descriptor = libc.syscall(number, buffer, thread, -1, -1, 0)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(descriptor)


class Counters:
    """Some events counted over all threads that the process has when it is entered.

        with Counters(events) as counters:
            counted = counters.count(work)

    Raises:
        HardwareMissing: an event cannot be opened; the message says why and what to do.
    """

    def __init__(self, events: Sequence[Event], opener: Opener = open_event) -> None:
        self.events = tuple(events)
        self._opener = opener
        self._open: list[tuple[Event, int]] = []

    def __enter__(self) -> Counters:  # noqa: PYI034 - Self is of Python 3.11
        for event in self.events:
            for thread in list_threads():
                self._open_one(event, thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def count(self, work: Callable[[], object]) -> EventCounts:
        """Run `work` once; the counts of its events."""
        self._control(_RESET)
        self._control(_ENABLE)
        try:
            work()
        finally:
            self._control(_DISABLE)
        values, running = dict.fromkeys(self.events, 0.0), 1.0
        for event, descriptor in self._open:
            value, enabled_ns, running_ns = struct.unpack("QQQ", os.read(descriptor, 24))
            if running_ns:
                values[event] += value * enabled_ns / running_ns
                running = min(running, running_ns / enabled_ns)
        return EventCounts(values, running)

    def _open_one(self, event: Event, thread: int) -> None:
        try:
            self._open.append((event, self._opener(event, thread)))
        except OSError as error:
            if error.errno == errno.ESRCH:  # the thread has ended meanwhile
                return
            self._close()
            raise HardwareMissing(explain_open_failure(error, event)) from error

    def _control(self, request: int) -> None:
        for _, descriptor in self._open:
            fcntl.ioctl(descriptor, request, 0)

    def _close(self) -> None:
        for _, descriptor in self._open:
            os.close(descriptor)
        self._open = []


def list_threads() -> list[int]:
    """The kernel's numbers of this process's threads: a runtime's workers started long before counting begins."""
    return sorted(int(path.name) for path in Path("/proc/self/task").iterdir())


def explain_open_failure(error: OSError, event: Event, root: Path = Path("/")) -> str:
    """Cause and remedy of a failure to open a counter."""
    paranoid = _read_paranoid_level(root)
    reasons = {
        errno.ENOENT: "the CPU shows no such counter: a virtual machine without a virtual PMU, or an event this CPU does not have. "
        "Run on the host, ask for a virtual PMU, or use the simulation",
        errno.EACCES: f"not permitted (perf_event_paranoid is {paranoid}). Run `sudo sysctl kernel.perf_event_paranoid=2`, "
        "or give the capability CAP_PERFMON",
        errno.EPERM: f"not permitted (perf_event_paranoid is {paranoid}). In a container: `--cap-add PERFMON`, since its seccomp "
        "profile forbids it; else `sudo sysctl kernel.perf_event_paranoid=2`",
        errno.ENOSYS: "the system call is not there: a container's seccomp profile hides it. Use `--cap-add PERFMON` or "
        "`--security-opt seccomp=unconfined`",
        errno.EOPNOTSUPP: "this CPU cannot count that event in user space alone",
        errno.EINVAL: "the kernel does not know that event on this CPU",
        errno.EBUSY: "another tool holds the counters (a profiler, the NMI watchdog). End it, or "
        "`sudo sysctl kernel.nmi_watchdog=0`",
        errno.EMFILE: "too many files are open in this process. Raise the limit: `ulimit -n 4096`",
    }
    why = reasons.get(error.errno or 0, error.strerror or str(error))
    name = errno.errorcode.get(error.errno or 0, "unknown")
    return f"the counter {event.raw} does not open ({name}): {why}."


def plan_passes() -> tuple[tuple[Event, ...], ...]:
    """Events to count together on this machine.

    Raises:
        HardwareMissing: nothing is known for its architecture.
    """
    known = PASSES.get(platform.machine())
    if known is None:
        msg = f"no cache events are known for {platform.machine()}."
        raise HardwareMissing(msg)
    return known


def _read_paranoid_level(root: Path) -> str:
    path = root / "proc/sys/kernel/perf_event_paranoid"
    return path.read_text().strip() if path.exists() else "not there"
