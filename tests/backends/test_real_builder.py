"""NVIDIA's own parser and builder on a CPU: every stage of every conformance network, criterion and precision becomes an engine.

TensorRT for RTX builds ahead of time for a GPU that is not there, has the API and the ONNX parser of TensorRT 11, and comes as wheels
(`make test-tensorrt` installs them). It shows what the parser of TensorRT 11 takes; of TensorRT 10.3, and of what engines compute, it shows
nothing: no kernel runs. It names compute capabilities 7.5 to 12.1, but not those of Orin (8.7) and Thor (11.0).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexit.backends.base import Array
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.backends.tensorrt.builder import EngineFactory
from edgeexit.backends.tensorrt.messages import ErrorLog
from edgeexit.backends.tensorrt.options import BuildOptions
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.networks import write_network
from edgeexit.conformance.suite import CRITERIA_NETWORK, _make_inputs
from edgeexit.criteria import CRITERIA
from edgeexit.data import find_demo_asset
from edgeexit.errors import ModelError
from edgeexit.graph import read_model

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # TensorRT for RTX has no use for timing caches, and takes them
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("tensorrt_rtx_bindings") is None, reason="tensorrt-rtx is not installed: make test-tensorrt"
    ),
]

CAPABILITIES = ("SM75", "SM86", "SM120")
TRAINED = sorted(Path(__file__).parents[2].glob("benchmarks/models/*/model.onnx"))
VERSION = "11.4.0.106"


@dataclass
class Target:
    """What the builder builds for, by TensorRT's name; a test sets it."""

    capability: str = "SM86"


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """The real bindings under the name `tensorrt`; builds are for the capability that the target names."""
    trt: Any = import_module("tensorrt_rtx_bindings")

    chosen = Target()
    make = trt.Builder.create_builder_config

    def make_for_target(builder: Any) -> Any:
        config = make(builder)
        config.num_compute_capabilities = 1
        assert config.set_compute_capability(getattr(trt.ComputeCapability, chosen.capability), 0)
        return config

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trt, "__version__", VERSION)
        patch.setitem(sys.modules, "tensorrt", trt)
        patch.setattr(trt.Builder, "create_builder_config", make_for_target)
        yield chosen


def _make_factory(precision: str = "float32", options: str = "") -> EngineFactory:
    from edgeexit.backends.tensorrt.options import parse_options

    return EngineFactory(ErrorLog(), BuildOptions(**parse_options(options)), precision)


def _build_all(bundle: Bundle, factory: EngineFactory) -> list[int]:
    """Sizes of the engines of every stage and of the backbone; the timing cache passes from one to the next."""
    sizes, timings = [], b""
    for file in (*(stage.file for stage in bundle.manifest.stages), bundle.manifest.backbone):
        engine, timings = factory.build(bundle.file(file), file, timings)
        assert "strong" == engine.typing
        sizes.append(len(engine.data))
    return sizes


def _compile(network: str, folder: Path, precision: str, criterion: str = "entropy") -> Bundle:
    shipped = network == "lenet-digits"
    model = find_demo_asset("lenet-digits.onnx") if shipped else write_network(network, folder)
    inputs, _ = _make_inputs(network, read_model(model), 8)
    return _compile_file(model, inputs, folder / f"{network}.eexit", precision, criterion)


def _compile_file(
    model: Path, inputs: Mapping[str, Array], path: Path, precision: str, criterion: str = "entropy"
) -> Bundle:
    # int8 needs the form that TensorRT takes; choosing the backend by name would ask for a GPU
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgeexit.backends.onnxruntime.backend.OnnxRuntimeBackend.quantized_outputs", False)
        return compile_model(model, path, criterion=criterion, precision=precision, inputs=inputs, seconds=0)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    "network", ["skips", "heads-feed-heads", "two-inputs", "lenet-digits", "alexnet-size", "resnet-size"]
)
def test_every_stage_becomes_an_engine(target: Target, network: str, precision: str, tmp_path: Path) -> None:
    """Of the trained network too; strongly typed, as TensorRT 11 alone does."""
    target.capability = "SM86"
    bundle = _compile(network, tmp_path, precision)
    assert all(size > 1000 for size in _build_all(bundle, _make_factory(precision)))


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("model", TRAINED, ids=lambda model: model.parent.name)
def test_every_trained_network_becomes_engines(target: Target, model: Path, capability: str, tmp_path: Path) -> None:
    """Those that the benchmarks keep, for several generations; in int8 too, whose layers differ, for one."""
    target.capability = capability
    inputs = make_random_inputs(read_model(model).inputs, seed=7, batch=8)
    for precision in ("float16", "int8") if capability == "SM86" else ("float16",):
        bundle = _compile_file(model, inputs, tmp_path / f"{precision}.eexit", precision)
        assert all(size > 1000 for size in _build_all(bundle, _make_factory(precision)))


@pytest.mark.parametrize(
    "criterion", sorted(name for name, rule in CRITERIA.items() if not rule.learned and name != "entropy")
)
def test_every_criterion_becomes_part_of_an_engine(target: Target, criterion: str, tmp_path: Path) -> None:
    """In the stages that end in it."""
    bundle = _compile(CRITERIA_NETWORK, tmp_path, "float16", criterion)
    assert 3 == len(_build_all(bundle, _make_factory("float16")))


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_engines_are_built_for_several_generations(target: Target, capability: str, tmp_path: Path) -> None:
    """Turing, Ampere, Blackwell."""
    target.capability = capability
    assert _build_all(_compile("two-inputs", tmp_path, "float16"), _make_factory("float16"))


def test_the_real_builder_takes_every_option(target: Target, tmp_path: Path) -> None:
    """Level, TF32, scratch memory, streams."""
    options = "optimization_level=5,tf32=true,workspace_mib=64,aux_streams=1"
    assert _build_all(_compile("two-inputs", tmp_path, "float32"), _make_factory(options=options))


def test_the_real_parser_finds_weights_outside_of_the_file(target: Target, tmp_path: Path) -> None:
    """By the path that comes with the bytes."""
    weight = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    model = _make_model(helper.make_node("MatMul", ["x", "w"], ["y"]), [1, 64], [weight])
    file = tmp_path / "outside.onnx"
    onnx.save_model(model, str(file), save_as_external_data=True, location="w.bin", size_threshold=1)
    engine, _ = _make_factory().build(file, "stage 1", b"")
    assert len(engine.data) > 1000


@pytest.mark.parametrize("operator", ["Det", "Unique"])
def test_the_real_parser_names_what_it_refuses(target: Target, operator: str, tmp_path: Path) -> None:
    """Node, operator, and its code in words, because its own text is `false`."""
    file = tmp_path / "refused.onnx"
    onnx.save(_make_model(helper.make_node(operator, ["x"], ["y"]), [1, 4, 8, 8]), str(file))
    with pytest.raises(ModelError, match=rf"stage 2: .*\({operator}\): (?!false)\w+"):
        _make_factory().build(file, "stage 2", b"")


def _make_model(node: onnx.NodeProto, shape: list[int], weights: list[TensorProto] | None = None) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [y], weights or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
