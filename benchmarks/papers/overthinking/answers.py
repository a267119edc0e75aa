"""What the parts on overthinking share: the networks, their tables, and what one analysis says of every sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.papers.frame.parts import Request
from benchmarks.papers.frame.training import Run, Variant
from edgeexit.analysis import AnalysisNames, NetworkAnalysis, analyse_network
from edgeexit.calibration import ReplayTable, choose_policy
from edgeexit.calibration.headroom import find_oracle_leaves, find_overthinking
from edgeexit.report.analysis_figures import plot_analysis
from edgeexit.report.plot.figure import Picture
from edgeexit.training import TrainingRecipe, load_recipe
from edgeexit.training.metrics import RecordedExits

CRITERION = "max_softmax"
LOSS = "drop<=0.1"
"""What calibrated thresholds may lose, in points, on the samples that choose them."""
TINY = {"steps": [1, 1, 1], "scales": 1, "channels": 4, "growth": 4, "head": 16}
"""The network of the short version."""

REDUCED = (
    "Three exits of 1, 2 and 3 layers (20 M multiply-accumulates) trained for 5 epochs on CIFAR-10; the thesis has "
    "five exits (58 M) and 50 "
    "to 200 epochs on CIFAR-100 and SVHN."
)


def load_small_recipe(request: Request, name: str, *more: str) -> TrainingRecipe:
    """A recipe's preset `quick` and others; in the short version a tiny network on the digits that edgeexit ships."""
    found = load_recipe(name, preset=",".join(("quick", *more)))
    return replace(found.with_epochs(2), data="digits", options=TINY, precision="float32") if request.quick else found


def list_msdnet(request: Request) -> Mapping[str, Variant]:
    """The network on CIFAR-10."""
    return {"msdnet": Variant(load_small_recipe(request, "msdnet-cifar10"))}


def list_longer(request: Request) -> Mapping[str, Variant]:
    """The network on CIFAR-10, and from its weights as long again."""
    longer = Variant(load_small_recipe(request, "msdnet-cifar10", "longer"), earlier="msdnet")
    return {**list_msdnet(request), "longer": longer}


def list_collaborating(request: Request) -> Mapping[str, Variant]:
    """The network on CIFAR-10, and from its weights as long again with and without collaboration."""
    collaborating = Variant(load_small_recipe(request, "msdnet-cifar10", "isc", "longer"), earlier="longer")
    return {**list_longer(request), "collaborating": collaborating}


@dataclass(frozen=True)
class Answers:
    """What the network at the end of a phase says about the calibration and the test part."""

    run: Run
    phase: str | None = None

    @cached_property
    def macs(self) -> list[int]:
        """Multiply-accumulates of leaving at each exit, [N]."""
        return self.run.list_macs(self.phase)

    @cached_property
    def chosen(self) -> RecordedExits:
        """Of the calibration part, which thresholds are chosen on."""
        return self.run.record_exits("calibration", self.phase)

    @cached_property
    def used(self) -> RecordedExits:
        """Of the test part, which all figures are of."""
        return self.run.record_exits("test", self.phase)

    @cached_property
    def tables(self) -> tuple[ReplayTable, ReplayTable]:
        """Both as replay tables in multiply-accumulates."""
        return self.chosen.make_table(CRITERION, self.macs), self.used.make_table(CRITERION, self.macs)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each exit is right about each test sample, [n, N]."""
        correct = self.tables[1].correct
        assert correct is not None
        return correct

    @property
    def overthinking(self) -> NDArray[np.bool_]:
        """Whether each test sample overthinks, [n]."""
        return find_overthinking(self.right)

    def analyse(self, name: str) -> NetworkAnalysis:
        """The whole analysis on the test part, at the thresholds that calibration would choose for multiply-accumulates."""
        names = AnalysisNames(name, "the calibration part", "the test part")
        answers = self.used.logits.argmax(-1)
        return analyse_calibrated(*self.tables, names, labels=self.used.labels, answers=answers)


def analyse_calibrated(chosen: ReplayTable, used: ReplayTable, names: AnalysisNames, **more: Any) -> NetworkAnalysis:
    """The analysis with thresholds of the guarded choice of `calibrate`: the cheapest that lose at most 0.1 points "
    "where they are chosen.
    """
    policy, _ = choose_policy(chosen, LOSS)
    return analyse_network(chosen, used, thresholds=policy.thresholds, policy="calibrated", names=names, **more)


def list_samples(used: ReplayTable, thresholds: Sequence[float]) -> dict[str, NDArray[Any]]:
    """What an analysis says of every test sample: right answers under each rule, costs as shares of the last exit's, overthinking."""
    assert used.correct is not None
    rows, shares = np.arange(len(used)), used.mean_cost / used.mean_cost[-1]
    leaves, perfect = used.leaves_at(thresholds), find_oracle_leaves(used)
    return {
        **{f"exit {k + 1}": used.correct[:, k] for k in range(used.exits)},
        "last exit": used.correct[:, -1],
        "thresholds": used.correct[rows, leaves],
        "thresholds: cost": shares[leaves],
        "perfect rule": used.correct.any(axis=1),
        "perfect rule: cost": shares[perfect],
        "overthinking": find_overthinking(used.correct),
        "overthinking at the last exit": used.correct.any(axis=1) & ~used.correct[:, -1],
    }


def name_pictures(analysis: NetworkAnalysis, name: str) -> list[Picture]:
    """The pictures of an analysis under names of their own."""
    return [
        replace(picture, name=f"overthinking-{name}-{picture.name.removeprefix('analysis-')}")
        for picture in plot_analysis(analysis)
    ]
