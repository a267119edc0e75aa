"""Models that cannot be taken: one clear message each, nothing written, and what there was before untouched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.onnx_writer import Writer, refused, value

IMAGE = (3, 6, 6)


def net(tmp_path: Path, **options: Any) -> Path:
    """A sound network with two exits z1, z2, a score h1 and an output that is neither."""
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    w.op("Gemm", "z1", w.weight(3, 1), out="h1")
    w.head(w.conv(x, 4, 4), 4, "z2")
    w.op("Gemm", "z1", w.weight(3, 2), out="wide")
    return w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2", "h1", "wide"], **options)


def changed(path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(str(path))
    change(model)
    onnx.save(model, path)
    return path


def test_no_file(tmp_path: Path) -> None:
    """Names the path."""
    refused(tmp_path / "none.onnx", "there is no file .*none.onnx")


def test_a_folder(tmp_path: Path) -> None:
    """Says what was wanted."""
    refused(tmp_path, "is not a file; give the .onnx file")


@pytest.mark.parametrize("dims", [[2147483647], [-1], [3]])
def test_a_weight_of_another_size_than_its_shape(tmp_path: Path, dims: list[int]) -> None:
    """Two thousand million indices that are not there kept shape inference busy for minutes."""

    def damage(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer[0]
        del weight.dims[:]
        weight.dims.extend(dims)

    refused(changed(net(tmp_path), damage), "is damaged: weight .* has shape .* numbers")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b"PK\x03\x04" + bytes(range(256)) * 4])
def test_not_an_onnx_file(tmp_path: Path, content: bytes) -> None:
    """Whatever the bytes are."""
    path = tmp_path / "m.onnx"
    path.write_bytes(content)

    refused(path, "is not an ONNX model, or is truncated")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    """Cut anywhere."""
    path = net(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    refused(path, "not an ONNX model|truncated")


@pytest.mark.parametrize("opset", [7, 10, 99])
def test_an_operator_set_that_is_too_old_or_too_new(tmp_path: Path, opset: int) -> None:
    """Names the range."""
    path = changed(net(tmp_path), lambda m: setattr(m.opset_import[0], "version", opset))

    refused(path, f"uses operator set {opset}; supported are 11 to")


def test_fewer_than_two_exits(tmp_path: Path) -> None:
    """Lists the outputs with their shapes."""
    w = Writer()
    w.head(w.conv("x", 3, 4), 4, "z1")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1"])

    refused(path, r"two or more exits .* found 1. Outputs of the model: z1 float32\[batch, 3\]")


def test_an_exit_that_is_no_output(tmp_path: Path) -> None:
    """Suggests the near miss."""
    refused(net(tmp_path), "'z11' is not an output of the model. Did you mean 'z1'", exits=["z11", "z2"])


def test_exits_of_different_widths(tmp_path: Path) -> None:
    """Shows each."""
    w = Writer()
    w.head(w.conv("x", 3, 4), 4, "z1")
    w.op("Gemm", w.op("Flatten", "x"), w.weight(108, 5), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    refused(path, r"same number of classes; found z2 float32\[batch, 5\]; z1 float32\[batch, 3\]")


def test_a_score_of_the_wrong_shape(tmp_path: Path) -> None:
    """Three numbers per sample are no score."""
    refused(net(tmp_path), "a score must be a float output", exits=["z1", "z2"], scores=["wide"])


def test_an_exit_that_is_named_twice(tmp_path: Path) -> None:
    """Each exit once."""
    refused(net(tmp_path), "named more than once", exits=["z1", "z1"])


def test_exits_in_the_wrong_order(tmp_path: Path) -> None:
    """An exit must need something that those before it do not."""
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    w.op("Add", "z1", w.op("Neg", "z1"), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    refused(path, "exit 2 .'z1'. depends only on nodes of earlier exits", exits=["z2", "z1"])


def test_scores_without_exits(tmp_path: Path) -> None:
    """Both or neither."""
    refused(net(tmp_path), "name both", scores=["h1"])


def test_learned_without_scores(tmp_path: Path) -> None:
    """Says where one is missing."""
    refused(
        net(tmp_path), "needs a score output at every early exit; missing at 1", exits=["z1", "z2"], criterion="learned"
    )


def test_metadata_that_is_no_list_of_exits(tmp_path: Path) -> None:
    """Deep, wrong or not JSON at all."""
    for text in ("[", "3", '[{"name": 1}]', "[" * 100_000):
        path = changed(net(tmp_path), lambda m, t=text: helper.set_model_props(m, {"edgeexit.exits": t}))  # type: ignore[misc]
        refused(path, "metadata 'edgeexit.exits' is not a list")


@pytest.mark.parametrize("shape", [[2, *IMAGE], ["n", 3, "h", "w"], []])
def test_inputs_without_fixed_shape(tmp_path: Path, shape: list[Any]) -> None:
    """A batch of 1 or free, everything else fixed."""
    path = net(tmp_path)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    changed(path, lambda m: m.graph.input[0].CopyFrom(value))

    refused(path, "inputs must have a fixed shape")


@pytest.mark.parametrize(
    "element", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.COMPLEX64, TensorProto.FLOAT8E4M3FN]
)
def test_inputs_that_numpy_does_not_hold(tmp_path: Path, element: int) -> None:
    """Text, bfloat16 and eight-bit floats are cast inside the model."""
    path = changed(net(tmp_path), lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", element))

    refused(path, "inputs must have a dtype that NumPy supports")


def test_an_input_of_a_terabyte(tmp_path: Path) -> None:
    """Refused before anything of that size is made."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2**20, 2**20])
    path = changed(net(tmp_path), lambda m: m.graph.input[0].CopyFrom(value))

    refused(path, "an input may hold up to 1024 MiB")


def test_a_bfloat16_network_says_what_the_runtime_says(tmp_path: Path) -> None:
    """ONNX Runtime has no bfloat16 convolutions on CPU: refused with its reason, unless it learns them."""
    w = Writer()
    x = w.op("Cast", "x", to=TensorProto.BFLOAT16)
    for k in (1, 2):
        weight = w.op("Cast", w.weight(4, 3 if k == 1 else 4, 3, 3), to=TensorProto.BFLOAT16)
        x = w.op("Conv", x, weight, pads=[1, 1, 1, 1])
        w.head(w.op("Cast", x, to=TensorProto.FLOAT), 4, f"z{k}")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"])

    refused(path, "ONNX Runtime .* cannot take the model")


def test_an_input_that_is_called_as_the_fused_form_calls_its_own(tmp_path: Path) -> None:
    """Names of the interface of the fused file cannot mean two things."""
    w = Writer()
    x = w.conv("score", 3, 4)
    w.head(x, 4, "z1")
    w.head(w.conv(x, 4, 4), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"score": ["n", *IMAGE]}, ["z1", "z2"])

    refused(path, "rename them in the model")


def test_sparse_weights(tmp_path: Path) -> None:
    """Says what to do."""
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "at"), [4])
    path = changed(net(tmp_path), lambda m: m.graph.sparse_initializer.append(sparse))

    refused(path, "sparse weights")


def test_nodes_that_read_each_other(tmp_path: Path) -> None:
    """A circle is no order."""

    def tie(model: onnx.ModelProto) -> None:
        first = model.graph.node[0]
        first.input[0] = model.graph.node[1].output[0]

    refused(changed(net(tmp_path), tie), "read each other in a circle")


def test_functions_that_call_themselves(tmp_path: Path) -> None:
    """Cannot be written out."""
    domain = "loop"
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(domain, 1)]
    body = [helper.make_node("Again", ["a"], ["b"], domain=domain)]
    again = helper.make_function(domain, "Again", ["a"], ["b"], body, imports)
    w = Writer()
    x = w.op("Again", "x", domain=domain)
    w.head(x, 3, "z1")
    w.head(w.conv(x, 3, 4), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"], functions=[again])

    refused(path, "local functions|cannot take the model")


def test_an_operator_that_nobody_knows(tmp_path: Path) -> None:
    """The runtime's reason is passed on."""
    path = changed(net(tmp_path), lambda m: setattr(m.graph.node[0], "op_type", "Frobnicate"))

    refused(path, "ONNX Runtime .* cannot take the model.*Frobnicate")


OUTSIDE = {
    "climbs": {"location": "../w.bin"},
    "absolute": {"location": "/etc/passwd"},
    "nul": {"location": "a\0b"},
    "nowhere": {"location": ""},
    "missing": {"location": "none.bin", "length": "16"},
    "short": {"location": "w.bin", "length": "1000000"},
    "negative": {"location": "w.bin", "offset": "-4"},
    "word": {"location": "w.bin", "length": "many"},
    "link": {"location": "link.bin", "length": "16"},
}


@pytest.mark.parametrize("kind", OUTSIDE)
def test_weights_that_lie_in_the_wrong_place(tmp_path: Path, kind: str) -> None:
    """External data stays inside the folder of the model, and is as long as it says."""
    folder = tmp_path / "model"
    folder.mkdir()
    path = net(folder)
    (folder / "w.bin").write_bytes(b"\0" * 16)
    (tmp_path / "w.bin").write_bytes(b"\0" * 10_000)
    (folder / "link.bin").symlink_to(tmp_path / "w.bin")

    def point(model: onnx.ModelProto) -> None:
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        for key, text in OUTSIDE[kind].items():
            weight.external_data.add(key=key, value=text)

    model = onnx.load(str(path))
    point(model)
    path.write_bytes(model.SerializeToString())

    refused(path, "outside the model's folder|is missing or shorter|must be whole numbers")


def test_an_if_without_the_branch_that_its_condition_chooses_is_refused(tmp_path: Path) -> None:
    """The condition is known, so the branch would take the place of the If."""
    w = Writer()
    early = w.conv("x", 3, 4)
    w.head(early, 4, "z1")
    branches = {
        name: helper.make_graph([helper.make_node("Relu", [early], ["r"])], name, [], [value("r")])
        for name in ("then_branch", "has no else_branch")
    }
    channels = w.op("Gather", w.op("Shape", early), w.constant(1, np.int64))
    w.head(w.op("If", w.op("Equal", channels, w.constant(5, np.int64)), **branches), 4, "z2")

    def drop(model: onnx.ModelProto) -> None:
        [node] = [n for n in model.graph.node if n.op_type == "If"]
        kept = [a for a in node.attribute if a.name != "else_branch"]
        del node.attribute[:]
        node.attribute.extend(kept)
        ends = [helper.make_tensor_value_info(o.name, TensorProto.FLOAT, ["n", 3]) for o in model.graph.output]
        del model.graph.output[:]
        model.graph.output.extend(ends)

    path = changed(w.save(tmp_path / "m.onnx", {"x": ["n", *IMAGE]}, ["z1", "z2"]), drop)

    refused(path, "has no else_branch")
