"""The numbers behind the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from edgeexit.calibration import front, optimise
from edgeexit.calibration.pictures import build_front_picture, build_threshold_pictures, score_histograms
from tests.calibration.worlds import budget, world

TABLE = world(3, 800, 3)


def test_the_front_picture_has_the_chosen_point_on_or_above_the_baselines() -> None:
    """Within the same mean, nothing shown is more accurate than the optimum; every point lies in its own box."""
    policy = optimise(TABLE, f"mean<={budget(TABLE, 0.4)!r}s")
    picture = build_front_picture(TABLE, front(TABLE), policy)

    assert picture.baselines
    assert all(spot.quality <= picture.chosen.quality for spot in picture.baselines)
    for spot in (picture.chosen, *picture.baselines):
        assert spot.mean_box.low <= spot.mean_s <= spot.mean_box.high
        assert spot.quality_box.low <= spot.quality <= spot.quality_box.high


def test_the_threshold_picture_agrees_with_the_table() -> None:
    """Figure 4 of BranchyNet: rate and accuracy of one threshold, the other exits never leaving."""
    picture = build_threshold_pictures(TABLE, points=20)[0]
    for threshold, rate, quality in zip(picture.thresholds, picture.rate, picture.quality, strict=True):
        outcome = TABLE.evaluate([threshold, np.inf])

        assert pytest.approx(rate) == outcome.exit_rates[0]
        assert pytest.approx(quality) == outcome.quality


def test_the_histograms_hold_every_sample_once() -> None:
    """Right and wrong together are all samples, per exit."""
    for histogram in score_histograms(TABLE):
        assert len(TABLE) == histogram.right.sum() + histogram.wrong.sum()
