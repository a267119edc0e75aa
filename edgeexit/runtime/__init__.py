"""Run a bundle: one input at a time, to a chosen exit, in time, or many at once.

with edgeexit.load("lenet.eexit") as runner:
    label, exit, score, logits, late = runner(x)
"""

from edgeexit.backends import Settings
from edgeexit.runtime.inputs import check_input, model_info
from edgeexit.runtime.loading import CalibrationWarning, load, load_quietly
from edgeexit.runtime.many import ManyPredictions
from edgeexit.runtime.opened import Backbone
from edgeexit.runtime.prediction import Prediction
from edgeexit.runtime.runner import Runner

__all__ = [
    "Backbone",
    "CalibrationWarning",
    "ManyPredictions",
    "Prediction",
    "Runner",
    "Settings",
    "check_input",
    "load",
    "load_quietly",
    "model_info",
]
