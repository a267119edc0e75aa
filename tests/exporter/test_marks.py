"""Exits that are only marked inside forward are found, in order, as they were when they were marked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.exporter import export, mark_exit
from edgeexit.nets.outputs import run_exits
from tests.exporter.networks import Net, Shape, run, table


class Marked(nn.Module):
    """Exits are only marked; what is returned is the last."""

    def __init__(self, *, mark_last: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 4), nn.Linear(6, 6), nn.Linear(6, 4)
        self.mark_last = mark_last

    def forward(self, x: Tensor) -> Tensor:
        early = mark_exit("early", self.a(x), score=self.a(x).amax(-1))
        assert early.shape[-1] == 4
        last: Tensor = self.c(torch.relu(self.b(x)))
        return mark_exit("last", last) if self.mark_last else last


@pytest.mark.parametrize(("mark_last", "names"), [(True, ["early", "last"]), (False, ["early", "exit2"])])
def test_marked_exits_are_found(tmp_path: Path, mark_last: bool, names: list[str]) -> None:
    """In the order of the marks; what forward returns is the last exit unless it was marked itself."""
    export(Marked(mark_last=mark_last), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert names == [e["name"] for e in table(tmp_path / "m.onnx")]
    assert ["early_score", None] == [e["score"] for e in table(tmp_path / "m.onnx")]


class Says(Net):
    """Marks its first two exits and returns what `shape` makes of all three."""

    def forward(self, x: Tensor) -> Any:
        logits, scores = self.computed(x)
        for name, marked in zip(("early", "mid"), logits, strict=False):
            mark_exit(name, marked)
        return self.shape(logits, scores)


@pytest.mark.parametrize(
    ("shape", "last", "scored"),
    [
        (lambda z, h: z[2], "exit3", False),
        (lambda z, h: (z[2],), "exit3", False),
        (lambda z, h: [(z[2], h[2])], "exit3", True),
        (lambda z, h: {"logits": z[2]}, "exit3", False),
        (lambda z, h: {"logits": z[2], "scores": h[2]}, "exit3", True),
        (lambda z, h: {"final": (z[2], h[2])}, "final", True),
        (lambda z, h: {"one": z[0], "two": z[1], "final": z[2]}, "final", False),
        (lambda z, h: z, "exit3", False),
        (lambda z, h: (z, h), "exit3", True),
        (lambda z, h: None, None, False),
        (lambda z, h: z[1], None, False),
        (lambda z, h: {"logits": z[1]}, None, False),
    ],
)
def test_beside_marks_every_form_is_read(shape: Shape, last: str | None, scored: bool) -> None:
    """What is returned and was not marked is the last exit, in whatever form it comes."""
    exits = run_exits(Says(shape), torch.zeros(2, 6))

    assert ["early", "mid", *([last] if last else [])] == [e.name for e in exits]
    assert scored == (exits[-1].score is not None)


def test_a_marked_exit_may_come_back_with_its_score() -> None:
    """As in a list of all exits and their scores."""
    exits = run_exits(Says(lambda z, h: list(zip(z, h, strict=True))), torch.zeros(2, 6))

    assert [True] * 3 == [e.score is not None for e in exits]


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        (lambda z, h: [z[2], z[2] + 1], "marks early, mid and returns 2 tensors that it did not mark .* mark them too"),
        (
            lambda z, h: [z[0].relu_(), z[1], z[2]],
            "changes the tensor of 'early' in place after its mark and returns it before",
        ),
        (lambda z, h: "logits", "forward returned str"),
        (lambda z, h: {"early": z[2]}, "two exits are named 'early'"),
        (lambda z, h: mark_exit(7, z[2]), "exit name 7 must start with a letter"),  # type: ignore[arg-type]
        (lambda z, h: [mark_exit("last", "z")][:0], "exit 'last' is tuple of .str"),  # type: ignore[arg-type]
    ],
)
def test_what_has_no_place_beside_marks_is_refused(shape: Shape, fault: str) -> None:
    """Nothing that forward returns is dropped in silence."""
    with pytest.raises(ModelError, match=fault):
        run_exits(Says(shape), torch.zeros(2, 6))


def test_a_mark_changes_nothing_outside_of_edgeexit() -> None:
    """It is the identity when a network is trained or used."""
    z = torch.ones(1, 4)

    assert z is mark_exit("early", z)


class GoesOnInPlace(nn.Module):
    """Marks an exit and its score, then changes both in place on its way to the last exit."""

    def __init__(self, change: Callable[[Tensor], Tensor], *, returns_it: bool) -> None:
        super().__init__()
        self.head, self.last, self.change = nn.Linear(6, 4), nn.Linear(4, 4), change
        self.returns_it = returns_it

    def forward(self, x: Tensor) -> Tensor:
        score = x.amax(-1)
        z = self.change(mark_exit("early", self.head(x), score))
        score.mul_(-1)
        return z if self.returns_it else self.last(z)


@pytest.mark.parametrize("returns_it", [True, False])
@pytest.mark.parametrize("change", [torch.relu_, lambda z: z.add_(1), nn.ReLU(inplace=True)])
def test_an_exit_stays_what_it_was_when_it_was_marked(
    tmp_path: Path, change: Callable[[Tensor], Tensor], returns_it: bool
) -> None:
    """Whatever forward does in place afterwards, in eager as in the file; what becomes of it is the last exit where it is returned."""
    torch.manual_seed(0)
    module = GoesOnInPlace(change, returns_it=returns_it)
    x = torch.randn(3, 6)
    with torch.no_grad():
        z = module.head(x)
        want = [z, x.amax(-1), module(x)]

    exits = run_exits(module, x)
    export(module, torch.zeros(1, 6), tmp_path / "m.onnx")

    got = [t.detach() for e in exits for t in (e.logits, e.score) if t is not None]
    for expected, eager, written in zip(want, got, run(tmp_path / "m.onnx", x.numpy()), strict=True):
        np.testing.assert_allclose(expected.numpy(), eager.numpy())
        np.testing.assert_allclose(expected.numpy(), written, atol=1e-5)


def test_a_marked_exit_trains_what_is_before_it() -> None:
    """What is kept of it is still a part of the graph."""
    module = GoesOnInPlace(lambda z: z.add_(1), returns_it=False)

    torch.autograd.backward(run_exits(module, torch.randn(2, 6))[0].logits.sum())

    assert module.head.weight.grad is not None
    assert module.last.weight.grad is None
