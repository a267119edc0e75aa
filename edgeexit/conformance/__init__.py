"""Prove a backend: the same checks for every backend there is, on the machine that will run it.

    networks ──► compile with ONNX Runtime ──► open with the backend under test ──► checks ──► table, JSON
       small ones that are hard to cut right, the shipped one, and two of the papers' size

    report = run_conformance("openvino")
    report.passed, report.to_json()

A backend adds checks of its own by `Backend.self_checks` (memory sharing, graph capture, ways to decide).
"""

from edgeexit.conformance.report import ConformanceReport, NetworkChecks
from edgeexit.conformance.suite import NETWORKS, run_conformance

__all__ = ["NETWORKS", "ConformanceReport", "NetworkChecks", "run_conformance"]
