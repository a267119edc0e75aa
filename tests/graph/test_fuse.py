"""The fused mode is as well optimised as the stages, and a file that any ONNX Runtime can run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeexit
from edgeexit.backends import Settings
from edgeexit.backends.onnxruntime.sessions import make_session_options
from edgeexit.bundle import Bundle
from edgeexit.criteria import CRITERIA
from tests.support.onnx_writer import Writer, check, value

BLOCKED = "com.microsoft.nchwc"  # ONNX Runtime's domain of convolutions on its blocked layout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Four exits on residual blocks of 16 and 32 channels, wide enough for the blocked layout, a skip across two cuts."""
    folder = tmp_path_factory.mktemp("fused")
    w = Writer()
    x = skip = w.conv("x", 3, 16)
    w.head(x, 16, "z1")
    for k in (2, 3):
        x = w.op("Add", w.conv(w.conv(x, 16, 16), 16, 16), x)
        w.head(x, 16, f"z{k}")
    w.head(w.conv(w.op("Add", x, skip), 16, 32), 32, "z4")
    path = w.save(folder / "m.onnx", {"x": ["n", 3, 8, 8]}, ["z1", "z2", "z3", "z4"])
    return edgeexit.compile(path, folder / "b.eexit", seconds=0)


def optimised(model: Path, folder: Path) -> onnx.GraphProto:
    """The graph that ONNX Runtime really runs."""
    options = make_session_options(Settings(), batch_1=True)
    options.optimized_model_filepath = str(folder / f"{model.stem}.onnx")
    ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath, load_external_data=False).graph


def convolutions(graph: onnx.GraphProto) -> tuple[int, int]:
    """Number on the blocked layout, and number not."""
    blocked = plain = 0
    for node in graph.node:
        if "Conv" in node.op_type:
            blocked, plain = blocked + (node.domain == BLOCKED), plain + (node.domain != BLOCKED)
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                more = convolutions(inner)
                blocked, plain = blocked + more[0], plain + more[1]
    return blocked, plain


def test_the_fused_form_keeps_every_convolution_on_the_blocked_layout(bundle: Bundle, tmp_path: Path) -> None:
    """Weights lie in the branch that reads them; in the outermost graph they would cost 26-30 % on the later exits."""
    stages = [convolutions(optimised(bundle.file(s.file), tmp_path)) for s in bundle.manifest.stages]
    fused = convolutions(optimised(bundle.file(bundle.manifest.fused), tmp_path))

    if not sum(blocked for blocked, _ in stages):
        pytest.skip("this processor has no blocked layout in ONNX Runtime")
    assert (sum(blocked for blocked, _ in stages), sum(plain for _, plain in stages)) == fused


def test_the_fused_file_says_everything_it_needs(bundle: Bundle) -> None:
    """Inputs are the network's own and one float32 scalar per early exit; outputs are logits, exit and score."""
    session = ort.InferenceSession(str(bundle.file(bundle.manifest.fused)), providers=["CPUExecutionProvider"])

    assert ["x", "threshold_1", "threshold_2", "threshold_3"] == [i.name for i in session.get_inputs()]
    assert [[], [], []] == [i.shape for i in session.get_inputs()[1:]]
    assert ["logits", "exit", "score"] == [o.name for o in session.get_outputs()]


@pytest.mark.parametrize("exit", [1, 2, 3, 4])
def test_infinite_thresholds_mean_always_and_never(bundle: Bundle, exit: int) -> None:
    """In the file itself, whatever runs it."""
    session = ort.InferenceSession(str(bundle.file(bundle.manifest.fused)), providers=["CPUExecutionProvider"])
    thresholds = {f"threshold_{k}": np.array(-np.inf if k >= exit else np.inf, np.float32) for k in (1, 2, 3)}

    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype(np.float32) * 10.0**seed
        _, left_at, _ = session.run(None, {"x": x, **thresholds})
        assert exit == left_at


def test_no_name_is_in_two_scopes_that_see_each_other(bundle: Bundle) -> None:
    """ONNX forbids it; a weight that two stages read has a name of its own in each."""
    graph = onnx.load(str(bundle.file(bundle.manifest.fused)), load_external_data=False).graph

    def walk(graph: onnx.GraphProto, above: frozenset[str]) -> None:
        made = [t.name for t in graph.initializer] + [o for n in graph.node for o in n.output if o]
        made += [i.name for i in graph.input]
        assert len(made) == len(set(made))
        assert above.isdisjoint(made)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    walk(attribute.g, above | frozenset(made))

    walk(graph, frozenset())


@pytest.mark.parametrize("name", ["threshold_1", "logits", "exit", "score"])
def test_names_inside_a_branch_may_be_those_of_the_fused_form(tmp_path: Path, name: str) -> None:
    """Tensors, weights and a loop's states inside the network's own nodes are theirs alone; they give way."""
    w = Writer()
    w.head("x", 3, "z1")
    early = w.conv("x", 3, 4)
    positive = w.op("Greater", w.op("ReduceMean", "x", keepdims=0), w.constant(0.0))
    weight = numpy_helper.from_array(np.full((1, 4, 1, 1), 2, np.float32), name)
    then = helper.make_graph([helper.make_node("Mul", [early, name], ["made"])], "then", [], [value("made")], [weight])
    starts = [value("turn", TensorProto.INT64, []), value("going", TensorProto.BOOL, []), value(name)]
    turn = [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Tanh", [name], ["next"])]
    body = helper.make_graph(turn, "body", starts, [value("on", TensorProto.BOOL, []), value("next")])
    nodes = [helper.make_node("Loop", [w.constant(2, np.int64), "", early], [name], body=body)]
    other = helper.make_graph(nodes, "else", [], [value(name)])
    w.head(w.op("If", positive, then_branch=then, else_branch=other), 4, "z2")
    path = w.save(tmp_path / "m.onnx", {"x": [1, 3, 8, 8]}, ["z1", "z2"])

    x = np.random.default_rng(0).random((4, 3, 8, 8)).astype(np.float32)
    x[::2] *= -1
    bundle = check(path, {"x": x}, ["z1", "z2"])

    onnx.checker.check_model(str(bundle.file(bundle.manifest.fused)), full_check=True)


@pytest.mark.parametrize("criterion", [name for name, c in CRITERIA.items() if not c.learned])
def test_the_fused_form_passes_the_checker(tmp_path: Path, criterion: str) -> None:
    """Full check with shape inference, as other runtimes' importers do it."""
    w = Writer()
    x, channels = "x", 3
    for k in (1, 2, 3):
        x, channels = w.conv(x, channels, 4), 4
        w.head(x, channels, f"z{k}")
    path = w.save(tmp_path / "m.onnx", {"x": ["n", 3, 6, 6]}, ["z1", "z2", "z3"])
    bundle = edgeexit.compile(path, tmp_path / "b.eexit", criterion=criterion, seconds=0)

    for name in bundle.models:
        onnx.checker.check_model(str(bundle.file(name)), full_check=True)
