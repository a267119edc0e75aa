"""Separately trained classifiers, as ONNX files of any tool, as one multi-exit network with learned stopping. No torch is needed.

    make_cascade(["small.onnx", "large.onnx"], "samples.npz", "cascade.onnx")

classifiers (read, compared) ─► joining (one graph) ─► recorded answers ─► policies (fitted in NumPy) ─► joining (their nodes) ─► file

Guan, Liu, Liu and Peng, "Energy-efficient amortized inference with cascaded deep classifiers" (IJCAI 2018): the version in which the
classifiers stay as they are, "Ours (S)" of section 5.
"""

from __future__ import annotations

from edgeexit.cascades.flow import CascadePlan, make_cascade
from edgeexit.cascades.policies import PolicyNetwork, PolicySettings, fit_policies
from edgeexit.cascades.result import CascadeResult, ClassifierFacts

__all__ = [
    "CascadePlan",
    "CascadeResult",
    "ClassifierFacts",
    "PolicyNetwork",
    "PolicySettings",
    "fit_policies",
    "make_cascade",
]
