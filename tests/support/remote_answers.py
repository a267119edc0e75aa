"""Runners with remote stages beside the same bundle in one place."""

from __future__ import annotations

import numpy as np

from edgeexit.runtime import Runner
from edgeexit.runtime.remote.runner import RemoteRunner
from tests.networks import images


def assert_same_answers(local: Runner, remote: RemoteRunner) -> None:
    """Every label and exit is that of `local`, in batches and one by one in a clone, and every request is answered."""
    x = images(24)
    expected = local.batch(x)
    remote.check_remote(x[:4])
    found = remote.batch(x)
    with remote.clone() as other:
        single = [other(x[i : i + 1]) for i in range(8)]

    assert {"answered"} == set(remote.remote.gate.counts)
    assert {1, 2, 3} == {p.exit for p in expected}
    assert [(p.exit, p.label) for p in expected] == [(p.exit, p.label) for p in found]
    assert [(p.exit, p.label) for p in expected[:8]] == [(p.exit, p.label) for p in single]
    assert np.allclose([p.logits for p in expected], [p.logits for p in found], atol=1e-5)
    assert not any(p.fallback or p.late for p in (*found, *single))
