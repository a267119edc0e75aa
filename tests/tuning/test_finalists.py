"""Which candidates are measured at the end, and which of them is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeexit.tuning.confirm import MeasuredFinalist, pick_simplest
from edgeexit.tuning.finalists import count_departures, pick_by_hand
from edgeexit.tuning.space import DecisionRule, EngineSetup, TuningCandidate
from tests.tuning.made_up import make_chooser, make_timing

USUAL = EngineSetup("float32", "onnxruntime", "staged", 1)
ENTROPY, MAX_SOFTMAX = DecisionRule("entropy"), DecisionRule("max_softmax")
CANDIDATES = (
    TuningCandidate(replace(USUAL, backend="onnxruntime+mnn"), MAX_SOFTMAX, (1,)),
    TuningCandidate(USUAL, DecisionRule("running_mean"), (1,)),
    TuningCandidate(USUAL, MAX_SOFTMAX, (1,)),
    TuningCandidate(USUAL, ENTROPY, (1,)),
)


def measure(ratio: float, noise: float = 0.002, seed: int = 0) -> MeasuredFinalist:
    """A finalist whose rounds take about this many times as long as the reference's."""
    rounds = ratio * (1 + noise * np.random.default_rng(seed).standard_normal(40))
    return MeasuredFinalist(np.zeros(1, np.int64), np.zeros(1, np.int64), rounds, ratio)


def pick(*ratios: float, noise: float = 0.002) -> int:
    """Which of the candidates is taken, at these ratios."""
    measured = {k: measure(ratio, noise, k) for k, ratio in enumerate(ratios)}
    return pick_simplest(measured, CANDIDATES, USUAL)


def test_what_is_more_complicated_has_to_be_seen_to_gain() -> None:
    """A mix or a criterion with a state that is ahead by no more than what processes differ by gives way to the usual setup."""
    assert [2, 1, 0, 0] == [count_departures(one, USUAL) for one in CANDIDATES]
    assert 2 == pick(0.50, 0.50, 0.505, 0.53)
    assert 2 == pick(0.50, 0.50, 0.505, 0.51), "of equally simple ones the faster"
    assert 0 == pick(0.50, 0.53, 0.53, 0.53)
    assert 1 == pick(0.53, 0.50, 0.53, 0.53)


def test_what_is_taken_is_never_slower_than_another_beyond_noise() -> None:
    """Whatever the ratios: by what processes differ by, or the interval of the ratio, up to twice that."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        ratios, noise = 1 + 0.1 * rng.random(4), 0.1 * rng.random()
        measured = {k: measure(ratio, noise, k) for k, ratio in enumerate(ratios)}
        taken = measured[pick_simplest(measured, CANDIDATES, USUAL)]
        for other in measured.values():
            assert np.median(taken.rounds / other.rounds) <= 1.04 * 1.05, "a median of ratios is no ratio of medians"


def test_what_one_would_choose_by_hand_is_among_the_last_unless_it_takes_far_longer() -> None:
    """However fast the timing of another setup came out: every exit under entropy and max_softmax on the usual setup."""
    chooser, usual = make_chooser(0, "drop<=8", samples=40), make_timing(0, "float32")
    other = make_timing(0, "float32", "fused")
    by_hand = {TuningCandidate(usual.setup, rule, (1, 2)) for rule in (ENTROPY, MAX_SOFTMAX)}
    for factor, expected in ((0.9, by_hand), (0.5, set())):
        timings = (usual, other.scale(factor))
        found = [one for timing in timings for one in chooser.find_all(timing, (ENTROPY, MAX_SOFTMAX))]
        assert expected == {one.candidate for one in pick_by_hand(found, usual.setup)}
