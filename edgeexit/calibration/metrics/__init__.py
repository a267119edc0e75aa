"""All metrics of targets, in one table: a new percentile, cost or share is one row of METRICS.

A metric knows how it is written (units, direction), which sum over samples it bounds (`build_sum`), how it is proved
(`compute_p_values`), what it is worth for a policy (`get_value`) and how far from the truth that may be (`compute_half_width`). The search,
the proof, the verdict and the tables ask the metric of a bound and never look at its name.

    MeanLatency, MeanCost     a mean over inferences of what an exit costs
    LatencyTail               P(latency > limit) <= a share, which is what a percentile bounds
    ExitRate                  the share that leaves at an exit
    OffloadedShare            the share that goes up to another machine
    AnswerShare               the share of answers that are right, or equal to the backbone's
    AccuracyDrop              what is lost of the backbone's accuracy
"""

from __future__ import annotations

from edgeexit.calibration.metrics.answers import NEEDS_LABELS, AccuracyDrop, AnswerShare
from edgeexit.calibration.metrics.base import UNPROVABLE, Metric
from edgeexit.calibration.metrics.costs import ExitRate, LatencyTail, MeanCost, MeanLatency, OffloadedShare
from edgeexit.calibration.uncertainty import ENERGY_FLOOR, FLOOR
from edgeexit.util import units

__all__ = ["METRICS", "UNPROVABLE", "Metric", "make_percentile"]

_TIME = {"s": 0, "ms": -3, "us": -6, "ns": -9}
_ENERGY = {"J": 0, "mJ": -3, "uJ": -6}
_COUNT = {"": 0, "k": 3, "M": 6, "G": 9}
_PLAIN = {"": 0}
_SHARE = {"": 0, "%": -2}

_ENERGY_UNKNOWN = "energy cannot be bounded: it was not measured on this device. Bound mean<= or macs<= instead."
_MACS_UNKNOWN = (
    "macs cannot be bounded: the multiply-accumulates of this network are not known (edgeexit inspect shows n/a where an operator or a "
    "shape cannot be counted). Bound mean<= instead, or compile from the model as it was exported, before a runtime optimised it."
)
_NEEDS_AGREEMENT = "the table does not say where exits agree with the backbone; give agreement= to bound it."


def make_percentile(name: str, tail: float) -> LatencyTail:
    """The metric of a percentile of the latency that a share `tail` of inferences may exceed."""
    return LatencyTail(name, f"{name} of latency", _TIME, tail)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        MeanLatency("mean", "mean latency", _TIME, floor=FLOOR, shown=units.seconds),
        make_percentile("p50", 0.5),
        make_percentile("p90", 0.1),
        make_percentile("p95", 0.05),
        make_percentile("p99", 0.01),
        make_percentile("p99.9", 0.001),
        MeanCost(
            "energy",
            "mean energy",
            _ENERGY,
            metered=True,
            per_exit=lambda table: table.energy_j,
            unknown=_ENERGY_UNKNOWN,
            floor=ENERGY_FLOOR,
            shown=units.joules,
        ),
        MeanCost("macs", "mean multiply-accumulates", _COUNT, per_exit=lambda table: table.macs, unknown=_MACS_UNKNOWN),
        AnswerShare("accuracy", "accuracy", _PLAIN, unknown=NEEDS_LABELS),
        AccuracyDrop("drop", "drop in percentage points", _PLAIN),
        AnswerShare(
            "agreement",
            "agreement with the backbone",
            _PLAIN,
            flags=lambda table: table.agreement,
            unknown=_NEEDS_AGREEMENT,
            backbone_has_it=True,
        ),
        ExitRate("rate", "share leaving at an exit", _PLAIN),
        OffloadedShare("offload", "share that goes up to another machine", _SHARE),
    )
}
"""Every metric by name. A new one is a row here and nothing else."""
