"""edgeexit: early-exit networks on the device they will run on.

    bundle = edgeexit.compile("model.onnx", "lenet.eexit", criterion="entropy")    split, build, verify, time
    with edgeexit.load("lenet.eexit") as runner:                                   run, one input at a time
        prediction = runner(x)
    cal = edgeexit.calibrate(runner, inputs, labels, target="p99<=5ms, drop<=0.5") find the thresholds, on this device
    res = edgeexit.bench(runner, inputs, labels, preset="quick")                   measure
    edgeexit.export(module, example, "model.onnx")                                 from torch

The names below are loaded when first used, so that importing edgeexit costs a board nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeexit.bundle import Bundle as Bundle
    from edgeexit.calibration import Calibration as Calibration
    from edgeexit.calibration import calibrate as calibrate
    from edgeexit.compiler import compile_model as compile
    from edgeexit.exporter import cascade as cascade
    from edgeexit.exporter import export as export
    from edgeexit.exporter import mark_exit as mark_exit
    from edgeexit.measure import BenchResult as BenchResult
    from edgeexit.measure import bench as bench
    from edgeexit.runtime import Prediction as Prediction
    from edgeexit.runtime import Runner as Runner
    from edgeexit.runtime import load as load

__version__ = "0.1.0"

# ONNX Runtime 1.29 and newer start a telemetry thread when imported, which disturbs what is measured. Set it to 0 to keep it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "BenchResult": "edgeexit.measure",
    "Bundle": "edgeexit.bundle",
    "Calibration": "edgeexit.calibration",
    "Prediction": "edgeexit.runtime",
    "Runner": "edgeexit.runtime",
    "bench": "edgeexit.measure",
    "calibrate": "edgeexit.calibration",
    "cascade": "edgeexit.exporter",
    "compile": "edgeexit.compiler",
    "export": "edgeexit.exporter",
    "load": "edgeexit.runtime",
    "mark_exit": "edgeexit.exporter",
}
_RENAMED = {"compile": "compile_model"}

__all__ = [
    "BenchResult",
    "Bundle",
    "Calibration",
    "Prediction",
    "Runner",
    "bench",
    "calibrate",
    "cascade",
    "compile",
    "export",
    "load",
    "mark_exit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'edgeexit' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), _RENAMED.get(name, name))


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
