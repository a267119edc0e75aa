"""Everything that a run of tuning has found, as the document that is kept and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeexit.calibration import Outcome, Target
from edgeexit.calibration.decision import NOT_MET
from edgeexit.criteria import criterion
from edgeexit.data import Dataset
from edgeexit.hardware import find_device_key
from edgeexit.tuning.answers import Judged, PreparedNetwork
from edgeexit.tuning.choice import FoundPolicy, make_absolute
from edgeexit.tuning.confirm import CalibratedFinalist, MeasuredFinalist
from edgeexit.tuning.contributions import ComparedStep
from edgeexit.tuning.result import Contribution, Finalist, NotTried, TriedCandidate, TunedSetup, TuningResult
from edgeexit.tuning.space import EngineSetup, LeftOut, TuningCandidate
from edgeexit.tuning.timing import Stopwatch
from edgeexit.util.timestamps import make_timestamp
from edgeexit.util.units import format_ratio, percent, points, seconds

INFEASIBLE, PREDICTED = "infeasible", "predicted"


@dataclass(frozen=True, eq=False, kw_only=True)
class Tuned:
    """What a run has found.

    Attributes:
        target: what was asked for.
        data: all samples. parts: number of samples that chose, and that only judged.
        seed: random seed. seconds: wall time in all.
        watch: the reference that everything was timed beside.
        network: the network compiled with all exits.
        validate: answers of the validation part.
        found: every candidate whose thresholds were searched, best first.
        independent: as how many independent candidates they count.
        steps: the best candidate with one dimension at its usual value.
        finalists: the last candidates, calibrated and measured; none where the best one is only predicted.
        chosen: place of the result among them.
        left_out: what was not tried, or not to the end.
        bundle: folder that the result was written to.
        predicted: the best candidate on the validation part, where it was not run.
        measured_at: see `TuningResult`.
    """

    target: Target
    data: Dataset
    parts: tuple[int, int]
    seed: int
    seconds: float
    watch: Stopwatch
    network: PreparedNetwork
    validate: Judged
    found: tuple[FoundPolicy, ...]
    independent: float
    steps: tuple[ComparedStep, ...]
    finalists: tuple[tuple[CalibratedFinalist, MeasuredFinalist | None], ...]
    chosen: int
    left_out: tuple[LeftOut, ...]
    bundle: Path
    predicted: Outcome | None = None
    measured_at: str = ""

    @property
    def exit_names(self) -> tuple[str, ...]:
        """Names of the exits, the last included."""
        return tuple(stage.name for stage in self.network.bundles[self.network.own].manifest.stages)

    def describe(self, candidate: TuningCandidate) -> TunedSetup:
        """A candidate as the document has it."""
        heat = self.validate.temperatures[candidate.setup.precision] if candidate.rule.scaled else ()
        kept = tuple(heat[k] for k in (*(k - 1 for k in candidate.kept), -1)) if heat else ()
        return replace(
            self._describe(candidate.final_setup or candidate.setup, candidate.rule.criterion, candidate.kept),
            temperatures=kept,
        )

    def describe_reference(self) -> TunedSetup:
        """The network without exits as the document has it."""
        return self._describe(self.watch.reference, "", ())

    def _describe(self, setup: EngineSetup, criterion_name: str, kept: Sequence[int]) -> TunedSetup:
        names = self.exit_names
        exits = (*(names[k - 1] for k in kept), names[-1])
        return TunedSetup(setup.precision, setup.backend, setup.mode, setup.threads, criterion_name, exits)


def make_result(tuned: Tuned) -> TuningResult:
    """The document of a run."""
    places = sorted(range(len(tuned.finalists)), key=lambda k: k != tuned.chosen)
    finalists = tuple(_make_finalist(tuned, k) for k in places) or (_make_predicted(tuned),)
    best = finalists[0]
    return TuningResult(
        created=make_timestamp(),
        target=str(tuned.target),
        absolute_target=str(make_absolute(tuned.target, tuned.watch.reference_s)),
        device=find_device_key(backend=best.setup.backend),
        data=tuned.data.name,
        choose=tuned.parts[0],
        validate=tuned.parts[1],
        seed=tuned.seed,
        seconds=round(tuned.seconds, 1),
        reference=tuned.describe_reference(),
        reference_s=tuned.watch.reference_s,
        tried=tuple(_make_tried(tuned)),
        finalists=finalists,
        contributions=tuple(_make_contribution(tuned.found[0], one) for one in tuned.steps),
        not_tried=tuple(NotTried(one.what, one.reason, one.timed) for one in tuned.left_out),
        state=best.state,
        pays=(best.ratio_high or best.predicted_ratio) < 1,
        conclusion=_conclude(tuned, best),
        bundle=str(tuned.bundle),
        spread=tuned.watch.spread,
        independent_candidates=round(tuned.independent, 2),
        measured_at=tuned.measured_at,
    )


def _make_tried(tuned: Tuned) -> Iterator[TriedCandidate]:
    front = _find_front(tuned.found)
    for place, one in enumerate(tuned.found):
        policy = one.policy
        yield TriedCandidate(
            setup=tuned.describe(one.candidate),
            meets=policy is not None,
            mean_s=None if policy is None else policy.mean_s,
            ratio=None if policy is None else policy.mean_s / tuned.watch.reference_s,
            accuracy=None if policy is None else policy.accuracy,
            agreement=None if policy is None else policy.agreement,
            on_front=place in front,
        )


def _find_front(found: Sequence[FoundPolicy]) -> set[int]:
    """Places of the candidates that none is both at least as fast and at least as good as, and better in one of the two."""
    known = [(one.policy.mean_s, -one.policy.quality, k) for k, one in enumerate(found) if one.policy is not None]
    front, best = set(), np.inf
    for _, loss, place in sorted(known):
        if loss < best:
            front.add(place)
            best = loss
    return front


def _make_finalist(tuned: Tuned, place: int) -> Finalist:
    ready, trial = tuned.finalists[place]
    policy, calibration = ready.found.policy, ready.calibration
    assert policy is not None, "only what meets the target becomes a finalist"
    labels = tuned.validate.labels
    rates = () if trial is None else np.bincount(trial.leaves, minlength=len(ready.found.candidate.kept) + 1)
    return Finalist(
        setup=tuned.describe(ready.found.candidate),
        thresholds=() if calibration is None else tuple(calibration.thresholds),
        state=INFEASIBLE if calibration is None else calibration.verdict.bounds,
        statements=(ready.reason,)
        if calibration is None
        else tuple(f"{what}: {sentence}" for what, sentence in calibration.verdict.lines()),
        predicted_ratio=policy.mean_s / tuned.watch.reference_s,
        ratio=None if trial is None else trial.ratio,
        ratio_low=None if trial is None else trial.ratio * max(0.0, 1 - trial.error),
        ratio_high=None if trial is None else trial.ratio * (1 + trial.error),
        mean_s=None if trial is None else trial.mean_s,
        accuracy=None if trial is None or labels is None else float(np.mean(trial.labels == labels)),
        agreement=None if trial is None else float(np.mean(trial.labels == tuned.validate.reference)),
        exit_rates=tuple(float(r) / tuned.parts[1] for r in rates),
        chosen=place == tuned.chosen,
    )


def _make_predicted(tuned: Tuned) -> Finalist:
    """The best candidate of what was measured before, as its answers on the validation part and its timing say."""
    one, outcome = tuned.found[0], tuned.predicted
    assert one.policy is not None
    assert outcome is not None
    rule = criterion(one.candidate.rule.criterion)
    return Finalist(
        setup=tuned.describe(one.candidate),
        thresholds=tuple(rule.own(t) for t in one.policy.thresholds),
        state=PREDICTED,
        statements=(
            "bounds: predicted: from recorded answers and times, nothing was run; edgeexit calibrate measures it",
        ),
        predicted_ratio=one.policy.mean_s / tuned.watch.reference_s,
        ratio=None,
        ratio_low=None,
        ratio_high=None,
        mean_s=None,
        accuracy=outcome.accuracy,
        agreement=outcome.agreement,
        exit_rates=outcome.exit_rates,
        chosen=True,
    )


def _make_contribution(best: FoundPolicy, one: ComparedStep) -> Contribution:
    other = None if one.found is None else one.found.policy
    shown = (one.step.dimension, one.step.usual, one.step.chosen)
    if other is None or best.policy is None:
        return Contribution(*shown, None, reason=one.reason or "meets the target with no thresholds")
    times, gained = other.mean_s / best.policy.mean_s, best.policy.quality - other.quality
    return Contribution(*shown, times, gained, one.reason)


def _conclude(tuned: Tuned, best: Finalist) -> str:
    ratio, mean_s = best.ratio, best.mean_s
    if ratio is None or mean_s is None:
        ratio, mean_s = best.predicted_ratio, best.predicted_ratio * tuned.watch.reference_s
    as_fast = f"{format_ratio(1 / ratio)} times as fast as the network without exits ({seconds(mean_s)} in the mean)"
    said = (f"predicted, not run: {as_fast}" if best.ratio is None else as_fast) + _name_faster(tuned)
    of = f"on {tuned.parts[1]:,} samples that chose nothing{_explain_doubt(best)}"
    truth, labels = tuned.validate.labels, tuned.validate.reference
    if truth is None or best.accuracy is None:
        assert best.agreement is not None
        return f"{said}, with {percent(best.agreement, 1)} of its answers, {of}"
    return f"{said}, accuracy {points(best.accuracy - float(np.mean(labels == truth)))} beside it, {of}"


def _explain_doubt(one: Finalist) -> str:
    """That the time cannot be told from that of the network without exits, where it is so."""
    if not one.is_undecided:
        return ""
    assert one.ratio_low is not None
    assert one.ratio_high is not None
    between = f"{format_ratio(one.ratio_low)} and {format_ratio(one.ratio_high)}"
    return f"; its time is between {between} times that of the network (95 %), too uncertain to tell: measure again on a quieter machine"


def _name_faster(tuned: Tuned) -> str:
    """That another one was measured as a little faster, where the simpler one was taken."""
    ratios = [
        trial.ratio
        for ready, trial in tuned.finalists
        if trial is not None and ready.calibration is not None and ready.calibration.verdict.bounds != NOT_MET
    ]
    taken = tuned.finalists[tuned.chosen][1] if tuned.finalists else None
    if taken is None or not tuned.target.minimises_mean or not ratios or min(ratios) >= taken.ratio:
        return ""
    return f" (a less simple candidate took {percent(1 - min(ratios) / taken.ratio, 1)} less, which noise can do)"
