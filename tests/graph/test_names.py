"""Names in a model are its own affair: whatever nodes and tensors are called, and whether at all, it compiles to the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.graph.hard import Writer, check, value

IMAGE = (3, 6, 6)


def samples() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((3, *IMAGE)).astype(np.float32)}


@pytest.mark.parametrize(
    "name",
    ["decide 1", "edgeexit/fused/decide 1", "edgeexit/exit1/LogSoftmax_1", "edgeexit/branch/0/n", "edgeexit/exit2/x"],
)
def test_a_node_may_be_called_as_one_that_is_added(name: str, tmp_path: Path) -> None:
    """By the criteria, by the fused form, or where a branch is put in the place of an If."""
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    w.head(w.conv(x, 4, 4), 4, "z2")
    w.nodes[0].name = name

    check(w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"]), samples(), ["z1", "z2"])


def test_nodes_of_branches_may_be_called_alike(tmp_path: Path) -> None:
    """And as one outside; each branch has names of its own."""
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    taken = w.constant(True, bool)
    for _ in range(2):
        branches = {
            f"{side}_branch": helper.make_graph([helper.make_node(op, [x], ["t"], name="n0")], side, [], [value("t")])
            for side, op in (("then", "Tanh"), ("else", "Neg"))
        }
        x = w.op("If", taken, **branches)
    w.head(x, 4, "z2")

    check(w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"]), samples(), ["z1", "z2"])


@pytest.mark.parametrize("named", [True, False])
def test_a_branch_within_a_branch_may_use_its_neighbours_names(named: bool, tmp_path: Path) -> None:
    """It comes to light where a neighbour stood, when the one around it has been put in its place."""

    def branch(node: list[object], out: str) -> object:
        return helper.make_graph(node, out, [], [value(out)])  # type: ignore[arg-type]

    def choice(out: str, then: object, other: object) -> object:
        name = out if named else ""
        return helper.make_node("If", [taken], [out], name=name, then_branch=then, else_branch=other)

    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    taken = w.constant(True, bool)
    within = choice(
        "q", branch([helper.make_node("Tanh", ["p"], ["r"])], "r"), branch([helper.make_node("Neg", ["p"], ["s"])], "s")
    )
    around = branch([helper.make_node("Neg", [x], ["p"]), within], "q")
    w.nodes.append(choice("x1", around, branch([helper.make_node("Abs", [x], ["u"])], "u")))  # type: ignore[arg-type]
    beside = branch([helper.make_node("Sigmoid", [x], ["r"])], "r")
    w.nodes.append(choice("x2", beside, branch([helper.make_node("Abs", [x], ["s"])], "s")))  # type: ignore[arg-type]
    w.head(w.op("Add", "x1", "x2"), 4, "z2")

    check(w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"]), samples(), ["z1", "z2"])
