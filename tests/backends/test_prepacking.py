"""Weights are packed where that was seen to make a network faster, and left as they lie elsewhere."""

from __future__ import annotations

import platform
from pathlib import Path

import onnx

import edgeexit
from edgeexit.backends.onnxruntime.prepacking import should_pack_weights
from tests.support.onnx_writer import Writer


def fused_graph(path: Path, folder: Path) -> onnx.GraphProto:
    """The fused mode of a network."""
    bundle = edgeexit.compile(path, folder / "b.eexit", seconds=0)
    return onnx.load(str(bundle.file(bundle.manifest.fused)), load_external_data=False).graph


def test_a_network_of_convolutions_and_classifiers_gains_nothing_by_packed_weights(tmp_path: Path) -> None:
    """Where that was timed: on other processors packing is taken to pay."""
    w = Writer()
    x = w.conv("x", 3, 16)
    w.head(x, 16, "z1")
    w.head(w.conv(x, 16, 16), 16, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 3, 8, 8]}, ["z1", "z2"])

    measured = platform.machine().lower() in ("x86_64", "amd64")

    assert should_pack_weights(fused_graph(path, tmp_path)) is not measured


def test_products_of_many_rows_are_packed_however_deep_in_branches_they_lie(tmp_path: Path) -> None:
    """The last stage of the fused mode lies in an If inside an If."""
    w = Writer()
    x = w.conv("x", 3, 4)
    w.head(x, 4, "z1")
    x = w.conv(x, 4, 4)
    w.head(x, 4, "z2")
    w.head(w.op("MatMul", x, w.weight(8, 8)), 4, "z3")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 3, 8, 8]}, ["z1", "z2", "z3"])

    assert should_pack_weights(fused_graph(path, tmp_path))
