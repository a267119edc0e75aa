"""Amortized inference with cascades: Guan, Liu, Liu and Peng, IJCAI 2018.

Classifiers of growing size that share nothing, with a stopping policy after each but the last. The paper has five ResNets on CIFAR-10 and
-100 and on two sizes of ImageNet; here are the first three on CIFAR-10 with fewer epochs, and a small cascade on MNIST.
"""

from __future__ import annotations

from functools import partial

from benchmarks.papers.amortized.cascade import examine_cascade
from benchmarks.papers.amortized.estimators import examine_estimators
from benchmarks.papers.amortized.policies import (
    CIFAR10,
    MNIST,
    Setting,
    list_classifiers,
    list_variants,
    list_with_control,
)
from benchmarks.papers.amortized.thresholds import examine_thresholds
from benchmarks.papers.frame.parts import Paper, Part


def _list_parts(name: str, suffix: str, setting: Setting) -> tuple[Part, ...]:
    """The parts on one data set."""
    every, fixed = partial(list_variants, setting=setting), partial(list_classifiers, setting=setting)
    with_control = partial(list_with_control, setting=setting)
    thresholds = partial(examine_thresholds, setting=setting)
    return (
        Part(
            name,
            "table 2 and figures 2 to 4: error against operations, policies alone and jointly, the ensemble",
            partial(examine_cascade, setting=setting),
            with_control,
            seeds=(0, 1),
        ),
        Part(
            f"estimators{suffix}",
            "REINFORCE and its baselines against the exact expectation, classifiers fixed",
            partial(examine_estimators, setting=setting),
            fixed,
            seeds=(0, 1),
        ),
        Part(
            f"thresholds{suffix}",
            "a learned policy against confidence thresholds at equal operations",
            partial(thresholds, timed=False),
            every,
            seeds=(0, 1),
        ),
        Part(
            f"latency{suffix}",
            "a learned policy against confidence thresholds at equal measured time",
            partial(thresholds, timed=True),
            every,
            seeds=(0, 1),
            timed=True,
        ),
    )


PAPER = Paper(
    "Amortized inference with cascades (Guan et al. 2018)",
    (*_list_parts("cifar10", "", CIFAR10), *_list_parts("mnist", "-mnist", MNIST)),
)
