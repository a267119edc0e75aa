"""The metrics of a Snapshot, by name: the one list that every exporter writes in its own format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from edgeexit.monitor.watching import Snapshot

Labels: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Histogram:
    """Counts per bucket and the sum of the values.

    Attributes:
        ends: upper ends of the buckets but the last, which has none.
        counts: values per bucket, not cumulative.
        total: sum of the values.
    """

    ends: tuple[float, ...]
    counts: tuple[int, ...]
    total: float


Value: TypeAlias = float | Histogram
Samples: TypeAlias = Iterator[tuple[Labels, Value]]


@dataclass(frozen=True)
class ServiceMetric:
    """One metric.

    Attributes:
        name: without prefix and suffix, words joined by dots: `latency` is edgeexit_latency_seconds for Prometheus, edgeexit.latency for
            OpenTelemetry.
        kind: `counter`, `gauge` or `histogram`.
        unit: `s`, or empty.
        help: what it counts.
        labels: names of its labels beside `bundle`.
        read: the values in a Snapshot, each with the values of these labels.
    """

    name: str
    kind: str
    unit: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[Snapshot], Samples]

    def list_samples(self, snapshots: Sequence[Snapshot]) -> Samples:
        """The values of several Monitors, `bundle` the first label."""
        for snapshot in snapshots:
            for labels, value in self.read(snapshot):
                yield (snapshot.bundle, *labels), value


def list_metrics() -> tuple[ServiceMetric, ...]:
    """Every metric."""
    return _METRICS


def _read_exits(s: Snapshot) -> Samples:
    yield from (((str(exit),), float(count)) for exit, count in enumerate(s.exits, 1))


def _read_latency(s: Snapshot) -> Samples:
    for exit, (counts, total) in enumerate(zip(s.latency, s.latency_s, strict=True), 1):
        yield (str(exit),), Histogram(s.buckets_s, counts, total)


def _read_escalations(s: Snapshot) -> Samples:
    yield from (((outcome,), float(count)) for outcome, count in sorted(s.escalations.items()))


def _read_p_value(s: Snapshot) -> Samples:
    if s.drift.p_value is not None:
        yield (), s.drift.p_value


def _read_calibrated_rates(s: Snapshot) -> Samples:
    yield from (((str(exit),), rate) for exit, rate in enumerate(s.drift.calibrated_rates, 1))


def _read_calibration(s: Snapshot) -> Samples:
    if s.calibration is not None:
        yield (s.calibration,), 1.0


_METRICS = (
    ServiceMetric("predictions", "counter", "", "Answers, by the exit that gave them.", ("exit",), _read_exits),
    ServiceMetric("latency", "histogram", "s", "Time from the input to its answer, by exit.", ("exit",), _read_latency),
    ServiceMetric(
        "deadline_misses", "counter", "", "Answers that came after their deadline.", (), lambda s: iter([((), s.late)])
    ),
    ServiceMetric(
        "fallbacks",
        "counter",
        "",
        "Answers of the last exit here, because a remote stage gave none.",
        (),
        lambda s: iter([((), s.fallbacks)]),
    ),
    ServiceMetric(
        "escalations",
        "counter",
        "",
        "Requests to remote stages, by what became of them.",
        ("outcome",),
        _read_escalations,
    ),
    ServiceMetric(
        "drift.alarm",
        "gauge",
        "",
        "1 once what comes differs from the calibration data.",
        (),
        lambda s: iter([((), float(s.drift.raised))]),
    ),
    ServiceMetric("drift.tests", "counter", "", "Windows tested for drift.", (), lambda s: iter([((), s.drift.tests)])),
    ServiceMetric("drift.p_value", "gauge", "", "p-value of the last test for drift.", (), _read_p_value),
    ServiceMetric(
        "calibrated.exit_rate", "gauge", "", "Exit rates on the calibration data.", ("exit",), _read_calibrated_rates
    ),
    ServiceMetric("calibration.info", "gauge", "", "1; the calibration in use.", ("calibration",), _read_calibration),
)
