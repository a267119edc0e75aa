"""Forward is run as a user would run it for inference, and leaves the module as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.errors import ModelError
from edgeexit.exporter import cascade, export
from tests.exporter.networks import Net


class Asserts(Net):
    def forward(self, x: Tensor) -> Any:
        assert x.ndim == 4, "images only"
        return super().forward(x)


def test_whatever_forward_raises_is_one_message_with_its_line(tmp_path: Path) -> None:
    """Any exception of a user's code, not only torch's."""
    with pytest.raises(ModelError, match=r"(?s)AssertionError: images only.*test_eager\.py, line \d+\)"):
        export(Asserts(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")


def test_dropout_and_batch_norm_are_exported_for_inference_and_left_as_they_were(tmp_path: Path) -> None:
    """The module goes on training where it was."""
    early, late = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.9), nn.Linear(6, 4)), nn.Linear(6, 4)
    module = cascade([early, late]).train()
    module.classifiers[1].eval()

    export(module, torch.zeros(2, 6), tmp_path / "m.onnx")

    assert [True, False] == [c.training for c in module.classifiers]
    assert {"Dropout", "BatchNormalization"} & {n.op_type for n in onnx.load(tmp_path / "m.onnx").graph.node} <= {
        "BatchNormalization"
    }


class Remembers(Net):
    """Keeps running statistics in evaluation mode, too: in place, or as a new tensor in place of the old one."""

    mean: Tensor
    last: Tensor | None

    def __init__(self, *, in_place: bool, reads: bool, fails: bool = False) -> None:
        super().__init__(lambda z, h: z)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("last", None)
        self.in_place, self.reads, self.fails = in_place, reads, fails

    def forward(self, x: Tensor) -> Any:
        logits, _ = self.computed(x)
        if self.in_place:
            self.mean.mul_(0.9).add_(logits[0].mean(0))
        else:
            self.mean = self.last = self.mean * 0.9 + logits[0].mean(0)
        assert not self.fails
        return [z + self.mean for z in logits] if self.reads else logits


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_the_modules_buffers_are_as_before(tmp_path: Path, in_place: bool, reads: bool) -> None:
    """Nothing of what edgeexit asks forward is left in them, and every answer is given from the same buffers."""
    module = Remembers(in_place=in_place, reads=reads)
    mean = module.mean

    export(module, torch.ones(1, 6), tmp_path / "m.onnx")

    assert mean is module.mean
    assert module.last is None
    assert torch.equal(torch.zeros(4), module.mean)


def test_the_modules_buffers_are_as_before_where_the_export_fails(tmp_path: Path) -> None:
    """Whatever forward did before it failed."""
    module = Remembers(in_place=True, reads=True, fails=True)

    with pytest.raises(ModelError, match="forward failed on the example"):
        export(module, torch.ones(1, 6), tmp_path / "m.onnx")

    assert torch.equal(torch.zeros(4), module.mean)


class Counts(Net):
    """Keeps state where nobody can see it."""

    calls = 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return [z + self.calls for z in super().forward(x)]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    "part",
    [
        lambda: torch.jit.trace(nn.BatchNorm1d(6).eval(), torch.zeros(1, 6)),  # type: ignore[no-untyped-call]
        nn.LazyBatchNorm1d,
        lambda: WithBuffer(torch.full((1,), float("nan")).expand(6)),
    ],
    ids=["traced", "lazy", "expanded and not a number"],
)
def test_buffers_of_any_kind_may_be_inside(tmp_path: Path, part: Callable[[], nn.Module]) -> None:
    """Some cannot be written to; then nobody can have changed them."""
    module = cascade([nn.Sequential(part(), nn.Linear(6, 4)), nn.Linear(6, 4)])

    assert ("exit1", "exit2") == export(module, torch.zeros(1, 6), tmp_path / "m.onnx").exits


class WithBuffer(nn.Identity):
    def __init__(self, buffer: Tensor) -> None:
        super().__init__()
        self.register_buffer("buffer", buffer)


class Dropped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.5, training=True)


@pytest.mark.parametrize(
    "module",
    [
        Net(lambda z, h: [F.dropout(z[0], 0.5, training=True), z[1]]),
        Net(lambda z, h: [z[0], z[1] + torch.randn_like(z[1])]),
        Net(lambda z, h: [(z[0], torch.rand_like(h[0])), z[1]]),
        Counts(lambda z, h: z[:2]),
        cascade([nn.Sequential(Dropped(), nn.Linear(6, 4, bias=False)), nn.Linear(6, 4)]),
    ],
    ids=["dropout", "noise", "random score", "state", "dropout of an example of zeros"],
)
def test_a_forward_that_answers_differently_each_time_is_refused(tmp_path: Path, module: nn.Module) -> None:
    """A file has one answer for one input; the message says where the others may come from, and what to do."""
    with pytest.raises(ModelError, match=r"different answers for the same input, by .* random numbers, or keeps state"):
        export(module, torch.zeros(1, 6), tmp_path / "m.onnx")

    assert [] == list(tmp_path.iterdir())
