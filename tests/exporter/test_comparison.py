"""The file is compared with eager on random inputs, as finely as the module computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import InternalError, ModelError
from edgeexit.exporter import export
from edgeexit.nets.outputs import run_exits
from tests.exporter.networks import Net, run


def test_a_module_in_half_precision_may_differ_by_its_rounding(tmp_path: Path) -> None:
    """Ten roundings of float16 are 1e-2 of the largest logit."""
    torch.manual_seed(0)

    exported = export(Net(lambda z, h: z).half(), torch.zeros(1, 6).half(), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-2


def masked(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    """The first class can never be the answer."""
    return [t.masked_fill(torch.tensor([True, False, False, False]), float("-inf")) for t in z]


def test_classes_that_are_masked_out_agree_by_being_masked(tmp_path: Path) -> None:
    """A logit of -inf has no difference; the others are compared."""
    exported = export(Net(masked), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-4


def test_logits_that_are_all_infinite_compare_nothing(tmp_path: Path) -> None:
    """Then nobody could say that the file is the network."""
    with pytest.raises(ModelError, match="no finite number on random inputs"):
        export(Net(lambda z, h: [t / 0 for t in z]), torch.zeros(1, 6), tmp_path / "m.onnx")


class Picks(Net):
    """The first of its floats is the number of a category, from 10 to 14."""

    def __init__(self) -> None:
        super().__init__(lambda z, h: z)
        self.embed = nn.Embedding(5, 6)

    def forward(self, x: Tensor) -> Any:
        return super().forward(x + self.embed(x[:, 0].long() - 10))


def test_a_category_in_a_float_is_compared_on_the_examples_own_values(tmp_path: Path) -> None:
    """Noise is no category."""
    exported = export(Picks(), torch.tensor([[14.0, 10.5, 13.5, 11.0, 12.1, 10.2]]), tmp_path / "m.onnx")

    assert exported.largest_difference < 1e-4


class SumOfLogarithms(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.log() + x.log().sum(-1, keepdim=True)


def test_logarithms_are_compared_on_the_examples_own_values(tmp_path: Path) -> None:
    """Where noise gives no finite number."""
    module = nn.Sequential(SumOfLogarithms(), Net(lambda z, h: z))

    assert export(module, torch.full((1, 6), 2.0), tmp_path / "m.onnx").largest_difference < 1e-4


def test_a_forward_that_takes_nothing_but_its_example_is_reported_with_the_inputs_that_failed(tmp_path: Path) -> None:
    """The example is not to blame, and the message has the remedy."""
    with pytest.raises(ModelError) as caught:
        export(Picks(), torch.tensor([[14.0, 90, 90, 90, 90, 90]]), tmp_path / "m.onnx")

    assert "failed on inputs that edgeexit drew from the example's values" in str(caught.value)
    assert "IndexError: index out of range" in str(caught.value)
    assert "as an integer input of their own" in str(caught.value)
    assert [] == list(tmp_path.iterdir())


def normed(z: list[Tensor], h: list[Tensor]) -> list[Tensor]:
    """Logits over their length, kept from a division by 0 by a tiny constant."""
    return [t.relu() / (t.relu().norm(dim=1, keepdim=True) + 1e-8) for t in z]


def entropy_scores(z: list[Tensor], h: list[Tensor]) -> Any:
    """A score that is finite for saturated logits thanks to a tiny constant."""
    p = [t.softmax(1) for t in z]
    return z, [(q * (q + 1e-10).log()).sum(1) for q in p]


@pytest.mark.parametrize("shape", [normed, entropy_scores])
def test_constants_below_1e_8_stay_in_the_file(shape: Any, tmp_path: Path) -> None:
    """They keep a division or a logarithm from 0, whatever the exporter's optimiser takes them for."""
    net = Net(shape).eval()
    export(net, torch.zeros(1, 6), tmp_path / "m.onnx")

    for x in (torch.zeros(1, 6), torch.full((1, 6), 900.0), torch.full((1, 6), -900.0)):
        want = [t.detach().numpy() for e in run_exits(net, x) for t in (e.logits, e.score) if t is not None]
        for expected, found in zip(want, run(tmp_path / "m.onnx", x.numpy()), strict=True):
            assert np.allclose(expected, found.reshape(expected.shape), rtol=1e-4, atol=1e-4)


def test_a_rewriting_that_drops_a_tiny_constant_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison tests inputs where such a constant decides, wherever it was dropped."""
    from onnxscript import optimizer

    monkeypatch.setattr("edgeexit.exporter.conversion.simplify", optimizer.optimize_ir)

    with pytest.raises(InternalError, match="small constants such as"):
        export(Net(entropy_scores), torch.zeros(1, 6), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_a_logarithm_that_is_infinite_where_it_saturates_may_differ_there(tmp_path: Path) -> None:
    """One runtime rounds a probability to 0 before another does; forward itself has no number a little further on."""

    def raw(z: list[Tensor], h: list[Tensor]) -> Any:
        return z, [t.softmax(1).log().amin(1) for t in z]

    assert export(Net(raw), torch.zeros(1, 6), tmp_path / "m.onnx").largest_difference < 1e-4
