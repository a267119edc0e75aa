"""Thresholds that meet a target on the device they will run on, and the proof that they do.

    calibrate(runner, inputs, labels, target="p99<=5ms, drop<=0.5")     the whole of it -> Calibration, kept in the bundle
    retune(runner, "mean<=0.5x")                                        another target, without a new measurement
    list_calibrations(bundle), load_calibration(bundle, name)           what the bundle keeps; export_ and import_calibration carry it

As a library on recorded tables, no device needed:

    table = ReplayTable.from_arrays(scores, correct, cost_s)            who is how sure, who is right, what leaving costs
    table = replay_table(logits, labels, "entropy", cost_s=cost_s)      the same from the logits of every exit
    optimise(table, "mean<=5ms") -> Policy                              the best thresholds, and how far from the best they can be
    optimise_parts(tables, target)                                      the same where the samples do not fit in memory
    front(table) -> Front                                               all targets at once; budgets; the path of control
    choose(table, target)                                               guarded against overfitting where samples are few
    certify(choose, test, target, confidence=0.95)                      proved on data that chose nothing
    baseline("exit_distribution", table, target)                        how others choose
    control(runner, "mean<=2ms")                                        holds a mean or a tail under drift
    drift_alarm(runner), DriftAlarm(seen)                               says when the data is no longer what calibration saw
"""

from __future__ import annotations

from edgeexit.calibration.certify import Certificate, certify, samples_needed
from edgeexit.calibration.from_logits import replay_table
from edgeexit.calibration.kept import control, drift_alarm, retune
from edgeexit.calibration.online.controller import ControlLaw, Controller, FrontPosition
from edgeexit.calibration.online.drift import CellCounts, DriftAlarm
from edgeexit.calibration.outcome import Outcome
from edgeexit.calibration.procedure import calibrate
from edgeexit.calibration.replay import ReplayTable
from edgeexit.calibration.result import Calibration, parse_calibration
from edgeexit.calibration.solver.baselines import BASELINES, choose_baseline_policy
from edgeexit.calibration.solver.cross_validation import PolicyChoice, choose_policy
from edgeexit.calibration.solver.optimum import optimise
from edgeexit.calibration.solver.pareto_front import Front, front
from edgeexit.calibration.solver.search import NORMAL, QUICK, THOROUGH, Effort, Policy
from edgeexit.calibration.solver.streamed import evaluate_parts, join_tables, optimise_parts
from edgeexit.calibration.stored import export_calibration, import_calibration, list_calibrations, load_calibration
from edgeexit.calibration.targets import Bound, Target, parse_target
from edgeexit.calibration.verdicts import Remark, find_remarks

__all__ = [
    "BASELINES",
    "NORMAL",
    "QUICK",
    "THOROUGH",
    "Bound",
    "Calibration",
    "CellCounts",
    "Certificate",
    "ControlLaw",
    "Controller",
    "DriftAlarm",
    "Effort",
    "Front",
    "FrontPosition",
    "Outcome",
    "Policy",
    "PolicyChoice",
    "Remark",
    "ReplayTable",
    "Target",
    "calibrate",
    "certify",
    "choose_baseline_policy",
    "choose_policy",
    "control",
    "drift_alarm",
    "evaluate_parts",
    "export_calibration",
    "find_remarks",
    "front",
    "import_calibration",
    "join_tables",
    "list_calibrations",
    "load_calibration",
    "optimise",
    "optimise_parts",
    "parse_calibration",
    "parse_target",
    "replay_table",
    "retune",
    "samples_needed",
]
