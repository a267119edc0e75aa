"""Overthinking in Multi-Scale Dense networks: Voorhout, "Overthinking in MSDNet" (TU Delft, 2022).

Its networks have five exits and were trained for 50 to 200 epochs on CIFAR-100 and SVHN; what is smaller here stands in every record. Its
percentage of overthinking is read as "right at some exit, wrong at a later one" (equation 3.11); see `edgeexit.analysis`.
"""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.papers.frame.parts import Paper, Part, Request
from benchmarks.papers.frame.training import Variant
from benchmarks.papers.overthinking.answers import list_collaborating, list_longer, list_msdnet
from benchmarks.papers.overthinking.networks import (
    examine_agreement,
    examine_collaboration,
    examine_curves,
    examine_deployed,
    examine_trained,
)
from benchmarks.papers.overthinking.policy import (
    examine_cifar10,
    examine_frequencies,
    examine_maxmin,
    list_maxmin,
)
from benchmarks.papers.overthinking.policy_deployed import examine_policy_deployed, list_deployed
from benchmarks.papers.overthinking.tables import (
    show_agreement,
    show_collaboration,
    show_curves,
    show_deployed,
    show_frequencies,
    show_policy,
    show_policy_deployed,
    show_trained,
)


def list_both(request: Request) -> Mapping[str, Variant]:
    """The networks on Max-Min MNIST and on CIFAR-10."""
    return {**list_maxmin(request), **list_msdnet(request)}


PAPER = Paper(
    "Overthinking in MSDNet (Voorhout 2022)",
    (
        Part(
            "cifar10", "anytime, budgeted batch, both bounds, figure 3.7", examine_curves, list_msdnet, show=show_curves
        ),
        Part(
            "collaboration",
            "n, 2n, n + n epochs with ISC and OFA, table 3.1 and figure 3.10",
            examine_collaboration,
            list_collaborating,
            seeds=(0, 1),
            show=show_collaboration,
        ),
        Part(
            "deployed",
            "compiled and calibrated here: tax, gain, the bounds in seconds",
            examine_deployed,
            list_longer,
            show=show_deployed,
            timed=True,
        ),
        Part("trained", "the trained networks of this repository", examine_trained, show=show_trained),
        Part(
            "maxmin", "a policy network on Max-Min MNIST, section 4.2.2", examine_maxmin, list_maxmin, show=show_policy
        ),
        Part(
            "policy-cifar10",
            "first exit or last, on CIFAR-10, section 4.2.3",
            examine_cifar10,
            list_msdnet,
            show=show_policy,
        ),
        Part(
            "policy-deployed",
            "policies in front of both networks, against calibrated thresholds",
            examine_policy_deployed,
            list_deployed,
            show=show_policy_deployed,
            timed=True,
        ),
        Part(
            "agreement",
            "do two trainings agree about the exit, beyond chance?",
            examine_agreement,
            list_msdnet,
            seeds=(0, 1),
            show=show_agreement,
        ),
        Part(
            "frequencies",
            "how many frequencies images need, appendix A",
            examine_frequencies,
            list_both,
            show=show_frequencies,
        ),
    ),
)
