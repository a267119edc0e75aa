"""Ctrl-C in the middle of a call costs that call and nothing else."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import edgeexit
from edgeexit.backends.host import HostFused, HostStaged
from edgeexit.runtime import Runner, Settings
from edgeexit.runtime.loading import open_runner
from tests.networks import images


def interrupted(runner: Runner, line: int) -> bool:
    """Force exit 1 and raise where the program's `run` is about to do its n-th line; False where it has fewer lines."""
    codes = [HostFused.run.__code__, HostStaged.run.__code__]
    seen = 0

    def trace(frame: FrameType, _event: str, _arg: Any) -> Any:
        return inside if frame.f_code in codes else None

    def inside(_frame: FrameType, event: str, _arg: Any) -> Any:
        nonlocal seen
        seen += event == "line"
        if seen == line:
            raise KeyboardInterrupt
        return inside

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        runner.forced(images(1), exit=1)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_an_interrupted_call_leaves_the_thresholds_as_they_are(compiled: Path, mode: str) -> None:
    """Wherever it comes; the fused mode once kept some of the interrupted call's, and left at exit 1 for ever."""
    with open_runner(edgeexit.Bundle.open(compiled), Settings(mode=mode)) as runner:
        runner.thresholds = [-math.inf, -math.inf]  # of entropy: never
        last = runner(images(1))
        assert 3 == last.exit

        line = 1
        while interrupted(runner, line):
            answer = runner(images(1))
            assert (last.exit, last.label, last.score) == (answer.exit, answer.label, answer.score)
            line += 1

        assert line > 3, "the interrupt must have come somewhere"
