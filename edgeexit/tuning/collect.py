"""Everything that a run of tuning has found, as the document that is kept and shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeexit.calibration import Target
from edgeexit.data import Dataset
from edgeexit.hardware import find_device_key
from edgeexit.tuning.answers import Judged, PreparedNetwork
from edgeexit.tuning.choice import FoundPolicy, make_absolute
from edgeexit.tuning.confirm import CalibratedFinalist, MeasuredFinalist
from edgeexit.tuning.result import Contribution, Finalist, NotTried, TriedCandidate, TunedSetup, TuningResult
from edgeexit.tuning.space import EngineSetup, LeftOut, TuningCandidate
from edgeexit.tuning.timing import Stopwatch
from edgeexit.util.timestamps import make_timestamp
from edgeexit.util.units import fixed, percent, points, seconds

INFEASIBLE = "infeasible"


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
        finalists: the last candidates, calibrated and measured.
        chosen: place of the result among them.
        left_out: what was not tried, or not to the end.
        bundle: folder that the result was written to.
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
    finalists: tuple[tuple[CalibratedFinalist, MeasuredFinalist | None], ...]
    chosen: int
    left_out: tuple[LeftOut, ...]
    bundle: Path

    @property
    def exit_names(self) -> tuple[str, ...]:
        """Names of the exits, the last included."""
        return tuple(stage.name for stage in self.network.bundles[self.network.own].manifest.stages)

    def describe(self, candidate: TuningCandidate) -> TunedSetup:
        """A candidate as the document has it."""
        return self._describe(candidate.setup, candidate.criterion, candidate.kept)

    def describe_reference(self) -> TunedSetup:
        """The network without exits as the document has it."""
        return self._describe(self.watch.reference, "", ())

    def _describe(self, setup: EngineSetup, criterion: str, kept: Sequence[int]) -> TunedSetup:
        names = self.exit_names
        exits = (*(names[k - 1] for k in kept), names[-1])
        return TunedSetup(setup.precision, setup.backend, setup.mode, setup.threads, criterion, exits)


def make_result(tuned: Tuned) -> TuningResult:
    """The document of a run."""
    places = sorted(range(len(tuned.finalists)), key=lambda k: k != tuned.chosen)
    finalists = tuple(_make_finalist(tuned, k) for k in places)
    best = finalists[0]
    assert best.ratio_high is not None, "what was chosen was measured"
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
        contributions=tuple(_find_contributions(tuned)),
        not_tried=tuple(NotTried(one.what, one.reason, one.timed) for one in tuned.left_out),
        state=best.state,
        pays=best.ratio_high < 1,
        conclusion=_conclude(tuned, best),
        bundle=str(tuned.bundle),
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
        ratio_low=None if trial is None else trial.ratio * (1 - trial.error),
        ratio_high=None if trial is None else trial.ratio * (1 + trial.error),
        mean_s=None if trial is None else trial.mean_s,
        accuracy=None if trial is None or labels is None else float(np.mean(trial.labels == labels)),
        agreement=None if trial is None else float(np.mean(trial.labels == tuned.validate.reference)),
        exit_rates=tuple(float(r) / tuned.parts[1] for r in rates),
        chosen=place == tuned.chosen,
    )


def _find_contributions(tuned: Tuned) -> Iterator[Contribution]:
    """For each dimension, the best candidate with its usual value beside the best of all, as predicted."""
    best = tuned.found[0]
    if best.policy is None:
        return
    every = tuple(range(1, tuned.network.exits))
    reference = tuned.watch.reference
    usual = {"criterion": "entropy", "exits": every} | {name: getattr(reference, name) for name in _SETUP}
    for dimension, value in usual.items():
        same = [one for one in tuned.found if _get(one.candidate, dimension) == value and one.policy is not None]
        least = min((one.policy.mean_s for one in same if one.policy is not None), default=None)
        yield Contribution(
            dimension,
            _show(value),
            _show(_get(best.candidate, dimension)),
            None if least is None else least / best.policy.mean_s,
        )


_SETUP = ("precision", "backend", "mode", "threads")


def _get(candidate: TuningCandidate, dimension: str) -> object:
    if dimension in _SETUP:
        return getattr(candidate.setup, dimension)
    return candidate.kept if dimension == "exits" else candidate.criterion


def _show(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _conclude(tuned: Tuned, best: Finalist) -> str:
    assert best.ratio is not None
    assert best.mean_s is not None
    times = (
        f"{fixed(1 / best.ratio, 2)} times as fast as the network without exits ({seconds(best.mean_s)} in the mean)"
    )
    truth, labels = tuned.validate.labels, tuned.validate.reference
    if truth is None or best.accuracy is None:
        assert best.agreement is not None
        return f"{times}, with {percent(best.agreement, 1)} of its answers, on {tuned.parts[1]:,} samples that chose nothing"
    drop = best.accuracy - float(np.mean(labels == truth))
    return f"{times}, accuracy {points(drop)} beside it, on {tuned.parts[1]:,} samples that chose nothing"
