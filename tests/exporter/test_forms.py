"""Every form in which forward may return its exits becomes a file with named exits that computes what eager computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeexit.errors import ModelError
from edgeexit.exporter import export
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


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_forward_is_read_as_its_exits(form: str) -> None:
    """Names and scores are those that forward returns."""
    shape, names, scored = FORMS[form]

    exits = run_exits(Net(shape), torch.zeros(2, 6))

    assert names == [e.name for e in exits]
    assert scored == [e.score is not None for e in exits]


@pytest.mark.parametrize("form", ["list of logits", "pairs and none", "dict"])
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
