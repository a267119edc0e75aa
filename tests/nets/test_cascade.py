"""Separate classifiers become one network, each the exit after the one before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeexit.errors import ModelError
from edgeexit.exporter import cascade, export
from edgeexit.nets.outputs import run_exits
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


class Classifier(nn.Module):
    """One exit, in the form that `form` makes of its logits and score."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.head, self.form = nn.Linear(6, 4), form

    def forward(self, x: Tensor) -> Any:
        z = self.head(x)
        return self.form(z, z.amax(-1))


@pytest.mark.parametrize(
    ("form", "scored"),
    [
        (lambda z, h: z, False),
        (lambda z, h: (z,), False),
        (lambda z, h: [z], False),
        (lambda z, h: {"logits": z}, False),
        (lambda z, h: {"logits": [z], "scores": [h]}, True),
        (lambda z, h: {"logits": z, "scores": h}, True),
        (lambda z, h: {"answer": (z, h)}, True),
        (lambda z, h: (z, h), True),
        (lambda z, h: [z, h], True),
        (lambda z, h: (z, None), False),
        (lambda z, h: [(z, h)], True),
        (lambda z, h: ([z], [h]), True),
    ],
)
def test_a_classifier_may_return_its_exit_in_any_form(form: Callable[[Tensor, Tensor], Any], scored: bool) -> None:
    """As a network with one exit may."""
    module = cascade([Classifier(form), Classifier(form)]).eval()
    x = torch.randn(2, 6)

    exits = run_exits(module, x)

    assert [scored] * 2 == [e.score is not None for e in exits]
    for e, head in zip(exits, (module.get_submodule(f"classifiers.{i}.head") for i in range(2)), strict=True):
        assert torch.equal(head(x), e.logits)


def test_a_cascade_of_classifiers_in_other_forms_is_exported(tmp_path: Path) -> None:
    """The classifiers need not agree on one."""
    classifiers = [Classifier(lambda z, h: {"logits": z}), Classifier(lambda z, h: (z,))]

    assert ("exit1", "exit2") == export(cascade(classifiers), torch.zeros(1, 6), tmp_path / "m.onnx").exits


def test_classifiers_may_come_one_by_one() -> None:
    """A generator is as good as a list, and so is a ModuleList."""
    classifiers = [nn.Linear(6, 4), nn.Linear(6, 4)]

    assert classifiers == list(cascade(c for c in classifiers).classifiers)
    assert classifiers == list(cascade(nn.ModuleList(classifiers)).classifiers)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (
            [torch.sin, torch.cos],
            "classifier 1 is <built-in .*sin.*, classifier 2 is <built-in .* call it in a module's forward",
        ),
        ([nn.Linear(6, 4), nn.Linear], "and classifier 2 is <class"),
        (None, "needs a list of classifiers .* not None"),
        (7, "needs a list of classifiers .* not 7"),
        (nn.Linear(6, 4), "needs a list of classifiers .* not one Linear"),
        (nn.Sequential(nn.Linear(6, 4), nn.ReLU()), "needs a list of classifiers .* not one Sequential"),
    ],
)
def test_what_is_no_list_of_modules_raises_a_clear_error(given: Any, fault: str) -> None:
    """With what was given."""
    with pytest.raises(ModelError, match=fault):
        cascade(given)
