"""Every form in which forward may return its exits becomes a file with named exits that computes what eager computes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.exporter import ExportWarning, export
from edgeexit.nets.outputs import run_exits
from tests.exporter.networks import Net, Shape, run, table

FORMS: dict[str, tuple[Shape, list[str], list[bool]]] = {
    "list of logits": (lambda z, h: z, ["exit1", "exit2", "exit3"], [False] * 3),
    "tuple of logits": (lambda z, h: tuple(z), ["exit1", "exit2", "exit3"], [False] * 3),
    "list of pairs": (lambda z, h: list(zip(z, h, strict=True)), ["exit1", "exit2", "exit3"], [True] * 3),
    "pairs and none": (
        lambda z, h: [(z[0], h[0]), (z[1], None), z[2]],
        ["exit1", "exit2", "exit3"],
        [True, False, False],
    ),
    "flat scores": (
        lambda z, h: [(a, b[:, 0]) for a, b in zip(z, h, strict=True)],
        ["exit1", "exit2", "exit3"],
        [True] * 3,
    ),
    "pair of lists": (lambda z, h: (z, h), ["exit1", "exit2", "exit3"], [True] * 3),
    "last without score": (lambda z, h: (z, h[:2]), ["exit1", "exit2", "exit3"], [True, True, False]),
    "two pairs": (lambda z, h: [(z[0], h[0]), (z[1], h[1])], ["exit1", "exit2"], [True, True]),
    "pair of pairs": (lambda z, h: ([z[0], z[1]], [h[0], h[1]]), ["exit1", "exit2"], [True, True]),
    "dict": (
        lambda z, h: {"early": z[0], "mid": (z[1], h[1]), "final": z[2]},
        ["early", "mid", "final"],
        [False, True, False],
    ),
    "dict of lists": (lambda z, h: {"logits": z, "scores": h}, ["exit1", "exit2", "exit3"], [True] * 3),
    "one exit": (lambda z, h: z[2], ["exit1"], [False]),
    "one exit by name": (lambda z, h: {"logits": z[2]}, ["exit1"], [False]),
    "one exit and its score by name": (lambda z, h: {"logits": z[2], "scores": h[2]}, ["exit1"], [True]),
}


@dataclass
class Output:
    """As outputs of Hugging Face are: what was not asked for is None."""

    loss: Tensor | None
    logits: Any
    hidden_states: Any = None


FORMS |= {
    "stacked": (lambda z, h: torch.stack(z), ["exit1", "exit2", "exit3"], [False] * 3),
    "stacked behind the batch": (lambda z, h: torch.stack(z, dim=1), ["exit1", "exit2", "exit3"], [False] * 3),
    "two stacks": (lambda z, h: (torch.stack(z), torch.stack(h)), ["exit1", "exit2", "exit3"], [True] * 3),
    "list in a tuple": (lambda z, h: (z,), ["exit1", "exit2", "exit3"], [False] * 3),
    "lists and costs": (lambda z, h: (z, h, [0.2, 0.5, 1.0]), ["exit1", "exit2", "exit3"], [True] * 3),
    "list and depth": (lambda z, h: (z, 3), ["exit1", "exit2", "exit3"], [False] * 3),
    "generator": (lambda z, h: (t for t in z), ["exit1", "exit2", "exit3"], [False] * 3),
    "dataclass": (lambda z, h: Output(None, z, [torch.ones(2, 6)]), ["exit1", "exit2", "exit3"], [False] * 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_forward_is_read_as_its_exits(form: str) -> None:
    """Names and scores are those that forward returns."""
    shape, names, scored = FORMS[form]

    exits = run_exits(Net(shape), torch.zeros(2, 6))

    assert names == [e.name for e in exits]
    assert scored == [e.score is not None for e in exits]


@pytest.mark.parametrize("form", ["list of logits", "pairs and none", "dict", "two stacks"])
def test_the_file_computes_what_eager_computes(form: str, tmp_path: Path) -> None:
    """Exits in order, each its logits and then its score, named in the metadata."""
    shape, names, scored = FORMS[form]
    module = Net(shape)

    exported = export(module, torch.zeros(1, 6), tmp_path / "m.onnx")

    exits = table(tmp_path / "m.onnx")
    assert names == list(exported.exits) == [e["name"] for e in exits]
    assert scored == [e["score"] is not None for e in exits]
    x = torch.randn(3, 6)
    want = [t for e in run_exits(module.eval(), x) for t in (e.logits, e.score) if t is not None]
    for a, b in zip(want, run(tmp_path / "m.onnx", x.numpy()), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b, atol=1e-5)


def test_names_given_replace_all_others(tmp_path: Path) -> None:
    """And there must be one for every exit."""
    module = Net(lambda z, h: z)

    assert ("a", "b", "c") == export(module, torch.zeros(1, 6), tmp_path / "m.onnx", names=["a", "b", "c"]).exits
    with pytest.raises(ModelError, match=r"2 names were given \(a, b\) for 3 exits"):
        export(module, torch.zeros(1, 6), tmp_path / "m.onnx", names=["a", "b"])


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        (lambda z, h: "logits", "forward returned str"),
        (lambda z, h: [], "no exit"),
        (lambda z, h: [z[0], "b"], "exit 'exit2' is str"),
        (lambda z, h: [z[0], z[1][:, :3]], "different numbers of classes: exit1: 4, exit2: 3"),
        (lambda z, h: [z[0][:, :1], z[1]], "logits of 'exit1' are"),
        (lambda z, h: [z[0].argmax(-1), z[1]], "logits of 'exit1' are"),
        (lambda z, h: [(z[0], z[1]), (z[1], h[1])], "score of 'exit1' is [2, 4]"),
        (
            lambda z, h: [(z[0], z[0].argmax(-1)), z[1]],
            "score of 'exit1' is torch.int64; it must be float, such as score.float()",
        ),
        (lambda z, h: [z[0], (z[1], h[1] > 0.5)], "score of 'exit2' is torch.bool; it must be float"),
        (lambda z, h: (z, h[:1]), "3 logits and 1 scores"),
        (lambda z, h: {"a b": z[0], "c": z[1]}, "exit name 'a b'"),
    ],
)
def test_what_is_no_exit_is_one_message(tmp_path: Path, shape: Shape, fault: str) -> None:
    """With the forms that are taken, where the form is wrong."""
    with pytest.raises(ModelError) as caught:
        export(Net(shape), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert fault in str(caught.value)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        (lambda z, h: (z[2], z[:2]), r"read=lambda returned: returned\[1\], or \[\*returned\[1\], returned\[0\]\]"),
        (lambda z, h: (z, [t.relu() for t in z]), r"read=lambda returned: returned\[0\]"),
        (lambda z, h: {"logits": z[2], "exits": z}, r"read=lambda returned: returned\['exits'\]"),
        (lambda z, h: torch.cat([t[None] for t in z]), r"returned as a list \(z\.unbind\(0\)\)"),
        (lambda z, h: [t[:, :, None, None] for t in z], r"write z\.flatten\(1\)"),
    ],
)
def test_a_form_that_leaves_a_choice_says_what_to_write(shape: Shape, remedy: str) -> None:
    """Nothing that forward returns is dropped in silence."""
    with pytest.raises(ModelError, match=remedy):
        run_exits(Net(shape), torch.zeros(2, 6))


def test_a_function_may_take_the_exits_out_of_what_forward_returns(tmp_path: Path) -> None:
    """As the message of a form that leaves a choice says; weights keep their names."""
    module = Net(lambda z, h: (z[2], z[:2]))

    exported = export(module, torch.zeros(1, 6), tmp_path / "m.onnx", read=lambda r: [*r[1], r[0]])

    assert ("exit1", "exit2", "exit3") == exported.exits
    assert "trunk.0.weight" in {t.name for t in onnx.load(tmp_path / "m.onnx").graph.initializer}


class TrainingOnly(Net):
    """All exits in training mode; in evaluation mode the last one, or where `decides` the first that is sure."""

    def __init__(self, *, decides: bool = False) -> None:
        super().__init__(lambda z, h: z)
        self.norm, self.drop, self.decides = nn.BatchNorm1d(4), nn.Dropout(0.5), decides

    def forward(self, x: Tensor) -> Any:
        z, h = self.computed(x)
        z = [self.drop(self.norm(t)) for t in z]
        if self.training:
            return z, h, [0.2, 0.5, 1.0]
        if self.decides and z[0].softmax(1).max().item() > 0.9:
            return z[0], 1
        return z[2]


def test_a_forward_with_one_exit_in_evaluation_mode_says_that_training_mode_has_more(tmp_path: Path) -> None:
    """And that one exit cannot be compiled."""
    with pytest.warns(ExportWarning, match=r"one exit .*In training mode forward returns 3 exits.*--training-forward"):
        export(TrainingOnly(), torch.zeros(1, 6), tmp_path / "m.onnx")


def test_a_forward_that_decides_on_values_says_so(tmp_path: Path) -> None:
    """Not that the batch should be 1, and not with torch's graph on stderr."""
    with pytest.raises(ModelError, match=r"no `if` on values.*In training mode forward returns 3 exits") as caught:
        export(TrainingOnly(decides=True), torch.zeros(1, 6), tmp_path / "m.onnx")

    assert "batch of 1" not in str(caught.value)


class OtherForm(Net):
    """Its training branch returns what is no list of exits."""

    def forward(self, x: Tensor) -> Any:
        exits = super().forward(x)
        return {"logits": exits[-1], "aux": exits[:-1]} if self.training else exits


@pytest.mark.parametrize("kind", [Net, OtherForm])
def test_what_the_training_branch_would_not_mend_does_not_name_it(kind: type[Net], tmp_path: Path) -> None:
    """It has as many exits, of the same operators, or another form."""
    with pytest.raises(ModelError, match="Compute it in forward by other operators") as caught:
        export(
            kind(lambda z, h: [t.kthvalue(2, -1)[0][:, None] + t for t in z]), torch.zeros(1, 6), tmp_path / "m.onnx"
        )

    assert "training" not in str(caught.value)


class Picks(Net):
    """Returns the first sure exit's logits and nothing else."""

    def forward(self, x: Tensor) -> Any:
        z, _ = self.computed(x)
        return z[0] if z[0].softmax(1).amax() > 0.9 else z[2]


class OwnNorm(nn.BatchNorm1d):
    """A layer of the user's own that is batch normalisation."""


class DropPath(nn.Module):
    """Stochastic depth, as many networks bring it: draws in training mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.bernoulli(torch.full((len(x), 1), 0.5)) if self.training else x


def test_layers_of_the_users_own_stay_in_evaluation_in_the_training_branch(tmp_path: Path) -> None:
    """Subclasses of torch's layers, and layers that hold no others."""
    module = TrainingOnly()
    module.norm, module.drop = OwnNorm(4), DropPath()  # type: ignore[assignment]
    module.norm.running_mean = torch.tensor([1.0, 2.0, 3.0, 4.0])

    export(module, torch.zeros(1, 6), tmp_path / "m.onnx", training_forward=True)

    x = torch.randn(3, 6)
    with torch.no_grad():
        want = module.eval()(x).numpy()
    np.testing.assert_allclose(want, run(tmp_path / "m.onnx", x.numpy())[4], atol=1e-5)


def test_a_training_branch_of_another_form_is_named(tmp_path: Path) -> None:
    """What it returns, how to take the exits out of it, and the option."""

    class Auxiliary(Net):
        def forward(self, x: Tensor) -> Any:
            *early, last = self.computed(x)[0]
            return {"logits": last, "aux": early} if self.training else last

    with pytest.warns(ExportWarning, match=r"\[\*returned\['aux'\], returned\['logits'\]\].*--training-forward"):
        export(Auxiliary(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        (lambda z, h: (z[:2], z[2]), r"\[\*returned\[0\], returned\[1\]\]"),
        (lambda z, h: (z[2], z[:2]), r"\[\*returned\[1\], returned\[0\]\]"),
        (lambda z, h: [{"logits": z[0], "features": h[0]}], r"read=lambda returned"),
        (lambda z, h: [z[0], z[1], z[0]], r"'exit1' and 'exit3' are the same tensor"),
        (lambda z, h: [(z[0], h[0]), (z[1], h[0])], r"'exit1' and 'exit2' have the same tensor as score"),
    ],
)
def test_what_to_write_where_exits_are_not_plain_to_see(tmp_path: Path, shape: Shape, remedy: str) -> None:
    """The last exit is not left out by what the message proposes."""
    with pytest.raises(ModelError, match=remedy):
        export(Net(shape), torch.zeros(1, 6), tmp_path / "m.onnx")


@pytest.mark.parametrize(
    "shape",
    [lambda z, h: deque(z), lambda z, h: [{"logits": a, "score": b} for a, b in zip(z, h, strict=True)]],
)
def test_a_deque_and_a_dict_per_exit_are_forms(tmp_path: Path, shape: Shape) -> None:
    """Three exits each."""
    assert 3 == len(export(Net(shape), torch.zeros(1, 6), tmp_path / "m.onnx").exits)


def test_torch_does_not_print_its_graph_where_it_cannot_export(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The message is all there is."""
    with pytest.raises(ModelError, match="no `if` on values"):
        export(Picks(lambda z, h: z), torch.zeros(1, 6), tmp_path / "m.onnx")

    printed = capfd.readouterr()
    assert "" == printed.out + printed.err


def test_the_training_branch_is_exported_as_evaluation_computes_it(tmp_path: Path) -> None:
    """Every exit, batch normalisation by its statistics, nothing dropped, and the module left in its mode."""
    module = TrainingOnly(decides=True)
    module.norm.running_mean = torch.tensor([1.0, 2.0, 3.0, 4.0])

    export(module, torch.zeros(1, 6), tmp_path / "m.onnx", training_forward=True)

    x = torch.randn(3, 6)
    with torch.no_grad():
        want = [module.norm.eval()(t).numpy() for t in module.computed(x)[0]]
    for expected, found in zip(want, run(tmp_path / "m.onnx", x.numpy())[::2], strict=True):
        np.testing.assert_allclose(expected, found, atol=1e-5)
    assert module.training
