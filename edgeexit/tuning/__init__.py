"""The whole policy chosen by measurement: precision, backend, mode, threads, exits, criterion, thresholds.

tune(model, output, inputs, labels, target="drop<=0.5") -> TuningResult
TuningSpace(precisions=("float32", "int8"))                      what is tried
"""

from edgeexit.tuning.flow import tune
from edgeexit.tuning.result import TuningResult
from edgeexit.tuning.space import TuningSpace

__all__ = ["TuningResult", "TuningSpace", "tune"]
