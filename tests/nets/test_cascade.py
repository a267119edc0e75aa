"""Separate classifiers become one network, each the exit after the one before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeexit.errors import ModelError
from edgeexit.exporter import cascade, export
from tests.exporter.networks import Net, run, table


def test_independent_classifiers_become_a_cascade(tmp_path: Path) -> None:
    """Exit i is classifier i, whether it returns logits or logits and a score."""
    small, large = nn.Linear(6, 4), Net(lambda z, h: [(z[2], h[2])])
    module = cascade([small, large])

    export(module, torch.zeros(1, 6), tmp_path / "m.onnx", names=["small", "large"])

    assert [None, "large_score"] == [e["score"] for e in table(tmp_path / "m.onnx")]
    x = torch.randn(2, 6)
    np.testing.assert_allclose(small(x).detach().numpy(), run(tmp_path / "m.onnx", x.numpy())[0], atol=1e-5)


def test_a_cascade_of_one_is_refused() -> None:
    """It has nowhere to leave early."""
    with pytest.raises(ModelError, match="two classifiers or more; got 1"):
        cascade([nn.Linear(6, 4)])
