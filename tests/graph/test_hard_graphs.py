"""Networks that exporters, quantisers and people really produce: each compiles to the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgeexit
from edgeexit.errors import InputError, ModelError
from edgeexit.graph import read_model
from tests.support.onnx_writer import NEWEST_OPSET, Array, Writer, check, loaded, value

IMAGE = (3, 6, 6)


def images(count: int = 4, seed: int = 0, dtype: Any = np.float32) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).standard_normal((count, *IMAGE)).astype(dtype)}


def chain(w: Writer, exits: int) -> list[str]:
    """A chain of convolutions with a head after each."""
    x, channels, names = "x", 3, []
    for k in range(1, exits + 1):
        x, channels = w.conv(x, channels, 4), 4
        names.append(w.head(x, channels, f"z{k}"))
    return names


def two_exits(tmp_path: Path, w: Writer, middle: str, batch: str | int = 1, **options: Any) -> Path:
    """Finish a graph: an exit on `middle` [batch, 4, 6, 6] and one a convolution later."""
    w.head(middle, 4, "z1")
    w.head(w.conv(middle, 4, 4), 4, "z2")
    return w.save(tmp_path / "m.onnx", {"x": [batch, *IMAGE]}, ["z1", "z2"], **options)


@pytest.mark.parametrize("opset", range(11, NEWEST_OPSET + 1))
def test_every_operator_set_from_11_on_is_taken(tmp_path: Path, opset: int) -> None:
    """Criteria and decisions are spelled as each operator set has it."""
    w = Writer()
    exits = chain(w, 2)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, exits, opset=opset)

    assert opset == check(path, images(2), exits, criterion="entropy").manifest.source.opset


@pytest.mark.parametrize("criterion", ["margin", "max_softmax", "normalized_entropy", "running_mean", "patience"])
@pytest.mark.parametrize("opset", [11, 13, 18, NEWEST_OPSET])
def test_every_criterion_compiles_under_old_and_new_operator_sets(tmp_path: Path, criterion: str, opset: int) -> None:
    """The compile itself compares both modes with the scored model."""
    w = Writer()
    exits = chain(w, 3)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, exits, opset=opset)

    bundle = edgeexit.compile(path, tmp_path / "b.eexit", criterion=criterion, seconds=0)

    assert criterion == bundle.manifest.criterion


def test_twelve_exits_nest_twelve_deep(tmp_path: Path) -> None:
    """Outer-scope capture holds at every depth: exit 12 reads what stage 1 made."""
    w = Writer()
    x = first = w.conv("x", 3, 4)
    exits = [w.head(x, 4, "z1")]
    for k in range(2, 13):
        x = w.op("Add", w.conv(x, 4, 4), first)
        exits.append(w.head(x, 4, f"z{k}"))
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, exits)

    bundle = check(path, images(3), exits)

    assert 12 == bundle.manifest.exits


def test_an_if_that_depends_on_the_input_is_kept_whole(tmp_path: Path) -> None:
    """Its branches capture tensors and weights of stages before."""
    w = Writer()
    early = w.conv("x", 3, 4)
    w.head(early, 4, "z1")
    weight = w.weight(4, 4, 1, 1)
    positive = w.op("Greater", w.op("ReduceMean", "x", keepdims=0), w.constant(0.0))
    branches = {
        "then_branch": helper.make_graph([helper.make_node("Conv", [early, weight], ["a"])], "then", [], [value("a")]),
        "else_branch": helper.make_graph([helper.make_node("Neg", [early], ["b"])], "else", [], [value("b")]),
    }
    late = w.op("If", positive, **branches)
    w.head(late, 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": [1, *IMAGE]}, ["z1", "z2"])

    samples = images(6)
    samples["x"][::2] += 1.0
    samples["x"][1::2] -= 1.0
    bundle = check(path, samples, ["z1", "z2"])

    assert bundle.manifest.stages[1].macs is None, "which branch runs is not written in the graph"


def test_an_if_that_exporters_leave_behind_is_taken_out(tmp_path: Path) -> None:
    """Squeeze-if-one: its condition depends on a shape alone, so the branch is known."""
    w = Writer()
    early = w.conv("x", 3, 4)
    w.head(early, 4, "z1")
    channels = w.op("Gather", w.op("Shape", early), w.constant(1, np.int64))
    is_four = w.op("Equal", channels, w.constant(4, np.int64))
    then = helper.make_graph([helper.make_node("Relu", [early], ["r"])], "then", [], [value("r")])
    other = helper.make_graph([helper.make_node("Neg", [early], ["r"])], "else", [], [value("r")])
    late = w.op("If", is_four, then_branch=then, else_branch=other)
    flat = w.op(
        "Reshape",
        late,
        w.op(
            "Concat", w.op("Gather", w.op("Shape", late), w.constant([0], np.int64)), w.constant([-1], np.int64), axis=0
        ),
    )
    w.op("Gemm", flat, w.weight(4 * 36, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    bundle = check(path, images(), ["z1", "z2"])

    kinds = {n.op_type for n in onnx.load(str(bundle.file(bundle.manifest.stages[1].file))).graph.node}
    assert "If" not in kinds


def test_a_loop_is_kept_whole(tmp_path: Path) -> None:
    """Its body captures a weight of the outer graph and carries a state through three turns."""
    w = Writer()
    early = w.conv("x", 3, 4)
    w.head(early, 4, "z1")
    weight = w.weight(4, 4, 3, 3)
    body = helper.make_graph(
        [
            helper.make_node("Conv", ["state", weight], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["state_out"]),
            helper.make_node("Identity", ["going"], ["going_out"]),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value("state")],
        [value("going_out", TensorProto.BOOL, []), value("state_out")],
    )
    late = w.op("Loop", w.constant(3, np.int64), "", early, body=body)
    w.head(late, 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    check(path, images(), ["z1", "z2"])


def test_a_scan_over_a_sequence_is_kept_whole(tmp_path: Path) -> None:
    """A running sum over the rows of the input, in the second stage."""
    w = Writer()
    rows = w.op("Reshape", "x", w.constant([6, 18], np.int64))
    w.op("Gemm", w.op("ReduceMean", rows, axes=[0], keepdims=1), w.weight(18, 3), out="z1")
    body = helper.make_graph(
        [helper.make_node("Add", ["sum", "row"], ["sum_out"]), helper.make_node("Tanh", ["sum_out"], ["each"])],
        "body",
        [value("sum"), value("row")],
        [value("sum_out"), value("each")],
    )
    w.op("Scan", w.constant(np.zeros(18)), rows, out=["total", "steps"], body=body, num_scan_inputs=1)
    w.op("Gemm", w.op("ReduceMean", "steps", axes=[0], keepdims=1), w.weight(18, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": [1, *IMAGE]}, ["z1", "z2"])

    check(path, images(), ["z1", "z2"])


def test_local_functions_are_written_out(tmp_path: Path) -> None:
    """A block that both stages call, and that itself calls another function."""
    domain = "blocks"
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    double = helper.make_function(domain, "Double", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], imports)
    block = helper.make_function(
        domain,
        "Block",
        ["a", "k"],
        ["c"],
        [
            helper.make_node("Conv", ["a", "k"], ["b"], pads=[1, 1, 1, 1]),
            helper.make_node("Double", ["b"], ["c"], domain=domain),
        ],
        imports,
    )
    w = Writer()
    early = w.op("Block", "x", w.weight(4, 3, 3, 3), domain=domain)
    w.head(early, 4, "z1")
    w.head(w.op("Block", early, w.weight(4, 4, 3, 3), domain=domain), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"], functions=[double, block])

    check(path, images(), ["z1", "z2"])


def quantised(w: Writer, x: str, scale: float) -> str:
    """Through int8 and back."""
    arguments = (w.constant(scale), w.constant(0, np.int8))
    return w.op("DequantizeLinear", w.op("QuantizeLinear", x, *arguments), *arguments)


def quantised_conv(w: Writer, x: str, into: int, out: int) -> str:
    weight = w.rng.integers(-127, 127, (out, into, 3, 3)).astype(np.int8)
    scale = w.constant(np.full(out, 1 / (127 * into)))
    kernel = w.op("DequantizeLinear", w.constant(weight, np.int8), scale, w.constant(np.zeros(out), np.int8), axis=0)
    return w.op("Relu", w.op("Conv", quantised(w, x, 0.05), kernel, pads=[1, 1, 1, 1]))


def test_an_int8_network_keeps_its_quantisation(tmp_path: Path) -> None:
    """QDQ pairs on both sides of the cut; a sum that rounds the other way moves a logit by a quantisation step, no more."""
    w = Writer()
    middle = quantised_conv(w, quantised_conv(w, "x", 3, 4), 4, 4)
    w.head(quantised(w, middle, 0.05), 4, "z1")
    late = quantised_conv(w, middle, 4, 4)
    w.head(w.op("Add", quantised(w, late, 0.05), quantised(w, middle, 0.05)), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    check(path, images(), ["z1", "z2"], tolerance=2e-2)


def test_a_float16_network_is_scored_in_float32(tmp_path: Path) -> None:
    """Float16 in, float16 across the cut, float32 logits and scores out."""
    w = Writer(dtype=np.float16)
    middle = w.conv("x", 3, 4)
    path = two_exits(tmp_path, w, middle, "n", element=TensorProto.FLOAT16)

    bundle = check(path, images(dtype=np.float16), ["z1", "z2"], tolerance=1e-2)

    assert "float16" == bundle.manifest.precision
    assert ["float16"] == [t.dtype for t in bundle.manifest.stages[0].boundaries_out]


def test_a_float64_network_gives_float32_logits(tmp_path: Path) -> None:
    """What is beyond float32 is cast at the exits, in the backbone too."""
    w = Writer(dtype=np.float64)
    early = w.op("Relu", w.op("MatMul", w.op("Flatten", "x"), w.weight(108, 8)))
    w.op("MatMul", early, w.weight(8, 3), out="z1")
    w.op("MatMul", w.op("Relu", w.op("MatMul", early, w.weight(8, 8))), w.weight(8, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"], element=TensorProto.DOUBLE)

    check(path, images(dtype=np.float64), ["z1", "z2"])


def test_a_cascade_of_separate_models_shares_only_the_input(tmp_path: Path) -> None:
    """The second model starts again from x: nothing crosses the cut."""
    w = Writer()
    w.head(w.conv("x", 3, 4), 4, "z1")
    w.head(w.conv(w.conv("x", 3, 8), 8, 4), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    bundle = check(path, images(), ["z1", "z2"])

    assert (("x",), ()) == (bundle.manifest.stages[1].inputs, bundle.manifest.stages[1].boundaries_in)


def test_inputs_of_several_kinds_are_given_by_name(tmp_path: Path) -> None:
    """An image, tokens and a flag; the tokens are only read by the second stage."""
    w = Writer()
    early = w.conv("x", 3, 4)
    w.head(early, 4, "z1")
    words = w.op("ReduceMean", w.op("Gather", w.weight(2, 4), "ids"), axes=[1], keepdims=0)
    seen = w.op("Mul", words, w.op("Cast", "known", to=TensorProto.FLOAT))
    flat = w.op("Concat", w.op("Flatten", w.op("GlobalAveragePool", early)), seen, axis=1)
    w.op("Gemm", flat, w.weight(8, 3), out="z2")
    kinds = {"ids": TensorProto.INT64, "known": TensorProto.BOOL}
    inputs: dict[str, list[str | int]] = {"x": ["n", *IMAGE], "ids": ["n", 5], "known": ["n", 1]}
    path = w.save(tmp_path / "m.onnx", inputs, ["z1", "z2"], elements=kinds)

    rng = np.random.default_rng(1)
    samples = {**images(), "ids": rng.integers(0, 2, (4, 5)), "known": rng.integers(0, 2, (4, 1)).astype(bool)}
    bundle = check(path, samples, ["z1", "z2"])

    assert [("x",), ("ids", "known")] == [s.inputs for s in bundle.manifest.stages]


def test_a_learned_score_may_look_at_earlier_exits(tmp_path: Path) -> None:
    """Exit 2's score reads both exits' logits; exit 1's logits then cross the cut."""
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    w.op("Sigmoid", w.op("Gemm", "z1", w.weight(3, 1)), out="h1")
    x = w.conv(x, 4, 4)
    w.head(x, 4, "z2")
    w.op("Sigmoid", w.op("Gemm", w.op("Concat", "z1", "z2", axis=1), w.weight(6, 1)), out="h2")
    w.head(w.conv(x, 4, 4), 4, "z3")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2", "z3", "h1", "h2"])

    bundle = check(path, images(), ["z1", "z2", "z3"], criterion="learned", scores=["h1", "h2"])

    assert "z1" in {t.name for t in bundle.manifest.stages[1].boundaries_in}


def test_a_score_that_needs_a_later_exit_is_refused(tmp_path: Path) -> None:
    """Exit 1's score needs exit 2's logits: leaving at exit 1 could never cost less."""
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    w.head(w.conv(x, 4, 4), 4, "z2")
    w.op("Sigmoid", w.op("Gemm", w.op("Concat", "z1", "z2", axis=1), w.weight(6, 1)), out="h1")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2", "h1"])

    with pytest.raises(ModelError, match=r"the score of exit 1 .'z1'. needs the logits of exit 2 .'z2'."):
        edgeexit.compile(path, tmp_path / "b", exits=["z1", "z2"], criterion="learned", scores=["h1"])


def test_a_batch_whose_dimension_moves_is_fixed_at_one(tmp_path: Path) -> None:
    """A boundary [time, batch, features], as recurrent networks have: rows of leavers cannot be dropped there, so batches go one by one."""
    w = Writer()
    steps = w.op("Transpose", w.op("Reshape", "x", w.constant([-1, 6, 18], np.int64)), perm=[1, 0, 2])
    early = w.op("Tanh", w.op("MatMul", steps, w.weight(18, 4)))
    w.op("Gemm", w.op("ReduceMean", early, axes=[0], keepdims=0), w.weight(4, 3), out="z1")
    late = w.op("Tanh", w.op("MatMul", early, w.weight(4, 4)))
    w.op("Gemm", w.op("ReduceMean", late, axes=[0], keepdims=0), w.weight(4, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    bundle = check(path, images(), ["z1", "z2"])

    assert not bundle.manifest.dynamic_batch


def test_a_batch_whose_samples_see_each_other_is_fixed_at_one(tmp_path: Path) -> None:
    """The mean over the batch is part of the network: three at once give other answers than one by one."""
    w = Writer()
    centred = w.op("Sub", "x", w.op("ReduceMean", "x", axes=[0], keepdims=1))
    path = two_exits(tmp_path, w, w.conv(w.op("Add", centred, "x"), 3, 4), "n")

    bundle = check(path, images(), ["z1", "z2"])

    assert not bundle.manifest.dynamic_batch


def test_nodes_in_any_order_are_put_in_order(tmp_path: Path) -> None:
    """Runtimes do not insist on topological order; the splitter stands on it."""
    w = Writer()
    exits = chain(w, 3)
    w.nodes.reverse()
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, exits)

    check(path, images(), exits)


def test_weights_that_are_also_inputs_are_weights(tmp_path: Path) -> None:
    """As files before IR version 4 have it."""
    w = Writer()
    exits = chain(w, 2)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, exits, opset=11)
    model = onnx.load(str(path))
    model.ir_version = 3
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    onnx.save(model, path)

    assert ["x"] == [s.name for s in read_model(path).inputs]
    check(path, images(), exits)


def test_an_image_of_bytes_is_an_input(tmp_path: Path) -> None:
    """uint8 in, cast in the network."""
    w = Writer()
    x = w.op("Mul", w.op("Cast", "x", to=TensorProto.FLOAT), w.constant(1 / 255))
    path = two_exits(tmp_path, w, w.conv(x, 3, 4), "n", elements={"x": TensorProto.UINT8})

    samples = {"x": np.random.default_rng(0).integers(0, 255, (4, *IMAGE)).astype(np.uint8)}
    check(path, samples, ["z1", "z2"])


def test_a_shape_that_depends_on_values_may_stay_inside_a_stage(tmp_path: Path) -> None:
    """Only what crosses a cut must be of fixed size."""
    w = Writer()
    early = w.conv("x", 3, 4)
    w.head(early, 4, "z1")
    picked = w.op(
        "Compress", early, w.op("Greater", w.op("Reshape", early, w.constant([-1], np.int64)), w.constant(0.1))
    )
    mean = w.op("Reshape", w.op("ReduceMean", picked, keepdims=0), w.constant([1, 1], np.int64))
    w.op("Gemm", mean, w.weight(1, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": [1, *IMAGE]}, ["z1", "z2"])

    check(path, images(), ["z1", "z2"])


@pytest.mark.parametrize("mode", ["staged", "fused"])
def test_a_score_that_is_nan_is_never_sure(tmp_path: Path, mode: str) -> None:
    """The sample goes on to the next exit, even past a threshold that means always; asked for that very exit, it says so."""
    w = Writer()
    early = w.op("Flatten", w.op("GlobalAveragePool", w.op("Log", "x")))
    w.op("Gemm", early, w.weight(3, 3), out="z1")
    w.head(w.conv("x", 3, 4), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)

    with loaded(bundle, mode) as runner:
        runner.thresholds = [np.inf]  # of entropy: always
        assert 1 == runner(np.ones((1, *IMAGE), np.float32)).exit
        assert 2 == runner(-np.ones((1, *IMAGE), np.float32)).exit
        with pytest.raises(InputError, match="score of exit 1 is NaN"):
            runner.forced(-np.ones((1, *IMAGE), np.float32), exit=1)
