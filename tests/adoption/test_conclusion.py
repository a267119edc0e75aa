"""What exits bring is told only where it can be told from noise."""

from __future__ import annotations

import pytest

from edgeexit.adoption.flow import FoundPlaces, explain_no_exits
from edgeexit.adoption.measurement import conclude
from edgeexit.adoption.result import ExitsOnDevice
from edgeexit.evaluate import DeviceEvaluation


def make_evaluation(verdict: str, speedup: float, state: str = "met") -> DeviceEvaluation:
    """Early exit measured with this verdict, half a point below the network."""
    return DeviceEvaluation(
        target="drop<=0.5",
        target_met=state == "met",
        verdict=verdict,
        device="here",
        backend="onnxruntime",
        mode="fused",
        criterion="entropy",
        unit="nats",
        thresholds=(0.5,),
        accuracy=0.895,
        backbone_accuracy=0.9,
        drop_points=0.5,
        drop_room_points=0.2,
        exit_rates=(0.6, 0.4),
        predicted_mean_s=0.001,
        measured_mean_s=0.001,
        noise_floor=0.01,
        test_mean_s=0.001,
        test_p99_s=0.002,
        backbone_mean_s=0.001 * speedup,
        backbone_p99_s=0.002,
        speedup=speedup,
        samples=1000,
        notes=(),
        target_state=state,
        statements=(),
        advice=(),
    )


@pytest.mark.parametrize(
    ("verdict", "speedup", "state", "pays", "words"),
    [
        ("FASTER", 1.4, "met", True, "1.40 × as fast in the mean for 0.50 points fewer right answers"),
        ("FASTER", 1.4, "undecided", True, "these samples cannot tell"),
        ("FASTER", 1.4, "not met", False, "the target is not met"),
        ("SLOWER", 0.8, "met", False, "slower here: 0.800 ×"),
        ("SAME", 1.02, "met", False, "no gain can be told from noise"),
        ("AMBIGUOUS", 1.2, "met", False, "no gain can be told from noise"),
        ("INVALID", 1.2, "met", False, "no gain can be told from noise"),
    ],
)
def test_a_gain_is_told_only_where_the_comparison_shows_it(
    verdict: str, speedup: float, state: str, pays: bool, words: str
) -> None:
    """A ratio inside the noise is no gain, and a gain beyond the target is none that was asked for."""
    told, sentence = conclude(make_evaluation(verdict, speedup, state), 0.9)

    assert told is pays
    assert words in sentence
    record = ExitsOnDevice(
        evaluation=make_evaluation(verdict, speedup, state),
        plain_accuracy=0.9,
        ratio_low=None,
        ratio_high=None,
        pays=told,
        conclusion=sentence,
    )
    undecided = verdict in ("AMBIGUOUS", "INVALID")
    assert ("undecided" if undecided else "pays" if pays else "does not pay") == record.verdict


def test_a_drop_that_the_unseen_samples_break_beyond_doubt_does_not_pay() -> None:
    """Whatever the calibration made of it; a drop that could be chance is told as it is."""
    evaluation = make_evaluation("FASTER", 1.4)

    kept, words = conclude(evaluation, 0.8969)
    broken, sentence = conclude(evaluation, 0.9021)

    assert kept
    assert "1.40 × as fast in the mean for 0.19 points fewer right answers" in words
    assert not broken
    assert "more than drop<=0.5 allows" in sentence


def test_where_no_place_pays_the_network_is_left_as_it_is() -> None:
    """The search's own estimate says why."""
    assert "best used as it is" in explain_no_exits(FoundPlaces((), 0.002, 0.002))
