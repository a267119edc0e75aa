"""Files as exporters and converters write them: what ONNX leaves open is taken as ONNX Runtime takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import edgeexit
from edgeexit.errors import ModelError
from edgeexit.graph import find_exits, read_model
from tests.support.onnx_writer import Array, Writer, assert_close, check, loaded, original

WIDTH = 8


def dense(w: Writer, x: str, into: int = WIDTH, out: int = WIDTH) -> str:
    return w.op("Tanh", w.op("MatMul", x, w.weight(into, out)))


def two_heads(w: Writer) -> None:
    a = dense(w, "x")
    w.op("MatMul", a, w.weight(WIDTH, 3), out="z1")
    w.op("MatMul", dense(w, a), w.weight(WIDTH, 3), out="z2")


def samples() -> dict[str, Array]:
    return {"x": np.random.default_rng(0).standard_normal((4, WIDTH)).astype(np.float32)}


def saved(folder: Path, w: Writer, outputs: list[str], **options: Any) -> Path:
    return w.save(folder / "m.onnx", {"x": ["n", WIDTH]}, outputs, **options)


def outside(path: Path, **place: str) -> None:
    """Move weights of a kilobyte and more into one file; of their places only the offset is written."""
    model, data = onnx.load(str(path)), b""
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) >= 1024:
            entries = {"location": "w.bin", "offset": str(len(data)), **place}
            data += tensor.raw_data
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
    (path.parent / "w.bin").write_bytes(data)
    onnx.save(model, str(path))


def test_weights_outside_need_no_length(tmp_path: Path) -> None:
    """It follows from shape and element type; several lie behind each other."""
    w = Writer()
    a = dense(w, dense(w, "x", WIDTH, 400), 400)
    w.op("MatMul", a, w.weight(WIDTH, 3), out="z1")
    w.op("MatMul", dense(w, dense(w, a, WIDTH, 300), 300), w.weight(WIDTH, 3), out="z2")
    path = saved(tmp_path, w, ["z1", "z2"])
    outside(path)

    check(path, samples(), ["z1", "z2"])


def test_weights_outside_that_end_early_are_told(tmp_path: Path) -> None:
    """Without a length, too."""
    w = Writer()
    a = dense(w, dense(w, "x", WIDTH, 400), 400)
    w.op("MatMul", a, w.weight(WIDTH, 3), out="z1")
    w.op("MatMul", dense(w, a), w.weight(WIDTH, 3), out="z2")
    path = saved(tmp_path, w, ["z1", "z2"])
    outside(path)
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.bin").read_bytes()[:-4])

    with pytest.raises(ModelError, match="missing or shorter than 25600 bytes"):
        read_model(path)


@pytest.mark.parametrize("kind", ["sequence", "map"])
def test_an_output_that_is_no_tensor_is_passed_over(kind: str, tmp_path: Path) -> None:
    """As some converters add; named as an exit, the message says what it is."""
    w = Writer()
    two_heads(w)
    path = saved(tmp_path, w, ["z1", "z2"])
    model = onnx.load(str(path))
    if kind == "sequence":
        model.graph.node.append(helper.make_node("SequenceConstruct", ["z1", "z2"], ["s"]))
        model.graph.output.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))
    else:
        labels: dict[str, Any] = {"classlabels_int64s": [0, 1, 2]}
        model.graph.node.append(helper.make_node("ZipMap", ["z2"], ["s"], domain="ai.onnx.ml", **labels))
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
        mapped = model.graph.output.add(name="s").type.sequence_type.elem_type.map_type
        mapped.key_type = TensorProto.INT64
        mapped.value_type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, str(path))

    check(path, samples(), ["z1", "z2"])
    assert ["z1", "z2"] == [e.logits for e in find_exits(read_model(path))]
    with pytest.raises(ModelError, match="'s' of the model is not a tensor"):
        find_exits(read_model(path), ["z1", "s"])


def test_probabilities_beside_logits_are_no_exits_of_their_own(tmp_path: Path) -> None:
    """Unless they are named."""
    w = Writer()
    two_heads(w)
    w.op("Softmax", "z1", out="p1", axis=-1)
    w.op("Softmax", "z2", out="p2", axis=-1)
    path = saved(tmp_path, w, ["z1", "p1", "z2", "p2"])

    assert ["z1", "z2"] == [e.logits for e in find_exits(read_model(path))]
    assert ["p1", "p2"] == [e.logits for e in find_exits(read_model(path), ["p1", "p2"])]


def test_as_many_exits_as_a_file_can_nest(tmp_path: Path) -> None:
    """Thirty-two; one more is refused with the number."""
    for exits in (32, 33):
        w = Writer()
        x, names = "x", []
        for k in range(exits):
            x = dense(w, x)
            names.append(w.op("MatMul", x, w.weight(WIDTH, 3), out=f"z{k}"))
        path = w.save(tmp_path / f"{exits}.onnx", {"x": ["n", WIDTH]}, names)
        if exits == 32:
            check(path, {"x": samples()["x"][:1]}, names)
        else:
            with pytest.raises(ModelError, match=r"33 exits, .* exceed ONNX's nesting limit: .* may have 32"):
                edgeexit.compile(path, tmp_path / "b", exits=names, seconds=0)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([("z1", None), ("", None)], "'' is not an output of the model"),
        ([("z1", 0), ("z2", 0)], "is not a list of name, logits and score"),
        ([("z1", []), ("z2", None)], "is not a list of name, logits and score"),
        ([("z1", ""), ("z2", "")], "needs a score output at every early exit"),
    ],
)
def test_metadata_that_names_nothing_is_reported(entries: list[tuple[str, Any]], told: str, tmp_path: Path) -> None:
    """Written by another tool, say."""
    w = Writer()
    two_heads(w)
    path = saved(tmp_path, w, ["z1", "z2"])
    model = onnx.load(str(path))
    table = [{"name": f"e{k}", "logits": logits, "score": score} for k, (logits, score) in enumerate(entries)]
    helper.set_model_props(model, {"edgeexit.exits": json.dumps(table)})
    onnx.save(model, str(path))

    with pytest.raises(ModelError, match=told):
        edgeexit.compile(path, tmp_path / "b", criterion="learned", seconds=0)


def test_exits_that_are_named_keep_the_scores_that_the_metadata_has_for_them(tmp_path: Path) -> None:
    """So that an exit can be left out without naming every score anew."""
    w = Writer()
    x, table = "x", []
    for k in (1, 2, 3):
        x = dense(w, x)
        w.op("MatMul", x, w.weight(WIDTH, 3), out=f"z{k}")
        w.op("Sigmoid", w.op("MatMul", x, w.weight(WIDTH, 1)), out=f"h{k}")
        table.append({"name": f"e{k}", "logits": f"z{k}", "score": f"h{k}"})
    path = saved(tmp_path, w, ["z1", "z2", "z3", "h1", "h2", "h3"])
    model = onnx.load(str(path))
    helper.set_model_props(model, {"edgeexit.exits": json.dumps(table)})
    onnx.save(model, str(path))

    bundle = check(path, samples(), ["z1", "z3"], criterion="learned")

    with loaded(bundle, "staged") as runner:
        expected = [h for [h] in original(path, ["h1"], samples())]
        assert_close(
            np.stack(expected)[:, 0, 0], np.array([runner.forced(x[None], exit=1).score for x in samples()["x"]]), 1e-5
        )


def test_an_exit_without_a_name_is_reported(tmp_path: Path) -> None:
    """As any other that is no output."""
    w = Writer()
    two_heads(w)

    with pytest.raises(ModelError, match="'' is not an output of the model"):
        edgeexit.compile(saved(tmp_path, w, ["z1", "z2"]), tmp_path / "b", exits=["z1", ""], seconds=0)


def test_a_weight_is_no_exit(tmp_path: Path) -> None:
    """It answers alike for every sample."""
    w = Writer()
    w.constant(np.ones((1, 3)))
    two_heads(w)
    path = w.save(tmp_path / "m.onnx", {"x": [1, WIDTH]}, ["w0", "z2"])

    with pytest.raises(ModelError, match=r"exit 1 \('w0'\) does not depend on the input"):
        edgeexit.compile(path, tmp_path / "b", exits=["w0", "z2"], seconds=0)


@pytest.mark.parametrize(
    "suffix", [".json", ".onnxjson", ".txtpb", ".textproto", ".prototxt", ".pbtxt", ".onnxtxt", ".onnx", ""]
)
@pytest.mark.parametrize(
    "content",
    [
        b'{"schema": "edgeexit.bench/1"}',
        b"\x00\xffgarbage{{{",
        b"[" * 50_000,
        b"",
        b"{}",
        # The parser of textual models has a RuntimeError for a number beyond a float.
        b"<ir_version: 8> g (float[1] x) => (float[1] y) { y = A <a: float = 1e999> (x) }",
    ],
)
@pytest.mark.filterwarnings("ignore:The onnxtxt format is experimental")
def test_a_file_that_is_no_model_is_a_model_error_whatever_its_name_ends_in(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    """ONNX chooses among its formats by the ending, and each parser has errors of its own."""
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not an ONNX model") as refused:
        read_model(path)

    assert len(str(refused.value)) < 600, "a parser may quote the whole file"


@pytest.mark.parametrize("suffix", [".json", ".textproto", ".onnxtxt"])
@pytest.mark.filterwarnings("ignore:The onnxtxt format is experimental")
def test_a_model_in_a_text_format_is_read(tmp_path: Path, suffix: str) -> None:
    """As onnx.save writes it under such a name."""
    w = Writer()
    two_heads(w)
    path = tmp_path / f"m{suffix}"
    onnx.save(onnx.load(str(saved(tmp_path, w, ["z1", "z2"]))), str(path))

    assert ["z1", "z2"] == [e.logits for e in find_exits(read_model(path))]
