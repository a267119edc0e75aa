"""The self-test of the ways to decide on a GPU, for networks whose scores are not numbers for some inputs."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeexit
from edgeexit.backends import Settings, find_backend
from edgeexit.backends.cuda.choice import fill_random, find_disagreement
from edgeexit.backends.cuda.deciders import DeviceDecider, GraphDecider, HostDecider
from edgeexit.backends.tensorrt import DeciderWarning
from edgeexit.bundle import Bundle
from tests.support.simulated import Gpu, installed


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two exits; the score of the first is the share of the largest value in the sum: 0/0 for zeros."""
    folder = tmp_path_factory.mktemp("share")
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["z1"]),
        helper.make_node("ReduceMax", ["x"], ["largest"], axes=[1], keepdims=1),
        helper.make_node("ReduceL1", ["x"], ["sum"], axes=[1], keepdims=1),
        helper.make_node("Div", ["largest", "sum"], ["h1"]),
        helper.make_node("MatMul", ["z1", "w2"], ["z2"]),
    ]
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 4), "w2": (4, 4)}
    weights = [numpy_helper.from_array(rng.random(shape).astype(np.float32), name) for name, shape in shapes.items()]
    widths = {"z1": 4, "z2": 4, "h1": 1}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n]) for name, n in widths.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])
    graph = helper.make_graph(nodes, "g", [x], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return edgeexit.compile(
        folder / "m.onnx", folder / "b", criterion="learned", exits=["z1", "z2"], scores=["h1"], seconds=0
    )


@pytest.mark.parametrize("integrated", [True, False])
def test_a_score_that_is_nan_for_zeros_keeps_no_decider_from_being_used(bundle: Bundle, integrated: bool) -> None:
    """Buffers hold zeros when they are made; the self-test runs on random values instead."""
    with installed(Gpu(integrated=integrated)), warnings.catch_warnings():
        warnings.simplefilter("error", DeciderWarning)
        program = find_backend("tensorrt").open_fused(bundle, Settings("tensorrt", "fused"))
        assert "device" == program.decided_by  # type: ignore[attr-defined]
        program.close()
        checks = find_backend("tensorrt").self_checks(bundle, Settings("tensorrt"))
    assert [] == [c for c in checks if c.passed is False]


@pytest.mark.parametrize("kind", [GraphDecider, DeviceDecider])
def test_scores_of_nan_agree_with_each_other_and_never_leave(bundle: Bundle, kind: type) -> None:
    """Also where every decider sees the 0/0."""
    with installed(Gpu()):
        program = find_backend("tensorrt").open_staged(bundle, Settings("tensorrt"))
        held = program._held  # type: ignore[attr-defined]
        with held.device.active("testing"):
            memory = (held.bound.memory,) if kind is DeviceDecider else ()
            decider = kind(held.bound.stream, held.bound.plans, *memory)
            program.inputs["x"][...] = 0
            assert find_disagreement(decider, HostDecider(held.bound.stream, held.bound.plans)) is None
            assert np.isnan(held.bound.plans[0].score[0])
            decider.close()
        program.close()


class Skipping(HostDecider):
    """Answers as the host does without running the last stage."""

    def run(self, thresholds: tuple[float, ...]) -> int:  # type: ignore[override]
        """Run all stages but the last."""
        return super().run(thresholds) if thresholds[0] < 0 else self.exits


def test_a_stage_that_did_not_run_is_found_although_its_score_is_nan(bundle: Bundle) -> None:
    """The mark of a score that was not written is told from a NaN that was computed."""
    with installed(Gpu()):
        program = find_backend("tensorrt").open_staged(bundle, Settings("tensorrt"))
        held = program._held  # type: ignore[attr-defined]
        with held.device.active("testing"):
            program.inputs["x"][...] = 0
            found = find_disagreement(
                Skipping(held.bound.stream, held.bound.plans), HostDecider(held.bound.stream, held.bound.plans)
            )
        program.close()
    assert found is not None
    assert "scores up to exit 2" in found


def test_input_buffers_of_every_dtype_are_filled_with_values_of_that_dtype() -> None:
    """Floats with 0 to 1, whole numbers and truth values with 0 or 1, which every table of tokens has."""
    dtypes = ("float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool")
    buffers = {name: np.full((64,), 7).astype(name) for name in dtypes}

    fill_random(buffers)

    for name, buffer in buffers.items():
        assert buffer.dtype == name
        assert {0, 1} == set(buffer.tolist()) if buffer.dtype.kind != "f" else len(set(buffer.tolist())) > 8
        assert 0 <= buffer.min() <= buffer.max() <= 1
