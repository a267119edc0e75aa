"""Many inputs in one loop, and predictions without a copy: the same answers, with less done for each."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeexit.errors import InputError
from edgeexit.runtime import Runner
from tests.networks import images


def test_run_many_gives_what_one_by_one_gives_as_arrays(runner: Runner) -> None:
    """To the last bit, whatever the runner does with logits; every sample took some time."""
    xs = images(40)
    single = [runner(x[None]) for x in xs]
    runner.reuse_logits = True

    many = runner.run_many(xs)

    assert 40 == len(many)
    assert {1, 2, 3} == set(many.exits), "the thresholds of the fixture must exercise every exit"
    for name, values in zip(
        ("label", "exit", "score", "logits"), (many.labels, many.exits, many.scores, many.logits), strict=True
    ):
        np.testing.assert_array_equal([getattr(p, name) for p in single], values)
    assert (many.latency_s > 0).all()


def test_run_many_names_the_first_sample_that_gives_nan(runner: Runner) -> None:
    """Numbers that overflow inside the network; the others' answers are not given either."""
    xs = images(3)
    xs[1:] = np.finfo(np.float32).max
    runner.thresholds = [-math.inf, -math.inf]

    with pytest.raises(InputError, match="the network gave NaN at exit 3 for sample 1"):
        runner.run_many(xs)


def test_reused_logits_are_a_read_only_view_that_the_next_call_overwrites(runner: Runner) -> None:
    """Asked for, no copy is made; a clone does the same, in memory of its own."""
    runner.reuse_logits = True
    first, theirs = runner.forced(images(1, seed=1), exit=3), runner.clone().forced(images(1, seed=1), exit=3)
    kept = first.logits.copy()

    again = runner.forced(images(1, seed=2), exit=3)

    np.testing.assert_array_equal(again.logits, first.logits)
    np.testing.assert_array_equal(kept, theirs.logits)
    assert not (kept == first.logits).all()
    assert not first.logits.flags.writeable
    with pytest.raises(InputError, match="reuse_logits must be True or False"):
        runner.reuse_logits = "yes"  # type: ignore[assignment]
