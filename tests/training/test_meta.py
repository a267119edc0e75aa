"""Judges are fitted on held-out data, order samples by how likely the exit is right, and are exported with the network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeexit.data import Dataset, find_demo_asset, load_data
from edgeexit.errors import InputError
from edgeexit.exporter import export
from edgeexit.nets import build
from edgeexit.nets.meta import WithScores
from edgeexit.nets.outputs import run_exits
from edgeexit.training.meta import fit_openmax_heads, fit_softmax_heads, fit_weibull_tail

FITS: dict[str, Callable[[nn.Module, Dataset], WithScores]] = {
    "softmax": fit_softmax_heads,
    "openmax": fit_openmax_heads,
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """The demo's network, from the weights in its file."""
    weights = {
        w.name: torch.from_numpy(onnx.numpy_helper.to_array(w).copy())
        for w in onnx.load(find_demo_asset("lenet-digits.onnx")).graph.initializer
    }
    module = build("lenet")
    module.load_state_dict({name: weights[name] for name in module.state_dict()})
    return module.eval()


@pytest.mark.parametrize("head", FITS)
def test_a_judge_scores_right_answers_higher_than_wrong_ones(head: str, network: nn.Module) -> None:
    """On samples that it was not fitted on: noise is added so that some answers are wrong."""
    noisy = [Dataset(d.name, d.x + 0.35 * np.random.default_rng(i).normal(size=d.x.shape).astype(np.float32), d.labels)
             for i, d in enumerate((load_data("digits:calibration"), load_data("digits:test")))]  # fmt: skip

    scored = FITS[head](network, noisy[0])

    [early, last] = run_exits(scored, torch.from_numpy(noisy[1].x))
    right = early.logits.argmax(-1).numpy() == noisy[1].y
    score = early.score.detach().numpy()[:, 0]  # type: ignore[union-attr]
    better = (score[right][:, None] > score[~right][None]).mean()  # area under the ROC curve
    assert 10 < (~right).sum()
    assert 0.65 < better
    assert last.score is None
    assert ((score >= 0) & (score <= 1)).all()


@pytest.mark.parametrize("head", FITS)
def test_a_network_with_judges_is_exported_whole(head: str, network: nn.Module, tmp_path: Path) -> None:
    """Scores are outputs of the file, for the criterion `learned`."""
    scored = FITS[head](network, load_data("digits:calibration"))

    exported = export(scored, torch.zeros(1, 1, 28, 28), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-4
    assert ["exit1", "exit1_score", "exit2"] == [o.name for o in onnx.load(tmp_path / "m.onnx").graph.output]


def test_later_exits_are_told_what_earlier_ones_answered() -> None:
    """Agreement is a feature: with three exits the second head sees the first one's label."""
    network = build("signal", classes=4)
    rng = np.random.default_rng(0)
    data = Dataset("d", rng.normal(size=(60, 6, 128)).astype(np.float32), rng.integers(4, size=60))

    scored = fit_softmax_heads(network, data, steps=3)

    assert [5, 6] == [head.mlp[0].in_features for head in scored.heads]  # type: ignore[index, union-attr]


def test_the_seed_decides(network: nn.Module) -> None:
    """The same seed, the same head."""
    data = load_data("digits:calibration").take(slice(100))

    a, b = (fit_softmax_heads(network, data, seed=3, steps=5).heads.state_dict() for _ in range(2))

    assert all(v.equal(b[k]) for k, v in a.items())


def test_a_network_with_one_exit_has_nothing_to_judge() -> None:
    """One message."""
    with pytest.raises(InputError, match="one exit"):
        fit_softmax_heads(build("lenet", exits=False), load_data("digits:calibration"))


@pytest.mark.parametrize("shape", [0.8, 1.5])
def test_the_weibull_fit_finds_the_distribution_it_was_drawn_from(shape: float) -> None:
    """Many draws, all of them taken as the tail."""
    draws = 3.0 + 2.0 * np.random.default_rng(0).weibull(shape, 4000)

    found = fit_weibull_tail(draws, tail=4000)

    np.testing.assert_allclose((shape, 2.0, 3.0), found, rtol=0.1)
