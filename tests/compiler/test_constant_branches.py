"""Networks that count, pick and branch by the values of their input: what is constant at compile time holds for every input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeexit.compiler.constant_branches import find_constant_conditions
from edgeexit.graph import read_model
from tests.support.onnx_writer import Array, Writer, check, value

WIDTH = 8
SHAPE = (1, WIDTH)


def of_both_signs(count: int = 6) -> dict[str, Array]:
    """Samples in 0..1, every second one negative."""
    x = np.random.default_rng(0).random((count, WIDTH)).astype(np.float32)
    x[1::2] *= -1
    return {"x": x}


def more_than(w: Writer, tensor: str, least: int) -> str:
    """Whether the number of elements of a tensor is larger."""
    return w.op("Greater", w.op("Size", tensor), w.constant(least, np.int64))


def with_branches(w: Writer, condition: str, tmp_path: Path, batch: str | int = 1) -> Path:
    """Two exits, the second behind an `If` whose branches are two products."""
    w.op("MatMul", "x", w.weight(WIDTH, 3), out="z1")
    hidden = w.op("MatMul", "x", w.weight(WIDTH, WIDTH))
    branches = {}
    for name in ("then_branch", "else_branch"):
        weight = w.weight(WIDTH, 3)
        nodes = [helper.make_node("MatMul", [hidden, weight], [f"{name}_out"])]
        branches[name] = helper.make_graph(nodes, name, [], [value(f"{name}_out")])
    w.op("If", condition, out="z2", **branches)
    return w.save(tmp_path / "m.onnx", {"x": [batch, WIDTH]}, ["z1", "z2"])


def nonzero(w: Writer, positive: str, flat: str) -> str:
    return w.op("NonZero", positive)


def compress(w: Writer, positive: str, flat: str) -> str:
    return w.op("Compress", flat, positive)


def unique(w: Writer, positive: str, flat: str) -> str:
    return w.op("Slice", w.op("Unique", w.op("Relu", flat)), w.constant([1], np.int64), w.constant([99], np.int64))


def counted(w: Writer, positive: str) -> str:
    """How many elements are positive, as a shape [1]."""
    return w.op("Reshape", w.op("ReduceSum", w.op("Cast", positive, to=TensorProto.INT64)), w.constant([1], np.int64))


def sliced(w: Writer, positive: str, flat: str) -> str:
    return w.op("Slice", flat, w.constant([0], np.int64), counted(w, positive))


def tiled(w: Writer, positive: str, flat: str) -> str:
    return w.op("Tile", flat, counted(w, positive))


def filled(w: Writer, positive: str, flat: str) -> str:
    return w.op("ConstantOfShape", counted(w, positive))


def ranged(w: Writer, positive: str, flat: str) -> str:
    end = w.op("Squeeze", counted(w, positive))
    return w.op("Range", w.constant(0, np.int64), end, w.constant(1, np.int64))


def topped(w: Writer, positive: str, flat: str) -> str:
    return w.op("TopK", flat, counted(w, positive), out=[f"top{len(w.nodes)}", f"at{len(w.nodes)}"])


def looped(w: Writer, positive: str, flat: str) -> str:
    """What each of a counted number of turns gives."""
    going = value("going", TensorProto.BOOL, [])
    nodes = [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["turn"], ["each"])]
    ends = [value("on", TensorProto.BOOL, []), value("each", TensorProto.INT64, [])]
    body = helper.make_graph(nodes, "body", [value("turn", TensorProto.INT64, []), going], ends)
    return w.op("Loop", w.op("Squeeze", counted(w, positive)), "", body=body)


def grown(w: Writer, positive: str, flat: str) -> str:
    """A state that each of a counted number of turns makes longer."""
    nodes = [
        helper.make_node("Identity", ["going"], ["on"]),
        helper.make_node("Concat", ["state", flat], ["longer"], axis=0),
    ]
    starts = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("state")]
    body = helper.make_graph(nodes, "body", starts, [value("on", TensorProto.BOOL, []), value("longer")])
    return w.op("Loop", w.op("Squeeze", counted(w, positive)), "", w.constant(np.zeros(0)), body=body)


def branched(w: Writer, positive: str, flat: str) -> str:
    """One branch gives all, the other nothing."""
    most = w.op("Greater", w.op("Squeeze", counted(w, positive)), w.constant(2, np.int64))
    nothing = w.constant([0], np.int64)
    then = helper.make_graph([helper.make_node("Identity", [flat], ["all"])], "then", [], [value("all")])
    cut = [helper.make_node("Slice", [flat, nothing, nothing], ["none"])]
    return w.op("If", most, then_branch=then, else_branch=helper.make_graph(cut, "else", [], [value("none")]))


Picks = Callable[[Writer, str, str], str]
DATA_DEPENDENT = [nonzero, compress, unique, sliced, tiled, filled, ranged, topped, looped, grown, branched]


@pytest.mark.parametrize("pick", DATA_DEPENDENT)
def test_a_branch_is_not_settled_by_a_shape_that_depends_on_values(pick: Picks, tmp_path: Path) -> None:
    """How many elements were picked says something of the values: both branches stay, whatever carries the shape on."""
    w = Writer()
    flat = w.op("Reshape", "x", w.constant([-1], np.int64))
    picked = pick(w, w.op("Greater", flat, w.constant(0.0)), flat)
    moved = w.op("Transpose", w.op("Cast", picked, to=TensorProto.FLOAT))
    path = with_branches(w, more_than(w, moved, 0), tmp_path)

    bundle = check(path, of_both_signs(), ["z1", "z2"])

    kinds = {n.op_type for n in onnx.load(str(bundle.file(bundle.manifest.stages[1].file))).graph.node}
    assert "If" in kinds


def is_replaced(w: Writer, tensor: str, tmp_path: Path, batch: str | int = 1) -> bool:
    """Whether a branch that the size of a tensor decides is replaced by the branch it takes."""
    return bool(find_constant_conditions(read_model(with_branches(w, more_than(w, tensor, 0), tmp_path, batch))))


def test_a_shape_that_is_fixed_again_settles_a_branch(tmp_path: Path) -> None:
    """The mean of what was picked is one number, however many there were."""
    w = Writer()
    picked = w.op("Compress", "x", w.op("Greater", w.op("Reshape", "x", w.constant([-1], np.int64)), w.constant(0.0)))
    mean = w.op("Reshape", w.op("ReduceMean", picked, keepdims=0), w.constant([1, 1], np.int64))

    assert is_replaced(w, w.op("Add", mean, "x"), tmp_path)


@pytest.mark.parametrize("batch", [1, "n"])
def test_values_written_at_picked_places_leave_the_shape_alone(batch: str | int, tmp_path: Path) -> None:
    """A masked assignment, as exporters write it: `ScatterND` at what `NonZero` found."""
    w = Writer()
    found = w.op("Transpose", w.op("NonZero", w.op("Greater", "x", w.constant(0.0))))
    written = w.op("ScatterND", "x", found, w.op("Mul", w.op("GatherND", "x", found), w.constant(2.0)))

    assert is_replaced(w, w.op("Relu", written), tmp_path, batch)


@pytest.mark.parametrize("most", [1, 2, 4, 7])
def test_a_branch_for_larger_batches_is_not_taken(most: int, tmp_path: Path) -> None:
    """A batch gives what its samples give one by one, so the branch of one sample is taken for all."""
    w = Writer()
    count = w.op("Gather", w.op("Shape", "x"), w.constant(0, np.int64))
    path = with_branches(w, w.op("Greater", count, w.constant(most, np.int64)), tmp_path, "n")

    bundle = check(path, of_both_signs(9), ["z1", "z2"])

    assert not bundle.manifest.dynamic_batch
    assert not any(node.op_type == "If" for node in onnx.load(str(bundle.file(bundle.manifest.backbone))).graph.node)


def test_shape_arithmetic_of_a_free_batch_settles_a_branch(tmp_path: Path) -> None:
    """Shape, Gather, Concat, Reshape, Expand and Range over sizes, as exporters write them."""
    w = Writer()
    size = w.op("Gather", w.op("Shape", "x"), w.constant([0], np.int64))
    shape = w.op("Concat", size, w.constant([2, -1], np.int64), axis=0)
    steps = w.op("Range", w.constant(0, np.int64), w.op("Squeeze", size), w.constant(1, np.int64))
    column = w.op("Reshape", w.op("Cast", steps, to=TensorProto.FLOAT), w.constant([-1, 1, 1], np.int64))
    known = w.op("NonZero", w.op("ConstantOfShape", shape_of_ones(w, size)))

    parts = [w.op("Add", w.op("Reshape", "x", shape), column), w.op("Cast", known, to=TensorProto.FLOAT)]
    flat = [w.op("Reshape", part, w.constant([-1], np.int64)) for part in parts]
    assert is_replaced(w, w.op("Concat", *flat, axis=0), tmp_path, "n")


def shape_of_ones(w: Writer, size: str) -> str:
    return w.op("Concat", size, w.constant([1], np.int64), axis=0)
