"""Monitors as metrics of Prometheus, in the registry of `prometheus-client` (extra `[monitor]`)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from edgeexit.errors import InputError, MissingExtra
from edgeexit.monitor.metrics import Histogram, ServiceMetric, list_metrics
from edgeexit.monitor.watching import Monitor
from edgeexit.util.arguments import as_whole

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PORT = 9464


def register(*monitors: Monitor, registry: CollectorRegistry | None = None) -> None:
    """Add Monitors to a registry, that of the process if none is named: whatever exposes it then has their metrics.

    Raises:
        MissingExtra: prometheus-client is not installed.
        InputError: two Monitors of one name, or names that the registry has already.

    Example:
        >>> import edgeexit
        >>> from edgeexit.monitor import Monitor, prometheus
        >>> import prometheus_client
        >>> registry = prometheus_client.CollectorRegistry()
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     prometheus.register(Monitor(runner), registry=registry)
        ...     text = prometheus_client.generate_latest(registry).decode()
        >>> 'edgeexit_predictions_total{bundle="lenet",exit="1"} 0.0' in text
        True
    """
    collector: Any = MetricsCollector(monitors)
    try:
        (_import_client().REGISTRY if registry is None else registry).register(collector)
    except ValueError as error:
        msg = f"the registry has metrics of edgeexit already: register all Monitors in one call ({error})."
        raise InputError(msg) from error


class MetricsServer:
    """An HTTP server that answers `GET /metrics`, in threads of its own.

    Attributes:
        port: the port it listens on.
    """

    def __init__(self, server: Any, thread: threading.Thread) -> None:
        self._server, self._thread = server, thread
        self.port = int(server.server_port)

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(*monitors: Monitor, port: int = PORT, address: str = "127.0.0.1") -> MetricsServer:
    """Expose Monitors at `http://address:port/metrics`, and nothing else.

    Args:
        monitors: the Monitors.
        port: 0 takes a free one.
        address: of the interface to listen on; "0.0.0.0" for all of them: the metrics are then open to whoever reaches the port.

    Raises:
        MissingExtra: prometheus-client is not installed.
        InputError: a port that cannot be had, two Monitors of one name.

    Example:
        >>> from urllib.request import urlopen
        >>> import edgeexit
        >>> from edgeexit.monitor import Monitor, prometheus
        >>> with edgeexit.load("lenet.eexit") as runner:
        ...     server = prometheus.serve(Monitor(runner), port=0)
        ...     with urlopen(f"http://127.0.0.1:{server.port}/metrics") as response:
        ...         text = response.read().decode()
        ...     server.close()
        >>> "edgeexit_latency_seconds_bucket" in text
        True
    """
    client = _import_client()
    registry = client.CollectorRegistry()
    register(*monitors, registry=registry)
    try:
        return MetricsServer(*client.start_http_server(as_whole("port", port, 0, 65535), address, registry))
    except OSError as error:
        msg = f"cannot listen on {address}:{port}: {error}."
        raise InputError(msg) from error


def _import_client() -> Any:
    try:
        import prometheus_client.core
    except ImportError as error:
        raise MissingExtra("prometheus-client", "monitor") from error
    return prometheus_client


class MetricsCollector:
    """What a registry of prometheus-client asks for metrics; see `register`."""

    def __init__(self, monitors: Sequence[Monitor]) -> None:
        names = [m.name for m in monitors]
        if not monitors or len(set(names)) < len(names):
            msg = f"each Monitor needs a name of its own, Monitor(runner, name=...); got {names}."
            raise InputError(msg)
        self._monitors, self._core = tuple(monitors), _import_client().core

    def describe(self) -> Iterator[Any]:
        """The metrics without samples."""
        yield from (_make_family(self._core, metric) for metric in list_metrics())

    def collect(self) -> Iterator[Any]:
        """The metrics with the samples of this moment."""
        snapshots = [m.snapshot() for m in self._monitors]
        for metric in list_metrics():
            family = _make_family(self._core, metric)
            for labels, value in metric.list_samples(snapshots):
                _add_sample(family, labels, value)
            yield family


def format_name(metric: ServiceMetric) -> str:
    """Name for Prometheus, without the suffix that a counter's or a histogram's samples get."""
    return f"edgeexit_{metric.name.replace('.', '_')}" + ("_seconds" if metric.unit == "s" else "")


def _make_family(core: Any, metric: ServiceMetric) -> Any:
    kind = {
        "counter": core.CounterMetricFamily,
        "gauge": core.GaugeMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }[metric.kind]
    return kind(format_name(metric), metric.help, labels=("bundle", *metric.labels))


def _add_sample(family: Any, labels: tuple[str, ...], value: float | Histogram) -> None:
    if isinstance(value, Histogram):
        ends = [*(f"{end:g}" for end in value.ends), "+Inf"]
        family.add_metric(labels, list(zip(ends, accumulate(value.counts), strict=True)), value.total)
    else:
        family.add_metric(labels, value)
