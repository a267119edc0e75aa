"""Which candidates are compiled, calibrated and measured at the end.

    close ones      what predicted times cannot tell from the best: compiled, and timed beside each other; the fastest two stay
    made by hand    what one would choose without tuning: always among the last, unless it is predicted to take far longer

So that noise in the timing of setups never puts a more complicated candidate in the place of the usual one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from edgeexit.criteria import criterion
from edgeexit.stage_choices import is_mixed
from edgeexit.tuning.choice import FAR, Chooser, FoundPolicy
from edgeexit.tuning.space import DecisionRule, EngineSetup, TuningCandidate
from edgeexit.tuning.store import SetupTiming

CLOSE, CONTENDERS = 0.1, 6
"""Candidates whose predicted mean is above the best by less than this, relative, may be faster than it; and how many are timed at most."""
_PLAIN_RULES = (DecisionRule("entropy"), DecisionRule("max_softmax"))
_INT8 = "int8"


def pick_by_hand(found: Sequence[FoundPolicy], reference: EngineSetup) -> tuple[FoundPolicy, ...]:
    """What one would choose by hand, of the candidates that meet the target: every exit, no temperatures, on the setup of the network as it
    is given under entropy and max_softmax, and in int8 under entropy; without those that are predicted to take far longer than the best.
    """
    able = [one for one in found if one.policy is not None]
    if not able:
        return ()
    choices, reach_s = list_by_hand(able, reference), (1 + FAR) * min(one.mean_s for one in able)
    return tuple(one for one in able if one.candidate in choices and one.mean_s <= reach_s)


def list_by_hand(found: Sequence[FoundPolicy], reference: EngineSetup) -> frozenset[TuningCandidate]:
    """The candidates that one would choose by hand, however fast they are and whether they meet the target or not."""
    every = max((one.candidate.kept for one in found), key=len)
    choices = [TuningCandidate(reference, rule, every) for rule in _PLAIN_RULES]
    return frozenset((*choices, TuningCandidate(replace(reference, precision=_INT8), _PLAIN_RULES[0], every)))


def count_departures(candidate: TuningCandidate, reference: EngineSetup) -> int:
    """In how many ways a candidate is more than the usual setup with a criterion of one exit's logits; dropped exits make it no more.

    Example:
        >>> usual = EngineSetup("float32", "onnxruntime", "staged", 1)
        >>> count_departures(TuningCandidate(usual, DecisionRule("margin"), (1, 2)), usual)
        0
        >>> mixed = EngineSetup("float32+int8", "onnxruntime", "staged", 1)
        >>> count_departures(TuningCandidate(mixed, DecisionRule("running_mean"), (1,)), usual)
        3
    """
    setup, rule = candidate.setup, criterion(candidate.rule.criterion)
    others = [getattr(setup, name) != getattr(reference, name) for name in ("precision", "backend", "mode", "threads")]
    mixed = [is_mixed(setup.precision), is_mixed(setup.backend)]
    return sum((*others, *mixed, candidate.rule.scaled, rule.changes_answers or rule.counts or rule.learned))


def pick_contenders(found: Sequence[FoundPolicy]) -> tuple[FoundPolicy, ...]:
    """The finalists, and what their predicted times cannot tell from the best: other rules and setups, the best of each.

    Setups are timed with one criterion, whose own work is a part of a small network's time (two policies on B-LeNet that differed in little
    but the criterion were 4 % apart in their whole mean), so that those which are close are to be timed with their own.
    """
    finalists = pick_finalists(found)
    if len(finalists) < 2:
        return finalists
    best = finalists[0]
    close = [one for one in found if _is_close(one, best)]
    rules = {one.candidate.rule: one for one in reversed(close) if one.candidate.setup == best.candidate.setup}
    setups = {one.candidate.setup: one for one in reversed(close)}
    others = sorted((*rules.values(), *setups.values()), key=lambda one: one.key, reverse=True)
    return tuple({one.candidate: one for one in (*finalists, *others)}.values())[:CONTENDERS]


def search_contenders(
    chooser: Chooser, every: Sequence[FoundPolicy], timings: Sequence[SetupTiming]
) -> tuple[FoundPolicy, ...]:
    """With room, the candidates that `pick_finalists` and `pick_contenders` pick from all of them, and few others; best first.

    Thresholds that keep a bound with room keep it without, so that the key without room bounds the key with room from above, as far as the
    search finds the best thresholds (proved for two and three exits). From the highest bound down, none can be picked after the first whose
    bound is below the second finalist and not close to the best.

    Args:
        chooser: searches with room.
        every: all candidates, found without room.
        timings: of their setups.
    """
    found: dict[TuningCandidate, FoundPolicy] = {}
    for one in sorted(every, key=lambda each: each.key, reverse=True):
        finalists = pick_finalists(tuple(found.values()))
        if len(finalists) > 1 and one.key < finalists[1].key and not _is_close(one, finalists[0]):
            break
        found[one.candidate] = chooser.find_again(one, timings)
    in_order = (
        found[one.candidate] for one in every if one.candidate in found
    )  # equal ones as a search of all finds them
    return tuple(sorted(in_order, key=lambda one: one.key, reverse=True))


def _is_close(one: FoundPolicy, best: FoundPolicy) -> bool:
    return one.mean_s <= (1 + CLOSE) * best.mean_s


def pick_finalists(found: Sequence[FoundPolicy]) -> tuple[FoundPolicy, ...]:
    """The best candidate, and the best of those that run otherwise or decide otherwise."""
    ranked = sorted((one for one in found if one.policy is not None), key=lambda one: one.key, reverse=True)
    if not ranked:
        return ()
    first = ranked[0].candidate
    others = (one for one in ranked[1:] if one.candidate.setup != first.setup or not _decides_alike(one, ranked[0]))
    return (ranked[0], *islice(others, 1))


def _decides_alike(one: FoundPolicy, other: FoundPolicy) -> bool:
    """Whether two policies do the same to the choose part, as entropy and its normalised form do."""
    assert one.policy is not None
    assert other.policy is not None
    return (one.policy.exit_rates, one.policy.quality) == (other.policy.exit_rates, other.policy.quality)
