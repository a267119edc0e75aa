"""Damage that once ended Python in a traceback, or ONNX Runtime in a crash, ends in one message."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.errors import BundleError, ModelError
from edgeexit.graph import read_model
from edgeexit.graph.damage import find_damage
from tests.networks import chain, images
from tests.support.manifests import write_manifest
from tests.support.onnx_writer import Writer, check


def with_function(folder: Path) -> Path:
    """A model whose block is a local function."""
    nodes = [helper.make_node("Softplus", ["a"], ["inside"]), helper.make_node("Add", ["a", "inside"], ["c"])]
    block = helper.make_function("blocks", "Block", ["a"], ["c"], nodes, [helper.make_opsetid("", 17)])
    w = Writer()
    x = w.op("Block", "x", domain="blocks")
    w.head(x, 3, "z1")
    w.head(w.conv(x, 3, 4), 4, "z2")
    return w.save(folder / "m.onnx", {"x": ["n", 3, 8, 8]}, ["z1", "z2"], functions=[block])


@pytest.mark.parametrize("name", [b"Softplus", b"inside", b"Block", b"blocks", b"z1", b"n0"])
def test_a_name_that_is_not_utf8_is_reported_wherever_it_stands(tmp_path: Path, name: bytes) -> None:
    """In a graph or in a local function; protobuf hands it over as bytes."""
    path = with_function(tmp_path)
    content = path.read_bytes()
    assert name in content
    path.write_bytes(content.replace(name, name[:-1] + b"\xff"))

    with pytest.raises(ModelError, match=r"not an ONNX model.*UTF-8|truncated"):
        read_model(path)


def left_out(path: Path, op_type: str) -> None:
    """Empty the last input of the first such node."""
    model = onnx.load(str(path), load_external_data=False)
    node = next(n for n in model.graph.node if n.op_type == op_type)
    node.input[-1] = ""
    onnx.save(model, str(path))


@pytest.mark.parametrize("op_type", ["Conv", "Relu", "Gemm"])
def test_an_input_that_an_operator_needs_is_missed(tmp_path: Path, op_type: str) -> None:
    """By node, operator and place."""
    path = chain(tmp_path / "m.onnx")
    left_out(path, op_type)

    with pytest.raises(ModelError, match=rf"node '.*' \({op_type}\) lacks its input \d"):
        read_model(path)


def test_a_stage_that_would_end_the_process_is_not_opened(tmp_path: Path) -> None:
    """ONNX Runtime takes a `Max` without its second input and dies running it; the manifest vouches for the file."""
    bundle = edgeexit.compile(chain(tmp_path / "m.onnx"), tmp_path / "b.eexit", seconds=0)
    name = bundle.manifest.stages[1].file
    left_out(bundle.file(name), "Max")
    content = bundle.file(name).read_bytes()
    manifest = bundle.path / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    write_manifest(manifest.parent, document)

    with pytest.raises(BundleError, match=r"is damaged: node .* \(Max\) lacks its input 1. Compile the bundle again"):
        Bundle.open(bundle.path)


def test_inputs_that_may_be_left_out_are_not_missed(tmp_path: Path) -> None:
    """A resize by scales names no region, a clip no lower end; an operator that ONNX does not define may do as it likes."""
    w = Writer()
    x = w.op("Resize", "x", "", w.constant([1.0, 1.0, 2.0, 2.0]))
    x = w.op("Clip", x, "", w.constant(0.5))
    w.head(x, 3, "z1")
    w.head(w.conv(x, 3, 4), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 3, 8, 8]}, ["z1", "z2"])

    check(path, {"x": images(3)}, ["z1", "z2"])
    strange = helper.make_node("Anything", ["", "x"], ["y"], domain="own")

    assert find_damage(helper.make_model(helper.make_graph([strange], "g", [], []))) is None
