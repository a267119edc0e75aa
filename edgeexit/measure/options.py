"""The options of a benchmark, as one value that goes from the command line to the processes that time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgeexit.measure.scenarios import Pace
from edgeexit.measure.suites import Suite, load_suite

FLUSH_BYTES = 64 * 2**20
"""More than the last-level cache of every board in `devices/`; a server's may be larger, and the result says how much was streamed."""

_ENERGY_TRIALS = 3
_SHORTEST_AUDIT_S, _AUDIT_SHARE = 0.3, 0.1


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What a benchmark measures, how long and in which order.

    Every timing process gets it as part of its job, so all fields can be written as JSON.

    Attributes:
        suite: how long, how often and what to measure.
        seed: random seed of the choice of samples, the trace, the order of the variants and every resampling.
        pace: schedule of paced requests, which are measured too; None for no such requests.
        cache_device: name of a profile of `devices/` whose caches are simulated; None for the caches of this machine.
        power_log: path of the log that an external power meter writes meanwhile; None without such a meter.
        audit: whether to time one input again and again beside inputs in turn, to see whether some layer caches inputs or outputs.
        flush_bytes: size of the buffer that is streamed through before every inference with cold caches.
    """

    suite: Suite
    seed: int = 0
    pace: Pace | None = None
    cache_device: str | None = None
    power_log: str | None = None
    audit: bool = False
    flush_bytes: int = FLUSH_BYTES

    @classmethod
    def from_preset(
        cls,
        preset: str = "quick",
        *,
        seed: int = 0,
        pace: Pace | None = None,
        energy: bool | None = None,
        power_log: Path | None = None,
        cache: bool | None = None,
        cache_device: str | None = None,
        audit: bool = False,
    ) -> BenchOptions:
        """A preset with changes; see `edgeexit.measure.bench` for what each argument means.

        Raises:
            InputError: there is no such preset, or its file is faulty.

        Example:
            >>> BenchOptions.from_preset("quick", seed=1, energy=True).suite.energy_trials
            3
        """
        energy = True if power_log is not None else energy
        cache = True if cache_device is not None else cache
        return cls(
            suite=_adjust_suite(load_suite(preset), energy, cache),
            seed=seed,
            pace=pace,
            cache_device=cache_device,
            power_log=None if power_log is None else str(power_log),
            audit=audit,
        )

    @property
    def paced_s(self) -> float:
        """Length of the schedule of paced requests for each variant and process, seconds; 0 without such requests."""
        return 0.0 if self.pace is None else self.suite.paced_s or self.suite.seconds

    @property
    def audit_s(self) -> float:
        """How long the caching audit times in each process, seconds; 0 without an audit."""
        return max(_SHORTEST_AUDIT_S, _AUDIT_SHARE * self.suite.seconds) if self.audit else 0.0


def _adjust_suite(suite: Suite, energy: bool | None, cache: bool | None) -> Suite:
    """The suite with energy and caches measured or not; None leaves either as it is."""
    trials = suite.energy_trials if energy is None else energy * max(_ENERGY_TRIALS, suite.energy_trials)
    return replace(suite, energy_trials=trials, cache=suite.cache if cache is None else cache)
