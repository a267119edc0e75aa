"""The bridge to the blocked layout: put where a residual block lies behind a cut, and never changes a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import edgeexit
from edgeexit.backends import Settings
from edgeexit.backends.onnxruntime.sessions import make_session_options
from edgeexit.bundle import Bundle
from edgeexit.graph.layout import insert_layout_pools_in_model, remove_layout_pools
from tests.support.onnx_writer import Writer, check


def residual(folder: Path, width: int = 16, blocks: int = 3) -> tuple[Path, list[str]]:
    """A cut in front of residual blocks."""
    w = Writer()
    x = w.conv("x", 3, width)
    w.head(x, width, "z1")
    for _ in range(blocks):
        y = w.op("Conv", w.conv(x, width, width), w.weight(width, width, 3, 3), pads=[1, 1, 1, 1])
        x = w.op("Relu", w.op("Add", y, x))
    w.head(x, width, "z2")
    return w.save(folder / "m.onnx", {"x": ["n", 3, 8, 8]}, ["z1", "z2"]), ["z1", "z2"]


def optimised(model: onnx.ModelProto, bundle: Bundle, folder: Path) -> list[str]:
    """Kinds of the nodes that ONNX Runtime really runs."""
    options = make_session_options(Settings(), batch_1=True)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle.path))
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [n.op_type for n in onnx.load(options.optimized_model_filepath, load_external_data=False).graph.node]


def test_residual_blocks_behind_a_cut_stay_on_the_blocked_layout(tmp_path: Path) -> None:
    """Without the bridge every sum is done on the plain layout, with two reorders around it."""
    path, _ = residual(tmp_path)
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)
    entry = bundle.manifest.stages[1]
    model = onnx.load(str(bundle.file(entry.file)), load_external_data=False)
    before = optimised(model, bundle, tmp_path)
    if "ReorderInput" not in before:
        pytest.skip("this processor has no blocked layout in ONNX Runtime")

    assert insert_layout_pools_in_model(model, entry.boundaries_in)
    after = optimised(model, bundle, tmp_path)

    assert before.count("ReorderInput") > after.count("ReorderInput")
    assert 0 == after.count("Add")


def test_a_bridged_network_gives_the_same_answers(tmp_path: Path) -> None:
    """In both modes, against the file as it was given."""
    path, exits = residual(tmp_path)
    samples = {"x": np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)}

    bundle = check(path, samples, exits)

    fused = onnx.load(str(bundle.file(bundle.manifest.fused)), load_external_data=False).SerializeToString()
    assert b"kernel_shape" in fused  # only the bridges have one


def test_bridges_are_taken_out_again_for_other_runtimes(tmp_path: Path) -> None:
    """Also inside branches; the answers stay."""
    path, _ = residual(tmp_path)
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)
    model = onnx.load(str(bundle.file(bundle.manifest.fused)))
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    feeds["threshold_1"] = np.asarray(np.inf, np.float32)
    before = ort.InferenceSession(model.SerializeToString()).run(None, feeds)

    remove_layout_pools(model.graph)

    assert b"kernel_shape" not in model.SerializeToString()
    after = ort.InferenceSession(model.SerializeToString()).run(None, feeds)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(before, after, strict=True))


def test_channels_that_make_no_blocks_get_no_bridge(tmp_path: Path) -> None:
    """It would only cost a copy."""
    path, exits = residual(tmp_path, width=12)
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", exits=exits, seconds=0)
    entry = bundle.manifest.stages[1]

    assert not insert_layout_pools_in_model(
        onnx.load(str(bundle.file(entry.file)), load_external_data=False), entry.boundaries_in
    )


def test_a_boundary_that_nothing_is_added_to_gets_no_bridge(tmp_path: Path) -> None:
    """A plain chain reorders once, as it must."""
    w = Writer()
    x = w.conv("x", 3, 16)
    w.head(x, 16, "z1")
    w.head(w.conv(w.conv(x, 16, 16), 16, 16), 16, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 3, 8, 8]}, ["z1", "z2"])
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", seconds=0)
    entry = bundle.manifest.stages[1]

    assert not insert_layout_pools_in_model(
        onnx.load(str(bundle.file(entry.file)), load_external_data=False), entry.boundaries_in
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 3.4e38, 1e-42])
def test_a_pool_of_one_place_is_the_identity(value: float) -> None:
    """For what is no number, too: a maximum would hide NaN."""
    x = onnx.helper.make_tensor_value_info("x", 1, [1, 16, 2, 2])
    y = onnx.helper.make_tensor_value_info("y", 1, [1, 16, 2, 2])
    pool = onnx.helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[1, 1])
    graph = onnx.helper.make_graph([pool], "pool", [x], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.full((1, 16, 2, 2), value, np.float32)

    [found] = session.run(None, {"x": given})

    np.testing.assert_array_equal(given, found)
