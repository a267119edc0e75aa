"""A Runner may run for months: it keeps nothing of what it has seen."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import edgeexit
from edgeexit.errors import InputError
from edgeexit.runtime import Settings
from edgeexit.runtime.loading import open_runner
from tests.networks import images


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_memory_does_not_grow_over_fifty_thousand_calls(compiled: Path, mode: str) -> None:
    """After a warm-up that fills every arena, 50,000 calls of all exits add less than half a MiB: eleven bytes each."""
    x = images(1)
    with open_runner(edgeexit.Bundle.open(compiled), Settings(mode=mode)) as runner:
        for i in range(8_000):
            runner.forced(x, exit=1 + i % 3)
        gc.collect()
        before = resident_bytes()
        for i in range(50_000):
            runner.forced(x, exit=1 + i % 3)
        gc.collect()

        assert resident_bytes() - before < 1 << 19


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_no_kind_of_call_keeps_what_it_was_given(compiled: Path, mode: str) -> None:
    """Free calls, batches, replays and refused inputs in turn; half a kilobyte kept by each would be told."""
    xs, bad = images(4), np.full((1, *images(1).shape[1:]), np.nan, np.float32)
    with open_runner(edgeexit.Bundle.open(compiled), Settings(mode=mode)) as runner:

        def every_kind() -> None:
            for _ in range(8):
                runner(xs[:1])
            runner.batch(xs)
            runner.replay(xs[:1])
            with suppress(InputError):
                runner(bad)

        for _ in range(300):
            every_kind()
        gc.collect()
        before = resident_bytes()
        for _ in range(2500):
            every_kind()
        gc.collect()

        assert resident_bytes() - before < 1 << 20
