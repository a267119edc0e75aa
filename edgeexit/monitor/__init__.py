"""A Runner watched in production: exit rates, latencies, deadline misses, requests to remote stages, an alarm for drift.

    monitor = edgeexit.monitor.Monitor(runner)
    edgeexit.monitor.prometheus.serve(monitor, port=9464)     extra [monitor]
    edgeexit.monitor.otel.export(monitor)                     extra [otel]

A call adds to plain counters; everything else is done when somebody reads them.
"""

from edgeexit.monitor import otel, prometheus
from edgeexit.monitor.metrics import ServiceMetric, list_metrics
from edgeexit.monitor.watching import Monitor, Snapshot

__all__ = ["Monitor", "ServiceMetric", "Snapshot", "list_metrics", "otel", "prometheus"]
