"""edgeexit: early-exit networks on the device they will run on.

    bundle = edgeexit.compile("model.onnx", "lenet.eexit", criterion="entropy")    split, build, verify, time
    with edgeexit.load("lenet.eexit") as runner:                                   run, one input at a time
        prediction = runner(x)
    cal = edgeexit.calibrate(runner, inputs, labels, target="p99<=5ms, drop<=0.5") find the thresholds, on this device
    res = edgeexit.bench(runner, inputs, labels, preset="quick")                   measure
    edgeexit.export(module, example, "model.onnx")                                 from torch
    net = edgeexit.add_exits(module, example)                                      exits for a classifier that has none

    edgeexit.analysis                                                              what a network could do, and where it goes wrong
    edgeexit.monitor                                                               exit rates, latencies and drift in production

The names below are loaded when first used, so that importing edgeexit costs a board nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeexit.util.deprecation import register_moved

if TYPE_CHECKING:
    from edgeexit import analysis as analysis
    from edgeexit import monitor as monitor
    from edgeexit.analysis.criteria_comparison import compare_criteria as compare_criteria
    from edgeexit.bundle import Bundle as Bundle
    from edgeexit.calibration import Calibration as Calibration
    from edgeexit.calibration import Controller as Controller
    from edgeexit.calibration import DriftAlarm as DriftAlarm
    from edgeexit.calibration import ReplayTable as ReplayTable
    from edgeexit.calibration import calibrate as calibrate
    from edgeexit.calibration import control as control
    from edgeexit.calibration import drift_alarm as drift_alarm
    from edgeexit.calibration import export_calibration as export_calibration
    from edgeexit.calibration import import_calibration as import_calibration
    from edgeexit.calibration import list_calibrations as list_calibrations
    from edgeexit.calibration import load_calibration as load_calibration
    from edgeexit.calibration import optimise as optimise
    from edgeexit.calibration import replay_table as replay_table
    from edgeexit.calibration import retune as retune
    from edgeexit.calibration import samples_needed as samples_needed
    from edgeexit.calibration.solver.pareto_front import front as front
    from edgeexit.compiler.compilation import compile_model as compile
    from edgeexit.errors import BundleError as BundleError
    from edgeexit.errors import EdgeExitError as EdgeExitError
    from edgeexit.errors import HardwareMissing as HardwareMissing
    from edgeexit.errors import InputError as InputError
    from edgeexit.errors import InternalError as InternalError
    from edgeexit.errors import MissingExtra as MissingExtra
    from edgeexit.errors import ModelError as ModelError
    from edgeexit.errors import TargetNotMet as TargetNotMet
    from edgeexit.exporter import cascade as cascade
    from edgeexit.exporter import export as export
    from edgeexit.exporter import mark_exit as mark_exit
    from edgeexit.measure import BenchResult as BenchResult
    from edgeexit.measure import bench as bench
    from edgeexit.nets.attach import ExitPlace as ExitPlace
    from edgeexit.nets.attach import add_exits as add_exits
    from edgeexit.nets.attach import list_exit_places as list_exit_places
    from edgeexit.report import write_report as write_report
    from edgeexit.runtime import CalibrationWarning as CalibrationWarning
    from edgeexit.runtime import ManyPredictions as ManyPredictions
    from edgeexit.runtime import Prediction as Prediction
    from edgeexit.runtime import Runner as Runner
    from edgeexit.runtime import load as load
    from edgeexit.runtime.remote.limits import RemoteLimits as RemoteLimits
    from edgeexit.runtime.remote.payload import RemotePayload as RemotePayload
    from edgeexit.tuning import TuningResult as TuningResult
    from edgeexit.tuning import TuningSpace as TuningSpace
    from edgeexit.tuning import tune as tune

__version__ = "0.1.0"

# ONNX Runtime 1.29 and newer start a telemetry thread when imported, which disturbs what is measured. Set it to 0 to keep it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "BenchResult": "edgeexit.measure",
    "Bundle": "edgeexit.bundle",
    "BundleError": "edgeexit.errors",
    "Calibration": "edgeexit.calibration",
    "CalibrationWarning": "edgeexit.runtime",
    "Controller": "edgeexit.calibration",
    "DriftAlarm": "edgeexit.calibration",
    "EdgeExitError": "edgeexit.errors",
    "ExitPlace": "edgeexit.nets.attach",
    "HardwareMissing": "edgeexit.errors",
    "InputError": "edgeexit.errors",
    "InternalError": "edgeexit.errors",
    "ManyPredictions": "edgeexit.runtime",
    "MissingExtra": "edgeexit.errors",
    "ModelError": "edgeexit.errors",
    "Prediction": "edgeexit.runtime",
    "RemoteLimits": "edgeexit.runtime.remote.limits",
    "RemotePayload": "edgeexit.runtime.remote.payload",
    "ReplayTable": "edgeexit.calibration",
    "Runner": "edgeexit.runtime",
    "TargetNotMet": "edgeexit.errors",
    "TuningResult": "edgeexit.tuning",
    "TuningSpace": "edgeexit.tuning",
    "add_exits": "edgeexit.nets.attach",
    "bench": "edgeexit.measure",
    "calibrate": "edgeexit.calibration",
    "cascade": "edgeexit.exporter",
    "compare_criteria": "edgeexit.analysis.criteria_comparison",
    "compile": "edgeexit.compiler.compilation",
    "control": "edgeexit.calibration",
    "drift_alarm": "edgeexit.calibration",
    "export": "edgeexit.exporter",
    "export_calibration": "edgeexit.calibration",
    "front": "edgeexit.calibration",
    "import_calibration": "edgeexit.calibration",
    "list_calibrations": "edgeexit.calibration",
    "list_exit_places": "edgeexit.nets.attach",
    "load": "edgeexit.runtime",
    "load_calibration": "edgeexit.calibration",
    "mark_exit": "edgeexit.exporter",
    "optimise": "edgeexit.calibration",
    "replay_table": "edgeexit.calibration",
    "retune": "edgeexit.calibration",
    "samples_needed": "edgeexit.calibration",
    "tune": "edgeexit.tuning",
    "write_report": "edgeexit.report",
}
_RENAMED = {"compile": "compile_model"}
_MODULES = ("analysis", "monitor")

__all__ = [
    "BenchResult",
    "Bundle",
    "BundleError",
    "Calibration",
    "CalibrationWarning",
    "Controller",
    "DriftAlarm",
    "EdgeExitError",
    "ExitPlace",
    "HardwareMissing",
    "InputError",
    "InternalError",
    "MissingExtra",
    "ModelError",
    "Prediction",
    "RemoteLimits",
    "RemotePayload",
    "ReplayTable",
    "Runner",
    "TargetNotMet",
    "TuningResult",
    "TuningSpace",
    "add_exits",
    "bench",
    "calibrate",
    "cascade",
    "compare_criteria",
    "compile",
    "control",
    "drift_alarm",
    "export",
    "export_calibration",
    "front",
    "import_calibration",
    "list_calibrations",
    "list_exit_places",
    "load",
    "load_calibration",
    "mark_exit",
    "optimise",
    "replay_table",
    "retune",
    "samples_needed",
    "tune",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"edgeexit.{name}")
    if name not in _HOMES:
        msg = f"module 'edgeexit' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), _RENAMED.get(name, name))


def _call_on_first_use(name: str) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return __getattr__(name)(*args, **options)

    return call


register_moved("Runner.control", _call_on_first_use("control"))
register_moved("Runner.drift_alarm", _call_on_first_use("drift_alarm"))


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
