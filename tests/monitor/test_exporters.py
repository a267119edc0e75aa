"""What a Monitor counted, as Prometheus and OpenTelemetry get it; and the dashboard that shows it."""

from __future__ import annotations

import doctest
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeexit import monitor as monitor_module
from edgeexit.errors import InputError, MissingExtra
from edgeexit.monitor import Monitor, list_metrics, otel, prometheus
from edgeexit.runtime import Runner
from edgeexit.runtime.remote.limits import Gate, RemoteLimits

EXAMPLES = Path(__file__).parents[2] / "examples" / "monitoring"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


@pytest.fixture
def monitor(watched: Runner, digits: NDArray[np.float32]) -> Monitor:
    """Has counted some answers, and one request to a remote stage."""
    found = Monitor(watched, window=100)
    watched.run_many(digits[:200])
    gate = Gate(RemoteLimits())
    gate.note(answered=True)
    vars(watched)["remote"] = SimpleNamespace(gate=gate)
    return found


def scrape(*monitors: Monitor) -> list[Any]:
    """The metrics that a real HTTP request gets, parsed by Prometheus's own client."""
    parser = pytest.importorskip("prometheus_client.parser")
    server = prometheus.serve(*monitors, port=0)
    try:
        with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=600) as response:
            return list(parser.text_string_to_metric_families(response.read().decode()))
    finally:
        server.close()


def test_prometheus_scrapes_what_was_counted(monitor: Monitor) -> None:
    """Every metric, with the Monitor's name; buckets are cumulative."""
    families = scrape(monitor)
    samples = {(s.name, s.labels.get("exit"), s.labels.get("le")): s.value for f in families for s in f.samples}
    seen = monitor.snapshot()

    assert {prometheus.format_name(m) for m in list_metrics()} == {f.name for f in families}
    for exit, count in enumerate(seen.exits, 1):
        assert count == samples["edgeexit_predictions_total", str(exit), None]
        assert count == samples["edgeexit_latency_seconds_count", str(exit), None]
        assert count == samples["edgeexit_latency_seconds_bucket", str(exit), "+Inf"]
        assert seen.latency_s[exit - 1] == samples["edgeexit_latency_seconds_sum", str(exit), None]
    assert 1 == samples["edgeexit_escalations_total", None, None]
    assert 1 == samples["edgeexit_drift_tests_total", None, None]
    assert {"digits"} == {s.labels["bundle"] for f in families for s in f.samples}


def test_two_monitors_need_two_names(monitor: Monitor, watched: Runner) -> None:
    """Else their series would be one; and a registry takes them in one call."""
    client = pytest.importorskip("prometheus_client")
    with pytest.raises(InputError, match="a name of its own"):
        prometheus.register(monitor, Monitor(watched))
    registry = client.CollectorRegistry()
    prometheus.register(monitor, Monitor(watched, name="other"), registry=registry)
    assert b'bundle="other"' in client.generate_latest(registry)
    with pytest.raises(InputError, match="in one call"):
        prometheus.register(monitor, registry=registry)


def test_opentelemetry_collects_what_was_counted(monitor: Monitor) -> None:
    """The same numbers under the same names with dots."""
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    reader = pytest.importorskip("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    otel.export(monitor, meter=provider.get_meter("test"))
    found = {
        metric.name: {tuple(sorted(p.attributes.items())): p.value for p in metric.data.data_points}
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    provider.shutdown()
    seen = monitor.snapshot()

    expected = {(("bundle", "digits"), ("exit", str(k))): n for k, n in enumerate(seen.exits, 1)}
    assert expected == found["edgeexit.predictions"]
    ends = {a: v for a, v in found["edgeexit.latency.bucket"].items() if ("le", "+Inf") in a}
    assert list(seen.exits) == list(ends.values())
    assert sum(seen.latency_s) == pytest.approx(sum(found["edgeexit.latency.sum"].values()))
    assert {(("bundle", "digits"),): 0.0} == found["edgeexit.drift.alarm"]


@pytest.mark.parametrize(("export", "extra"), [(prometheus.register, "monitor"), (otel.export, "otel")])
def test_a_monitor_needs_no_package_until_it_is_exported(
    monitor: Monitor, export: Any, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the extra."""
    for name in ("prometheus_client", "prometheus_client.core", "opentelemetry"):
        monkeypatch.setitem(sys.modules, name, None)  # as Python has it for what cannot be imported
    with pytest.raises(MissingExtra, match=rf"edgeexit\[{extra}\]"):
        export(monitor)


def list_exported_names() -> set[str]:
    return {prometheus.format_name(m) + suffix for m in list_metrics() for suffix in SUFFIXES[m.kind]}


def list_expressions(node: Any) -> Iterator[str]:
    """Every query of a dashboard or of alert rules."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("expr", "definition", "query") and isinstance(value, str):
                yield value
            else:
                yield from list_expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from list_expressions(value)


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_are_exported() -> None:
    """Every name in every query, and every metric is shown somewhere; queries are complete."""
    yaml = pytest.importorskip("yaml")
    dashboard = json.loads((EXAMPLES / "dashboard.json").read_text(encoding="utf-8"))
    alerts = yaml.safe_load((EXAMPLES / "alerts.yml").read_text(encoding="utf-8"))
    shown = [*list_expressions(dashboard), *list_expressions(alerts)]
    names = {name for query in shown for name in re.findall(r"edgeexit_\w+", query)}

    assert names <= list_exported_names()
    for metric in list_metrics():
        assert any(n.startswith(prometheus.format_name(metric)) for n in names), metric.name
    assert all(query.count(a) == query.count(b) for query in shown for a, b in ("()", "[]", "{}"))


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    """Panels with ids of their own that do not lie on each other, each with a query to the data source that is asked for."""
    dashboard = json.loads((EXAMPLES / "dashboard.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
        assert "${DS_PROMETHEUS}" == panel["datasource"]["uid"]
        assert {"A"} <= {target["refId"] for target in panel["targets"]}
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert len(ids) == len(set(ids))
    assert ["DS_PROMETHEUS"] == [found["name"] for found in dashboard["__inputs"]]
    assert dashboard["id"] is None, "else Grafana takes it for one that it has"


@pytest.mark.parametrize("name", ["Monitor", "prometheus.register", "prometheus.serve", "otel.export"])
def test_the_example_of_a_docstring_prints_what_it_says(
    name: str, watched: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a calibrated bundle."""
    if name != "Monitor":
        pytest.importorskip("prometheus_client" if "prometheus" in name else "opentelemetry")
    thing: Any = monitor_module
    for part in name.split("."):
        thing = getattr(thing, part)
    folder = watched.bundle.path
    folder.rename(folder.parent / "lenet.eexit")
    monkeypatch.chdir(folder.parent)
    assert not isinstance(thing, ModuleType)
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(thing) or "", {}, name, None, None)
    report: list[str] = []
    failed, tried = doctest.DocTestRunner().run(test, out=report.append)
    assert tried
    assert not failed, "".join(report)
