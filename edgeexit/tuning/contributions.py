"""What each choice of the best candidate brings: the same with one dimension back at its usual value, its thresholds searched anew.

Predicted from latencies that were timed and answers that were recorded, as the best candidate is; nothing is measured for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from edgeexit.criteria import criterion
from edgeexit.tuning.choice import Chooser, FoundPolicy
from edgeexit.tuning.space import USUAL_RULE, DecisionRule, EngineSetup, TuningCandidate
from edgeexit.tuning.store import SetupTiming

SETUP_DIMENSIONS = ("precision", "backend", "mode", "threads")


@dataclass(frozen=True)
class StepBack:
    """The best candidate with one dimension back at its usual value.

    Attributes:
        dimension: which. usual, chosen: its values, as text.
        candidate: the candidate that has the usual value.
    """

    dimension: str
    usual: str
    chosen: str
    candidate: TuningCandidate


def list_steps_back(best: TuningCandidate, reference: EngineSetup, early: int) -> Iterator[StepBack]:
    """Every dimension in which a candidate differs from the usual: one exit more for each exit that it dropped."""
    for name in SETUP_DIMENSIONS:
        usual, chosen = getattr(reference, name), getattr(best.setup, name)
        if usual != chosen:
            setup = replace(best.setup, **{name: usual})
            yield StepBack(name, str(usual), str(chosen), replace(best, setup=setup))
    for k in range(1, early + 1):
        if k not in best.kept:
            kept = tuple(sorted((*best.kept, k)))
            yield StepBack("exits", f"with exit {k}", f"without exit {k}", replace(best, kept=kept))
    if best.rule.criterion != USUAL_RULE.criterion:
        rule = DecisionRule(
            USUAL_RULE.criterion, scaled=best.rule.scaled and criterion(USUAL_RULE.criterion).takes_logits
        )
        yield StepBack("criterion", rule.criterion, best.rule.criterion, replace(best, rule=rule))
    if best.rule.scaled:
        yield StepBack("temperatures", "none", "fitted", replace(best, rule=DecisionRule(best.rule.criterion)))


@dataclass(frozen=True)
class ComparedStep:
    """A step back beside the best candidate.

    Attributes:
        step: which.
        found: the best thresholds of it; None where its setup was not timed.
        reason: why not, or that it was timed for a moment only; empty where nothing is to be said.
    """

    step: StepBack
    found: FoundPolicy | None
    reason: str = ""


def compare_steps(
    best: FoundPolicy, chooser: Chooser, timings: Mapping[EngineSetup, SetupTiming], reference: EngineSetup
) -> tuple[ComparedStep, ...]:
    """Each step back from the best candidate, on what was timed.

    Args:
        best: the best candidate of a run.
        chooser: as it searched.
        timings: all timings, also of setups that were left behind.
        reference: the usual values of a setup.
    """
    early = len(timings[best.candidate.setup].costs.cost_s) - 1
    longest = timings[best.candidate.setup].seconds
    return tuple(
        _compare(step, chooser, timings.get(step.candidate.setup), longest)
        for step in list_steps_back(best.candidate, reference, early)
    )


def _compare(step: StepBack, chooser: Chooser, timing: SetupTiming | None, longest: float) -> ComparedStep:
    if timing is None:
        return ComparedStep(step, None, f"{step.candidate.setup} was not timed")
    found = chooser.find(timing, step.candidate.rule, step.candidate.kept)
    return ComparedStep(step, found, "timed for a moment only" if timing.seconds < longest / 2 else "")
