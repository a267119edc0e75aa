"""float16 by casts and int8 by Q/DQ: what stays, what changes, what is refused. Run by ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexit.backends import Settings
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.backends.tensorrt import BACKEND as TENSORRT
from edgeexit.bundle import Bundle
from edgeexit.compiler.compilation import compile_model
from edgeexit.compiler.half import convert_to_float16
from edgeexit.compiler.precision import convert_precision, measure_activation_ranges
from edgeexit.compiler.probe import open_model
from edgeexit.compiler.quantize import find_quantizable_layers, find_shortcuts, quantize_network
from edgeexit.compiler.quantize_outputs import compute_parameters
from edgeexit.conformance.networks import BUILDERS, write_network
from edgeexit.data import find_demo_asset, load_data
from edgeexit.errors import InputError, ModelError
from edgeexit.graph import find_exits, read_model
from edgeexit.graph.model import Network
from edgeexit.runtime.loading import open_runner
from tests.support.onnx_writer import Writer, check

SMALL = ("skips", "heads-feed-heads", "two-inputs")


def _network(name: str, folder: Path) -> Network:
    return read_model(write_network(name, folder))


def _model(nodes: list[Any], weights: dict[str, np.ndarray], folder: Path, opset: int = 17) -> Network:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
    return read_model(path)


@pytest.mark.parametrize("name", SMALL)
def test_float16_gives_nearly_the_same_logits(name: str, tmp_path: Path) -> None:
    """Within a few units of float16's last place, from float32 inputs."""
    net = _network(name, tmp_path)
    half = convert_to_float16(net)
    onnx.checker.check_model(half.proto, full_check=True)
    names = [e.logits for e in find_exits(net)]
    x = make_random_inputs(net.inputs, seed=0)
    expected, found = open_model(net, names)(x), open_model(half, names)(x)
    for n in names:
        assert np.float16 == found[n].dtype
        assert np.allclose(expected[n], found[n], atol=2e-2 * np.abs(expected[n]).max())


def test_float16_halves_the_weights(tmp_path: Path) -> None:
    """Each is converted once, and no float32 copy stays behind."""
    net = _network("alexnet-size", tmp_path)
    size = {
        n: sum(len(t.raw_data) for t in g.proto.graph.initializer)
        for n, g in (("full", net), ("half", convert_to_float16(net)))
    }
    assert abs(size["full"] - 2 * size["half"]) < 1024


def test_inputs_stay_float32_and_are_cast_once(tmp_path: Path) -> None:
    """However many nodes read them."""
    half = convert_to_float16(_network("skips", tmp_path))
    assert ["float32"] == [s.dtype for s in half.inputs]
    assert 1 == sum(n.op_type == "Cast" and "x" in n.input for n in half.proto.graph.node)


def test_the_criterion_is_computed_in_float32(tmp_path: Path) -> None:
    """On logits that were cast back: the score of a float16 bundle is the criterion of its own logits to float32's last places."""
    bundle = compile_model(write_network("skips", tmp_path), tmp_path / "b.eexit", precision="float16", seconds=0)
    assert "float16" == bundle.manifest.precision
    with open_runner(bundle, Settings(precision="float16")) as runner:
        answer = runner.forced(make_random_inputs(bundle.manifest.inputs, seed=1)["x"], exit=1)
        assert runner.criterion.score is not None
        assert abs(float(runner.criterion.score(answer.logits[None])[0]) - answer.score) < 1e-6


def test_operators_that_overflow_stay_in_float32(tmp_path: Path) -> None:
    """The sum of squares of 300s is beyond 65504."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["a"]),
        helper.make_node("ReduceSumSquare", ["a"], ["s"], keepdims=1),
        helper.make_node("Sqrt", ["s"], ["r"]),
        helper.make_node("Div", ["a", "r"], ["y"]),
    ]
    net = _model(nodes, {"w": np.full(4, 300, np.float32)}, tmp_path)
    found = open_model(convert_to_float16(net), ["y"])({"x": np.ones((1, 4), np.float32)})["y"]
    assert np.allclose(0.5, found, atol=1e-3)


def test_a_weight_beyond_float16_is_refused_by_name(tmp_path: Path) -> None:
    """Instead of becoming infinite."""
    net = _model([helper.make_node("Mul", ["x", "w"], ["y"])], {"w": np.full(4, 1e6, np.float32)}, tmp_path)
    with pytest.raises(ModelError, match=r"weight 'w' holds 1e\+06, beyond float16"):
        convert_to_float16(net)


def test_constants_casts_and_sizes_follow(tmp_path: Path) -> None:
    """A Constant node, a cast to float, and Resize, whose scales stay float32."""
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array([1, 2, 3, 4], np.float32))),
        helper.make_node("Constant", [], ["one"], value_float=1.0),
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT32),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["f", "c"], ["b"]),
        helper.make_node("Mul", ["b", "one"], ["a"]),
        helper.make_node("Resize", ["a", "", "scales"], ["y"], mode="nearest"),
    ]
    net = _model(nodes, {"scales": np.ones(2, np.float32)}, tmp_path)
    found = open_model(convert_to_float16(net), ["y"])({"x": np.array([[0, 1, 2, 3]], np.float32)})["y"]
    assert [[1.0, 3.0, 5.0, 7.0]] == found.tolist()


def test_int8_keeps_labels_and_decisions_of_a_trained_network(tmp_path: Path) -> None:
    """Accuracy within a point on the shipped digits, decisions on 97 %."""
    calibration, test = load_data("digits:calibration"), load_data("digits:test")
    assert test.labels is not None
    labels = test.labels[:, None]
    found: dict[str, Any] = {}
    for precision in ("float32", "int8"):
        bundle = compile_model(
            find_demo_asset("lenet-digits.onnx"),
            tmp_path / precision,
            precision=precision,
            inputs=calibration.inputs,
            seconds=0,
        )
        with open_runner(bundle, Settings(precision=precision)) as runner:
            found[precision] = runner.replay(test.inputs)
    scores, logits = found["int8"]
    accuracy = {p: (r[1].argmax(-1) == labels).mean(0) for p, r in found.items()}
    assert np.abs(accuracy["int8"] - accuracy["float32"]).max() <= 0.01
    limit = np.median(found["float32"][0][:, 0])
    assert ((scores[:, 0] >= limit) == (found["float32"][0][:, 0] >= limit)).mean() >= 0.97
    assert logits.shape == found["float32"][1].shape


def test_int8_leaves_the_last_layers_alone(tmp_path: Path) -> None:
    """The layer that makes an exit's logits is not among the quantised ones."""
    net = _network("skips", tmp_path)
    logits = [e.logits for e in find_exits(net)]
    made = {name for layer in find_quantizable_layers(net, logits) for name in net.proto.graph.node[layer.node].output}
    assert set() == made & set(logits)
    assert len(find_quantizable_layers(net, logits)) + len(logits) == len(find_quantizable_layers(net, []))


def _block(nodes: list[Any], tmp_path: Path) -> Network:
    """A residual block on x [1, 4, 6, 6] with weights w1, w2 and a projection p."""
    rng = np.random.default_rng(0)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "block",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
            [
                *(
                    numpy_helper.from_array(rng.standard_normal((4, 4, 3, 3)).astype(np.float32), w)
                    for w in ("w1", "w2")
                ),
                numpy_helper.from_array(rng.standard_normal((4, 4, 1, 1)).astype(np.float32), "p"),
                *(numpy_helper.from_array(np.ones(4, np.float32), n) for n in ("scale", "bias", "mean", "var")),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    onnx.save(model, str(tmp_path / "block.onnx"))
    return read_model(tmp_path / "block.onnx")


_MAIN = [
    helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("Conv", ["b", "w2"], ["c"], pads=[1, 1, 1, 1]),
]
_PROJECTION = helper.make_node("Conv", ["x", "p"], ["s"])
_NORMALISED = helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["n"])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([*_MAIN, helper.make_node("Add", ["c", "x"], ["y"])], [(1, "x")], id="identity"),
        pytest.param([*_MAIN, helper.make_node("Add", ["x", "c"], ["y"])], [(0, "x")], id="the other way round"),
        pytest.param([*_MAIN, _PROJECTION, helper.make_node("Add", ["s", "c"], ["y"])], [(0, "s")], id="projection"),
        pytest.param(
            [_PROJECTION, *_MAIN, helper.make_node("Add", ["c", "s"], ["y"])], [(1, "s")], id="projection first"
        ),
        pytest.param([*_MAIN, _NORMALISED, helper.make_node("Add", ["n", "x"], ["y"])], [(1, "x")], id="normalised"),
        pytest.param([*_MAIN, helper.make_node("Add", ["c", "bias3"], ["y"])], [], id="a bias is no shortcut"),
        pytest.param(
            [*_MAIN, helper.make_node("Sigmoid", ["c"], ["g"]), helper.make_node("Add", ["g", "x"], ["y"])],
            [],
            id="no convolution's output",
        ),
        pytest.param(
            [*_MAIN, helper.make_node("Add", ["c", "x"], ["z"]), helper.make_node("Mul", ["z", "c"], ["y"])],
            [],
            id="an output that others read too",
        ),
    ],
)
def test_int8_rounds_what_passes_by_a_convolution(
    nodes: list[Any], expected: list[tuple[int, str]], tmp_path: Path
) -> None:
    """The shortcut of a sum, and never the convolution's own output, which then fuses with the sum."""
    if nodes[-1].input[1] == "bias3":
        nodes = [
            helper.make_node("Constant", [], ["bias3"], value=numpy_helper.from_array(np.ones((4, 1, 1), np.float32))),
            *nodes,
        ]
    net = _block(nodes, tmp_path)
    layers = find_quantizable_layers(net, [])
    found = find_shortcuts(net, layers, [])
    assert expected == [(s.slot, s.data) for s in found]
    ranges = dict.fromkeys([*(layer.data for layer in layers), *(s.data for s in found)], 10.0)
    done = quantize_network(net, layers, ranges, found)
    onnx.checker.check_model(done.proto, full_check=True)
    made = {n.output[0]: n.op_type for n in done.proto.graph.node}
    for add in (n for n in done.proto.graph.node if n.op_type == "Add"):
        assert len(found) == sum(made.get(name) == "DequantizeLinear" for name in add.input)


def _count_operators(model: Path | bytes, tmp_path: Path) -> Counter[str]:
    """Operators of a model as ONNX Runtime runs it."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(model) if isinstance(model, Path) else model, options)
    graph = onnx.load(tmp_path / "optimised.onnx", load_external_data=False).graph
    return Counter(n.op_type for n in graph.node)


@pytest.fixture(scope="module")
def bundle_in_int8(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """A network of the suite compiled in int8, once."""

    @cache
    def compile_once(name: str) -> Bundle:
        folder = tmp_path_factory.mktemp(name)
        inputs = make_random_inputs(_network(name, folder).inputs, seed=0, batch=8)
        return compile_model(folder / f"{name}.onnx", folder / "b", precision="int8", inputs=inputs, seconds=0)

    return compile_once


@pytest.mark.parametrize("name", ["skips", pytest.param("resnet-size", marks=pytest.mark.slow)])
def test_int8_runs_in_integers_on_a_cpu(name: str, bundle_in_int8: Callable[[str], Bundle], tmp_path: Path) -> None:
    """ONNX Runtime computes every convolution of every stage, and every sum between them, in integers; none stays a float one."""
    bundle = bundle_in_int8(name)
    for stage in bundle.manifest.stages:
        found = _count_operators(bundle.file(stage.file), tmp_path)
        assert found["QLinearConv"] > 0
        assert 0 == found["Conv"] + found["FusedConv"]
        assert 0 == found["Add"]


@pytest.mark.slow
def test_what_crosses_from_stage_to_stage_in_int8_is_a_quarter(bundle_in_int8: Callable[[str], Bundle]) -> None:
    """The quantised tensor is handed over, not the one that was made of it."""
    stages = bundle_in_int8("resnet-size").manifest.stages
    assert {"uint8"} == {t.dtype for s in stages for t in s.boundaries_in}


def test_weights_in_int8_are_stored_as_such(tmp_path: Path) -> None:
    """The float weights of quantised layers are gone from the file; biases are whole numbers."""
    net = _network("resnet-size", tmp_path)
    exits = find_exits(net)
    done, _ = convert_precision(net, exits, "int8", make_random_inputs(net.inputs, seed=0, batch=4))
    before, after = (sum(len(t.raw_data) for t in model.proto.graph.initializer) for model in (net, done))
    assert after < 0.5 * before


@pytest.mark.parametrize(("low", "high"), [(0.0, 4.0), (-1.0, 3.0), (-2.0, 0.0), (0.0, 0.0), (0.5, 1.0), (-3e38, 3e38)])
def test_an_unsigned_range_holds_zero_exactly(low: float, high: float) -> None:
    """Padding and rectified values are zeros, which must not be rounded; both ends lie within one step of the range."""
    scale, zero = compute_parameters(low, high)
    values = (np.array([0, 255]) - zero.astype(np.float64)) * scale
    assert scale > 0
    assert 0 <= int(zero) <= 255
    assert values[0] <= min(low, 0.0) + scale
    assert values[1] >= max(high, 0.0) - scale


def test_a_bundle_quantised_for_cpus_is_refused_by_tensorrt(
    bundle_in_int8: Callable[[str], Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how to compile it; one quantised for TensorRT passes this check."""
    bundle = bundle_in_int8("skips")
    monkeypatch.setattr("edgeexit.backends.tensorrt.check_tensorrt", lambda: None)
    with pytest.raises(InputError, match="edgeexit compile --backend tensorrt --precision int8"):
        TENSORRT.open_staged(bundle, Settings("tensorrt", precision="int8"))


def test_int8_leaves_sums_that_make_logits_alone(tmp_path: Path) -> None:
    """The criterion is to see logits that were not rounded."""
    net = _block([*_MAIN, helper.make_node("Add", ["c", "x"], ["y"])], tmp_path)
    assert () == find_shortcuts(net, find_quantizable_layers(net, ["y"]), ["y"])


@pytest.mark.parametrize("quantized_outputs", [True, False], ids=["for CPUs", "for TensorRT"])
def test_int8_of_a_residual_network_stays_near_it(tmp_path: Path, quantized_outputs: bool) -> None:
    """With its shortcuts rounded too; 54 blocks."""
    net = _network("resnet-size", tmp_path)
    exits = find_exits(net)
    inputs = make_random_inputs(net.inputs, seed=0, batch=8)
    done, _ = convert_precision(net, exits, "int8", inputs, quantized_outputs=quantized_outputs)
    made = {name: n.op_type for n in done.proto.graph.node for name in n.output}
    sums = [n for n in done.proto.graph.node if n.op_type == "Add"]
    assert all(any(made.get(name) == "DequantizeLinear" for name in n.input) for n in sums)
    names = [e.logits for e in exits]
    sample = {name: a[:1] for name, a in inputs.items()}
    before, after = open_model(net, names)(sample), open_model(done, names)(sample)
    for name in names:
        assert np.abs(after[name] - before[name]).max() <= 0.2 * np.abs(before[name]).max()


def test_int8_weights_are_rounded_per_channel(tmp_path: Path) -> None:
    """To half a step of each channel's own scale."""
    weight = np.float32(np.diag([1, 10, 100, 1000]))
    net = _model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weight}, tmp_path)
    done = quantize_network(net, find_quantizable_layers(net, []), {"x": 1.0})
    onnx.checker.check_model(done.proto, full_check=True)
    found = open_model(done, ["y"])({"x": np.array([[1, 1, 1, 1]], np.float32)})["y"]
    assert np.allclose([[1, 10, 100, 1000]], found, rtol=1e-5)


def test_int8_without_inputs_is_refused(tmp_path: Path) -> None:
    """Ranges cannot be guessed."""
    net = _network("skips", tmp_path)
    with pytest.raises(InputError, match="int8 needs inputs"):
        convert_precision(net, find_exits(net), "int8", None)


def _dense(tmp_path: Path, *, first: bool) -> Path:
    """Two heads on a dense layer of the input, or on the input itself."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]) if first else helper.make_node("Abs", ["x"], ["a"])]
    nodes += [helper.make_node("MatMul", ["a", "w"], ["z1"]), helper.make_node("Tanh", ["a"], ["b"])]
    nodes.append(helper.make_node("MatMul", ["b", "w"], ["z2"]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "z1", "z2")]
    weight = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [numpy_helper.from_array(weight, "w")])
    path = tmp_path / "dense.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_int8_of_layers_that_read_the_input_alone(tmp_path: Path) -> None:
    """Their ranges are those of the inputs; no model has to run for them."""
    net = read_model(_dense(tmp_path, first=True))
    x = np.random.default_rng(1).random((8, 4), dtype=np.float32)
    done, exits = convert_precision(net, find_exits(net), "int8", {"x": x})
    assert 2 == sum(n.op_type == "QuantizeLinear" for n in done.proto.graph.node)
    names = [e.logits for e in exits]
    before, after = open_model(net, names)({"x": x[:1]}), open_model(done, names)({"x": x[:1]})
    assert all(np.allclose(before[n], after[n], atol=0.1) for n in names)


def test_int8_of_a_model_without_layers_to_round_is_refused(tmp_path: Path) -> None:
    """Instead of a bundle that is called int8 and is not."""
    net = read_model(_dense(tmp_path, first=False))
    with pytest.raises(ModelError, match="nothing to bring to int8"):
        convert_precision(net, find_exits(net), "int8", {"x": np.ones((1, 4), np.float32)})


def test_int8_of_an_old_operator_set_is_refused(tmp_path: Path) -> None:
    """Scales per channel came with 13."""
    net = _model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(4, dtype=np.float32)}, tmp_path, opset=12
    )
    with pytest.raises(ModelError, match="operator set 13"):
        quantize_network(net, find_quantizable_layers(net, []), {"x": 1.0})


def test_ranges_leave_out_single_outliers(tmp_path: Path) -> None:
    """One pixel in twenty thousand does not set the scale."""
    del tmp_path
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 20_000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 20_000])],
    )
    net = Network(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), Path(), (), False
    )
    x = np.ones((1, 20_000), np.float32)
    x[0, 0] = 1000
    assert (0.0, 1.0) == measure_activation_ranges(net, ["y"], {"x": x})["y"]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_an_unknown_or_second_conversion_is_refused(precision: str, tmp_path: Path) -> None:
    """A model that is float16 already cannot be brought to anything."""
    net = _network("skips", tmp_path)
    half, exits = convert_precision(net, find_exits(net), "float16", None)
    with pytest.raises(ModelError, match="computes in float16"):
        convert_precision(half, exits, precision, None)
    with pytest.raises(InputError, match=r"no precision named 'float61'. Did you mean 'float16'\?"):
        convert_precision(net, exits, "float61", None)


def test_every_network_of_the_suite_can_be_brought_to_float16(tmp_path: Path) -> None:
    """None has an operator that is in the way."""
    for name in BUILDERS:
        onnx.checker.check_model(convert_to_float16(_network(name, tmp_path)).proto)


def test_a_bundle_says_its_precision(tmp_path: Path) -> None:
    """In the manifest, from which load takes it."""
    compile_model(write_network("skips", tmp_path), tmp_path / "b", precision="float16", seconds=0)
    assert "float16" == Bundle.open(tmp_path / "b").manifest.precision


def test_attention_that_swaps_batch_and_sequence_runs_in_float16(tmp_path: Path) -> None:
    """As torch's begins: where a boundary tensor was its input, ONNX Runtime ended the process."""
    w = Writer()
    x = "x"
    for logits in ("z1", "z2"):
        swapped = w.op("MatMul", w.op("Transpose", x, perm=[1, 0, 2]), w.weight(8, 8))
        x = w.op("Add", x, w.op("Transpose", w.op("Tanh", swapped), perm=[1, 0, 2]))
        w.op("MatMul", w.op("Flatten", x), w.weight(5 * 8, 3), out=logits)
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 5, 8]}, ["z1", "z2"])

    samples = {"x": np.random.default_rng(0).random((3, 5, 8), np.float32)}
    bundle = check(path, samples, ["z1", "z2"], precision="float16", tolerance=1e-2)

    assert ["float16"] == [tensor.dtype for tensor in bundle.manifest.stages[1].boundaries_in]


def test_int8_products_at_the_end_of_their_range_are_added_whole(tmp_path: Path) -> None:
    """Processors without VNNI add two of them in 16 bits, which cut logits by a third, in a dense layer and in a convolution alike."""
    w = Writer()
    x = w.op("Relu", w.op("Conv", "x", w.constant(np.ones((4, 4, 3, 3))), pads=[1, 1, 1, 1]))
    w.op("Gemm", w.op("Flatten", w.op("GlobalAveragePool", x)), w.weight(4, 3), out="z1")
    wide = w.op("MatMul", w.op("Flatten", "x"), w.constant(np.ones((256, 16))))
    w.op("Gemm", w.op("Concat", wide, "z1", axis=1), w.weight(19, 3), out="z2")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 4, 8, 8]}, ["z1", "z2"])
    ones = np.ones((4, 4, 8, 8), np.float32)

    error = compile_model(
        path, tmp_path / "b", precision="int8", inputs=ones, seconds=0
    ).manifest.verified.precision_error

    assert error is not None
    assert error < 0.02
