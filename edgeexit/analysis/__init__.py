"""What a network with exits could do and where it goes wrong, computed from its replay table; NumPy only, no device needed.

    analyse_bundle(runner, data)                 all of this for a compiled network: what `edgeexit analyse` prints
    analyse_network(chosen_on, used_on)          the same from two tables
    compute_anytime_curve(table)                 accuracy of each exit against its cost
    compute_budgeted_curve(chosen_on, used_on)   accuracy against mean cost by the usual algorithm (MSDNet's), 40 points
    compute_searched_curve(chosen_on, used_on)   the same by edgeexit's own search
    compute_oracle(table)                        the best that any way of leaving could do
    compute_overthinking(table)                  samples that an earlier exit has right and a later one wrong
    compute_assigned_accuracy(table, leaves)     accuracy of each exit on the samples that leave at each
    choose_exit_labels(logits, labels, ...)      the exit that each sample should leave at, to train a network that predicts it
    compare_confidence(table, 1, 2)              whether two exits are sure about the same samples
    compare_criteria(runner, inputs, labels)     all exit criteria at equal cost, with paired intervals; compare_criteria_on(logits, ...)
    make_sample_columns(table)                   a table as plain columns, for pandas and polars
    compute_frequency_share(images)              how many frequencies an image needs

A table comes from `edgeexit.replay_table` or `ReplayTable.from_arrays`. Costs are those of the table: seconds where they were measured,
else multiply-accumulates; every result names its `unit`, "s" or "MAC", and `table.without_seconds()` asks for the second.
"""

from __future__ import annotations

from edgeexit.analysis.assignment import AssignedAccuracy, choose_exit_labels, compute_assigned_accuracy
from edgeexit.analysis.bundles import analyse_bundle
from edgeexit.analysis.confidence import ConfidenceRanks, compare_confidence
from edgeexit.analysis.criteria_comparison import (
    CriteriaComparison,
    CriterionPoint,
    compare_criteria,
    compare_criteria_on,
    make_sample_columns,
)
from edgeexit.analysis.curves import (
    AccuracyCurve,
    compute_anytime_curve,
    compute_budgeted_curve,
    compute_searched_curve,
)
from edgeexit.analysis.frequencies import compute_frequency_share
from edgeexit.analysis.network import AnalysisNames, NetworkAnalysis, analyse_network
from edgeexit.analysis.oracle import OracleBound, compute_oracle
from edgeexit.analysis.overthinking import Overthinking, compute_overthinking

__all__ = [
    "AccuracyCurve",
    "AnalysisNames",
    "AssignedAccuracy",
    "ConfidenceRanks",
    "CriteriaComparison",
    "CriterionPoint",
    "NetworkAnalysis",
    "OracleBound",
    "Overthinking",
    "analyse_bundle",
    "analyse_network",
    "choose_exit_labels",
    "compare_confidence",
    "compare_criteria",
    "compare_criteria_on",
    "compute_anytime_curve",
    "compute_assigned_accuracy",
    "compute_budgeted_curve",
    "compute_frequency_share",
    "compute_oracle",
    "compute_overthinking",
    "compute_searched_curve",
    "make_sample_columns",
]
