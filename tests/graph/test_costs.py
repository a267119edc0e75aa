"""What a stage costs on paper, and when an exit or a cut cannot pay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgeexit
from edgeexit.bundle import Bundle, ModeTiming
from edgeexit.compiler.output_kinds import OutputWarning
from edgeexit.errors import InputError
from edgeexit.graph import read_model
from edgeexit.graph.cost import find_uncounted_tensors
from edgeexit.report.doubts import compute_break_even_share, cut_bytes, find_unprofitable_exits
from tests.support.onnx_writer import Writer


def compiled(tmp_path: Path, w: Writer, exits: list[str], side: int = 8, batch: str | int = "n") -> Bundle:
    path = w.save(tmp_path / "m.onnx", {"x": [batch, 3, side, side]}, exits)
    return edgeexit.compile(path, tmp_path / "b.eexit", exits=exits, seconds=0)


def plain(w: Writer, widths: list[int]) -> list[str]:
    x, channels, exits = "x", 3, []
    for k, width in enumerate(widths, 1):
        x, channels = w.conv(x, channels, width), width
        exits.append(w.head(x, channels, f"z{k}"))
    return exits


def test_multiply_accumulates_are_those_of_convolutions_and_products(tmp_path: Path) -> None:
    """By hand: 64 places × 3·3·3 × 4, and a head of 4·3; weights are counted where they are read."""
    w = Writer()
    bundle = compiled(tmp_path, w, plain(w, [4, 8]))

    first, second = bundle.manifest.stages
    assert (64 * 27 * 4 + 4 * 3, 4 * 3) == (first.macs, first.head_macs)
    assert (27 * 4 + 4 * 3, 4 * (27 * 4 + 4 * 3)) == (first.parameters, first.weight_bytes)
    assert 64 * 36 * 8 + 8 * 3 == second.macs


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_are_counted(tmp_path: Path, kind: str) -> None:
    """Steps × gates × hidden × (inputs + hidden)."""
    gates, hidden = {"LSTM": 4, "GRU": 3}[kind], 5
    w = Writer()
    steps = w.op("Transpose", w.op("Reshape", "x", w.constant([-1, 8, 24], np.int64)), perm=[1, 0, 2])
    weights = (w.weight(1, gates * hidden, 24), w.weight(1, gates * hidden, hidden))
    w.op(kind, steps, *weights, out=["all", "last"], hidden_size=hidden)
    w.op("Gemm", w.op("Squeeze", "last", w.constant([0], np.int64)), w.weight(hidden, 3), out="z1")
    w.head(w.conv("x", 3, 4), 4, "z2")

    bundle = compiled(tmp_path, w, ["z1", "z2"])

    assert 8 * gates * hidden * (24 + hidden) + hidden * 3 == bundle.manifest.stages[0].macs


def test_what_crosses_a_cut_counts_long_skips(tmp_path: Path) -> None:
    """A tensor that stage 1 makes and stage 3 reads is alive at both cuts."""
    w = Writer()
    skip = x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    x = w.conv(x, 4, 8)
    w.head(x, 8, "z2")
    w.head(w.op("Concat", x, skip, axis=1), 12, "z3")
    bundle = compiled(tmp_path, w, ["z1", "z2", "z3"])

    assert [64 * 4 * 4, 64 * (4 + 8) * 4] == [cut_bytes(bundle.manifest, k) for k in (1, 2)]


def test_a_head_heavier_than_the_rest_is_doubted(tmp_path: Path) -> None:
    """Even if every sample left there, nothing would be saved; a light head on the same trunk is fine."""
    w = Writer()
    x = w.conv("x", 3, 8)
    w.head(w.conv(w.conv(x, 8, 32), 32, 32), 32, "z1")
    w.head(w.conv(x, 8, 8), 8, "z2")
    heavy = compiled(tmp_path, w, ["z1", "z2"]).manifest

    assert 1.0 == compute_break_even_share(heavy, 1)
    assert any("exit 1 (exit1) costs" in d and "it cannot pay" in d for d in find_unprofitable_exits(heavy))


def test_auxiliary_exits_after_the_last_one_name_the_option_that_orders_them(tmp_path: Path) -> None:
    """As networks do whose forward returns their answer first; in the order of the network nothing is doubted."""
    w = Writer()
    first = w.conv("x", 3, 8)
    second = w.conv(first, 8, 16)
    w.head(w.conv(second, 16, 16), 16, "answer")
    w.head(second, 16, "aux2")
    w.head(first, 8, "aux1")
    doubts = find_unprofitable_exits(compiled(tmp_path, w, ["answer", "aux2", "aux1"]).manifest)

    assert any("exit 1 (exit1) costs" in d and "--exits, the earliest first" in d for d in doubts)
    assert () == find_unprofitable_exits(compiled(tmp_path, w, ["aux1", "aux2", "answer"]).manifest)


def test_a_cut_that_moves_more_than_it_saves_is_doubted(tmp_path: Path) -> None:
    """A large feature map before a last layer of a few hundred multiply-accumulates."""
    w = Writer()
    x = w.conv("x", 3, 16)
    w.head(x, 16, "z1")
    w.head(w.op("Relu", w.op("Add", x, x)), 16, "z2")
    manifest = compiled(tmp_path, w, ["z1", "z2"]).manifest

    assert any("the cut after exit 1 (exit1) moves 4.00 KiB" in d for d in find_unprofitable_exits(manifest))


def test_an_exit_that_was_measured_slower_than_the_backbone_is_doubted(tmp_path: Path) -> None:
    """The device has the last word, in the mode that is used."""
    w = Writer()
    manifest = compiled(tmp_path, w, plain(w, [8, 16, 32])).manifest
    assert () == find_unprofitable_exits(manifest)

    timed = replace(
        manifest, timings={"here": ModeTiming((9e-6, 20e-6, 30e-6), (9e-6, 9e-6, 9e-6), "staged", "", 15e-6)}
    )

    [doubt] = find_unprofitable_exits(timed)
    assert doubt.startswith("leaving at exit 2 (exit2) takes 20.0 µs on here, the backbone without exits 15.0 µs")


def test_an_exit_before_which_a_much_deeper_one_stands_has_its_order_questioned(tmp_path: Path) -> None:
    """As where a network lists its main exit first and the auxiliary one behind it; both outputs are named."""
    w = Writer()
    a = w.op("Relu", w.op("MatMul", "x", w.weight(8, 8)))
    b = w.op("Relu", w.op("MatMul", w.op("MatMul", a, w.weight(8, 64)), w.weight(64, 8)))
    w.op("MatMul", b, w.weight(8, 4), out="main")
    w.op("MatMul", a, w.weight(8, 4), out="aux")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 8]}, ["main", "aux"])

    wrong = edgeexit.compile(path, tmp_path / "w.eexit", exits=["main", "aux"], seconds=0).manifest
    right = edgeexit.compile(path, tmp_path / "r.eexit", seconds=0).manifest

    assert any("is the order of the exits right? It is main, aux" in d for d in find_unprofitable_exits(wrong))
    assert not any("order" in d for d in find_unprofitable_exits(right))
    assert ["aux", "main"] == [stage.output for stage in right.stages]


def optimised(tmp_path: Path) -> Path:
    """Two exits behind operators of ONNX Runtime's own, at which ONNX's shape inference stops."""
    w = Writer()
    a = w.op("Gelu", w.op("MatMul", "x", w.weight(8, 16)), domain="com.microsoft")
    w.op("MatMul", a, w.weight(16, 4), out="z1")
    b = w.op("Gelu", w.op("MatMul", a, w.weight(16, 16)), domain="com.microsoft")
    w.op("MatMul", b, w.weight(16, 4), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 8]}, ["z1", "z2"])
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    return path


def test_costs_behind_operators_of_the_runtime_are_counted_from_a_run(tmp_path: Path) -> None:
    """As in a model that ONNX Runtime has optimised and saved."""
    bundle = edgeexit.compile(optimised(tmp_path), tmp_path / "b.eexit", criterion="running_mean", seconds=0)

    assert [8 * 16 + 16 * 4, 16 * 16 + 16 * 4] == [stage.macs for stage in bundle.manifest.stages]


def test_a_criterion_that_weighs_by_costs_says_where_there_are_none(tmp_path: Path) -> None:
    """It then weighs all exits alike."""
    w = Writer()
    a = w.op("Einsum", "x", w.weight(8, 8), equation="ab,bc->ac")
    w.op("MatMul", a, w.weight(8, 4), out="z1")
    w.op("MatMul", w.op("Relu", a), w.weight(8, 4), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 8]}, ["z1", "z2"])

    with pytest.warns(OutputWarning, match="running_mean weighs all exits alike"):
        edgeexit.compile(path, tmp_path / "b.eexit", criterion="running_mean", seconds=0)


def test_subnormal_activations_are_warned_about_and_can_be_flushed(tmp_path: Path) -> None:
    """Weights that decayed to 1e-22 make them; some CPUs are slow with them."""
    w = Writer()
    a = w.op("Mul", w.op("MatMul", "x", w.weight(8, 8)), w.constant(1e-22))
    w.op("MatMul", a, w.weight(8, 4), out="z1")
    b = w.op("MatMul", a, w.op("Mul", w.weight(8, 8), w.constant(1e-22)))
    w.op("MatMul", b, w.weight(8, 4), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 8]}, ["z1", "z2"])

    with pytest.warns(OutputWarning, match=r"subnormal.*--options denormal_as_zero=1"):
        edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)
    with pytest.raises(InputError, match=r"no option named 'denormals_as_zero'\. Did you mean 'denormal_as_zero'"):
        edgeexit.load(tmp_path / "b.eexit", options="denormals_as_zero=1")


@pytest.mark.parametrize("op_type", ["MatMul", "Gemm", "Conv", "ConvTranspose"])
def test_a_node_with_too_few_inputs_has_no_tensors_to_count(op_type: str, tmp_path: Path) -> None:
    """A damaged file is read before it is checked; what cannot be counted raises nothing."""
    node = helper.make_node(op_type, ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y"))
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x], [y])), tmp_path / "m.onnx")

    assert () == find_uncounted_tensors(read_model(tmp_path / "m.onnx"))
