"""A precision for each stage: what crosses the cuts, what stays as it was, what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeexit.backends import Settings
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.bundle import Bundle
from edgeexit.choices import PRECISIONS
from edgeexit.compiler.compilation import compile_model
from edgeexit.compiler.precision import convert_precision, convert_stages
from edgeexit.compiler.tolerances import TOLERANCES
from edgeexit.conformance.networks import write_network
from edgeexit.errors import InputError, ModelError
from edgeexit.graph import find_exits, read_model
from edgeexit.graph.arithmetic import find_exit_precisions
from edgeexit.runtime.loading import open_runner
from edgeexit.stage_choices import PerStage, for_stage
from tests.networks import chain, images

NETWORKS = ("skips", "heads-feed-heads", "chain")


def _write(name: str, folder: Path) -> Path:
    return chain(folder / "chain.onnx", exits=3, width=4) if name == "chain" else write_network(name, folder)


def _compile(model: Path, precision: PerStage | None, backend: PerStage = "onnxruntime") -> Bundle:
    inputs = make_random_inputs(read_model(model).inputs, 0, batch=8)
    folder = model.with_suffix(".eexit")
    return compile_model(model, folder, precision=precision, backend=backend, inputs=inputs, seconds=0)


@pytest.mark.parametrize(("name", "seed"), [(name, seed) for name in NETWORKS for seed in range(2)])
def test_any_mix_of_precisions_and_backends_verifies(name: str, seed: int, tmp_path: Path) -> None:
    """What one precision hands to another is float32; nothing else but that precision's own type crosses a cut."""
    draw = random.Random(f"{name} {seed}")
    names = draw.choices(PRECISIONS, k=3)
    backends = draw.choices(["onnxruntime", "openvino"], k=3)

    bundle = _compile(_write(name, tmp_path), dict(enumerate(names, 1)), dict(enumerate(backends, 1)))

    own = {"float32": {"float32"}, "float16": {"float16", "float32"}, "int8": {"uint8", "float32"}}
    made = {t.name: stage.exit for stage in bundle.manifest.stages for t in stage.boundaries_out}
    for stage in bundle.manifest.stages:
        for tensor in stage.boundaries_in:
            given = names[made[tensor.name] - 1]
            allowed = own[given] if given == names[stage.exit - 1] else {"float32"}
            assert tensor.dtype in allowed, (names, tensor)
    assert bundle.manifest.precision == (names[0] if len(set(names)) == 1 else "+".join(names))


def test_stages_before_the_first_rounded_one_answer_bit_for_bit(tmp_path: Path) -> None:
    """float32 early and int8 late: exits 1 and 2 are those of the float32 network."""
    model = chain(tmp_path / "m.onnx", exits=3, width=8)
    whole = compile_model(model, tmp_path / "whole.eexit", seconds=0)
    mixed = _compile(model, {3: "int8"})
    assert ["float32", "float32", "int8"] == [stage.precision for stage in mixed.manifest.stages]
    assert [None] * 3 == [stage.precision for stage in whole.manifest.stages]
    with open_runner(whole, Settings()) as one, open_runner(mixed, Settings(precision=mixed.manifest.precision)) as two:
        expected, found = one.replay(images(8))[1], two.replay(images(8))[1]
    assert np.allclose(expected[:, :2], found[:, :2], atol=1e-6)
    assert not np.allclose(expected[:, 2], found[:, 2], atol=1e-6)


def test_an_exit_is_compared_as_closely_as_what_it_is_made_from(tmp_path: Path) -> None:
    """A late int8 stage does not loosen the tolerance of an early exit; an early one does that of every later exit."""
    model = _write("skips", tmp_path)
    for precision, expected in (({3: "int8"}, "float32 float32 int8"), ({1: "int8"}, "int8 int8 int8")):
        bundle = _compile(model, precision)
        net = read_model(bundle.file(bundle.manifest.model))
        ends = [(stage.logits, stage.score) for stage in bundle.manifest.stages]
        assert tuple(expected.split()) == find_exit_precisions(net, ends)


@pytest.mark.parametrize("precision", ["int8,heads=float32", "float16,heads=float32"])
def test_heads_stay_as_they_are_beside_a_rounded_trunk(precision: str, tmp_path: Path) -> None:
    """What only an early exit needs computes in float32; the trunk that both need does not."""
    bundle = _compile(_write("skips", tmp_path), precision)
    rounded = for_stage(bundle.manifest.precision, 1)
    assert {rounded} == {stage.precision for stage in bundle.manifest.stages}
    first = onnx.load(bundle.file(bundle.manifest.stages[0].file), load_external_data=False).graph
    halves = {t.name for t in first.initializer if t.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)}
    gemms = [node for node in first.node if node.op_type == "Gemm"]
    assert halves
    assert gemms
    assert not any(halves & set(node.input) for node in gemms)
    assert bundle.manifest.verified.precision_error is not None
    assert bundle.manifest.verified.precision_error <= TOLERANCES[rounded].conversion


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ({4: "int8"}, "this network has the stages 1 to 3"),
        ("float32,2=int9", "no precision named 'int9'. Did you mean 'int8'"),
    ],
)
def test_what_cannot_be_done_is_refused(precision: PerStage, message: str, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(InputError, match=message):
        _compile(_write("chain", tmp_path), precision)
    assert not (tmp_path / "chain.eexit").exists()


def test_a_model_that_is_rounded_already_is_refused(tmp_path: Path) -> None:
    """A mix is made from float32."""
    net = read_model(_write("skips", tmp_path))
    half, exits = convert_precision(net, find_exits(net), "float16", None)
    with pytest.raises(ModelError, match="only float32 models"):
        convert_stages(half, exits, "float32+int8+int8", None)
