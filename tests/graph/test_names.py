"""Names in a model are its own affair: whatever nodes and tensors are called, and whether at all, it compiles to the same answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgeexit.compiler.constant_branches import take_branches
from edgeexit.errors import ModelError
from edgeexit.graph import read_model
from tests.support.onnx_writer import Writer, check, original, value

IMAGE = (3, 6, 6)


def samples() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).standard_normal((3, *IMAGE)).astype(np.float32)}


@pytest.mark.parametrize(
    "name",
    ["decide 1", "edgeexit/fused/decide 1", "edgeexit/exit1/LogSoftmax_1", "edgeexit/branch/0/n", "edgeexit/exit2/x"],
)
def test_a_node_may_be_called_as_one_that_is_added(name: str, tmp_path: Path) -> None:
    """By the criteria, by the fused mode, or where a branch is put in the place of an If."""
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


def add_constant_if(
    w: Writer, x: str, branch: Callable[[str], onnx.GraphProto], out: str | Sequence[str] | None = None
) -> str:
    """An `If` whose condition never changes, both branches alike but for an operator."""
    return w.op("If", w.constant(True, bool), then_branch=branch("Tanh"), else_branch=branch("Neg"), out=out)


@pytest.mark.parametrize("names", [("", ""), ("", "n0"), ("/y", "k"), ("end/y", "/end/y")])
def test_nodes_of_a_branch_need_no_names(names: tuple[str, str], tmp_path: Path) -> None:
    """Several without one, or one called nearly as what the branch gives, clash with nothing where the branch takes the If's place."""

    def branch(op: str) -> onnx.GraphProto:
        first = helper.make_node(op, [x], ["u"], name=names[0])
        return helper.make_graph([first, helper.make_node("Neg", ["u"], ["t"], name=names[1])], op, [], [value("t")])

    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    w.head(w.op("Abs", add_constant_if(w, x, branch, out="y")), 4, "z2")

    check(w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"]), samples(), ["z1", "z2"])


@pytest.mark.parametrize("opset", [13, 17])
def test_a_settled_branch_may_give_a_sequence(opset: int, tmp_path: Path) -> None:
    """Before operator set 14, `Identity` takes none: the sequence itself gets the name that the If gave it."""

    def branch(op: str) -> onnx.GraphProto:
        made = helper.make_node(op, [x], ["u"])
        pair = helper.make_node("SequenceConstruct", ["u", x], ["s"])
        return helper.make_graph(
            [made, pair], op, [], [helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, None)]
        )

    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    pair = add_constant_if(w, x, branch)
    both = [w.op("SequenceAt", pair, w.constant(k, "int64")) for k in (0, 1)]
    w.head(w.op("Add", *both), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"], opset=opset)

    check(path, samples(), ["z1", "z2"])


def doubled(path: Path, *, by_branch: bool) -> Path:
    """A sum of a tensor with itself and a weight, which the branch of an `If` gives, or the graph itself."""
    made = [helper.make_node("Tanh", ["x"], ["t"])]
    kernel = numpy_helper.from_array(np.array([2.0], np.float32), "k")
    ends = [value("t"), value("t"), value("k")]
    w = Writer()
    if by_branch:
        then = helper.make_graph(made, "then", [], ends, [kernel])
        out = ["first", "second", "third"]
        w.op("If", w.constant(True, bool), then_branch=then, else_branch=then, out=out)
    else:
        w.nodes += made
        w.weights.append(kernel)
    first, second, third = ("first", "second", "third") if by_branch else ("t", "t", "k")
    w.op("Mul", w.op("Add", first, second), third, out="z")
    return w.save(path, {"x": ["n", *IMAGE]}, ["z"])


def test_a_settled_branch_may_give_one_tensor_twice_and_a_weight(tmp_path: Path) -> None:
    """ONNX Runtime 1.31 itself loses the second name of such a tensor, so the answers are those of a graph without the If."""
    net = read_model(doubled(tmp_path / "if.onnx", by_branch=True))
    take_branches(net, {"w0": True})
    onnx.save(net.proto, str(tmp_path / "taken.onnx"))

    expected = original(doubled(tmp_path / "plain.onnx", by_branch=False), ["z"], samples())
    np.testing.assert_array_equal(expected, original(tmp_path / "taken.onnx", ["z"], samples()))


def test_a_branch_with_more_results_than_its_if_is_reported(tmp_path: Path) -> None:
    """The model is damaged; the message counts both."""
    path = doubled(tmp_path / "m.onnx", by_branch=True)
    model = onnx.load(str(path))
    del model.graph.node[0].output[1:]
    onnx.save(model, str(path))

    with pytest.raises(ModelError, match=r"'n0' \(If\) has 1 outputs and a then_branch of 3"):
        take_branches(read_model(path), {"w0": True})
