"""Monitors as metrics of OpenTelemetry (extra `[otel]`): asynchronous instruments, which the SDK reads when it collects.

OpenTelemetry has no asynchronous histogram, and a synchronous one takes longer than a call may: a histogram becomes two counters, `.bucket`
with the upper end of each bucket as attribute `le` (cumulative, as Prometheus has it) and `.sum`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from edgeexit.errors import MissingExtra
from edgeexit.monitor.metrics import Histogram, ServiceMetric, list_metrics
from edgeexit.monitor.watching import Monitor

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

Rows = Iterator[tuple[dict[str, str], float]]


def export(*monitors: Monitor, meter: Meter | None = None) -> None:
    """Create the instruments of Monitors.

    Args:
        monitors: the Monitors.
        meter: where to create them; None takes the meter "edgeexit" of the process's MeterProvider.

    Raises:
        MissingExtra: opentelemetry-api is not installed.

    Example:
        >>> import edgeexit
        >>> from edgeexit.monitor import Monitor, otel
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     otel.export(Monitor(runner))
    """
    try:
        from opentelemetry import metrics
    except ImportError as error:
        raise MissingExtra("opentelemetry-api", "otel") from error
    chosen = metrics.get_meter("edgeexit") if meter is None else meter
    for metric in list_metrics():
        for suffix, rows in _list_rows(metric).items():
            make = chosen.create_observable_gauge if metric.kind == "gauge" else chosen.create_observable_counter
            unit = metric.unit if suffix != ".bucket" else ""
            callback = partial(_observe, rows, metric, monitors, metrics.Observation)
            make(f"edgeexit.{metric.name}{suffix}", callbacks=[callback], unit=unit, description=metric.help)


def _observe(
    rows: Callable[[dict[str, str], Any], Rows],
    metric: ServiceMetric,
    monitors: tuple[Monitor, ...],
    make: Callable[[float, dict[str, str]], Any],
    _options: object,
) -> Iterator[Any]:
    """The callback of an instrument."""
    for labels, value in metric.list_samples([m.snapshot() for m in monitors]):
        attributes = dict(zip(("bundle", *metric.labels), labels, strict=True))
        yield from (make(number, found) for found, number in rows(attributes, value))


def _list_rows(metric: ServiceMetric) -> dict[str, Callable[[dict[str, str], Any], Rows]]:
    """The instruments of a metric by the suffix of their names, and how each reads a value."""
    return {".bucket": _read_buckets, ".sum": _read_sum} if metric.kind == "histogram" else {"": _read_number}


def _read_number(attributes: dict[str, str], value: float) -> Rows:
    yield attributes, value


def _read_sum(attributes: dict[str, str], value: Histogram) -> Rows:
    yield attributes, value.total


def _read_buckets(attributes: dict[str, str], value: Histogram) -> Rows:
    ends = [*(f"{end:g}" for end in value.ends), "+Inf"]
    for end, count in zip(ends, accumulate(value.counts), strict=True):
        yield {**attributes, "le": end}, count
