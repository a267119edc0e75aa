"""The same network through every way to run it today, interleaved in one process: one table.

    python -m benchmarks side_by_side [--case lenet-mnist] [--target "drop<=0.1"]

All run one thread, batch 1, on the same inputs in the same order, and leave at the same exits where they leave early. A way that does
not work here is a row with the reason.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.common import (
    Case,
    Timed,
    find_case,
    make_parser,
    open_case,
    open_other_mode,
    open_plain,
    print_table,
    record,
    time_variants,
)
from benchmarks.peers.mobile_runtimes import open_litert, open_mnn, open_ncnn
from edgeexit.backends.openvino import import_openvino
from edgeexit.criteria import log_softmax
from edgeexit.data import Dataset
from edgeexit.errors import EdgeExitError, InputError
from edgeexit.hardware import read_device_state
from edgeexit.measure.result.parts import Latency
from edgeexit.measure.statistics import ratio_interval
from edgeexit.measure.verdict import Ratio
from edgeexit.report.tables import format_ratio
from edgeexit.runtime import Runner
from edgeexit.util import units
from edgeexit.util.documents import to_document
from edgeexit.util.samples import split_samples

Array: TypeAlias = "np.typing.NDArray[np.float32]"
Way: TypeAlias = Callable[[Array], Any]


class Answer(NamedTuple):
    """What a user wants from an inference."""

    label: int
    exit: int


def list_ways(case: Case, runner: Runner, folder: Path) -> Iterator[tuple[str, Callable[[], Way]]]:
    """Every way: its name, and what opens it."""
    threshold = runner.thresholds[0]
    yield "edgeexit, fused", lambda: open_other_mode(runner, "fused")
    yield "edgeexit, staged", lambda: open_other_mode(runner, "staged")
    yield "edgeexit, backbone", runner.backbone
    if case.plain is not None:
        plain = case.plain
        yield "plain network, ONNX Runtime, bound buffers", lambda: open_plain(runner, plain)
        yield "plain network, ONNX Runtime, session.run", lambda: open_onnx(plain, last_exit=runner.exits)
    yield "all exits, ONNX Runtime, session.run + NumPy", lambda: open_onnx_all_exits(case.model, threshold)
    yield "torch.cond exported, ONNX Runtime", lambda: open_onnx_cond(case, threshold, folder)
    yield "torch eager loop", lambda: open_torch_loop(case, threshold)
    yield "torch.compile, each part", lambda: open_torch_loop(case, threshold, compiled=True)
    yield "torch eager, all exits", lambda: open_torch_all_exits(case)
    bundle = runner.bundle
    yield "OpenVINO, straight", lambda: open_openvino_backbone(bundle.file(bundle.manifest.backbone), runner.exits)
    yield "OpenVINO, fused If", lambda: open_openvino_if(bundle.file(bundle.manifest.fused), runner)
    yield "edgeexit on MNN, fused", lambda: open_other_mode(runner, "fused", "mnn")
    yield "edgeexit on MNN, staged", lambda: open_other_mode(runner, "staged", "mnn")
    yield "MNN, straight", lambda: answer_at(runner.exits, open_mnn(bundle, folder))
    yield "ncnn, straight", lambda: answer_at(runner.exits, open_ncnn(bundle, folder))
    yield "LiteRT, straight", lambda: answer_at(runner.exits, open_litert(convert_to_litert(case, folder)))


def answer_at(exit: int, logits: Callable[[Array], Array]) -> Way:
    """A runtime that gives the logits of one exit, as a way."""
    return lambda x: Answer(int(logits(x).argmax()), exit)


def open_onnx(model: Path, last_exit: int) -> Way:
    """ONNX Runtime as its documentation shows it, one thread."""
    session = _session(model)
    name = session.get_inputs()[0].name

    def run(x: Array) -> Answer:
        return Answer(int(session.run(None, {name: x})[0].argmax()), last_exit)

    return run


def open_onnx_all_exits(model: Path, threshold: float) -> Way:
    """The exported network with every exit as an output, run whole; the criterion in NumPy decides which to believe."""
    session = _session(model)
    name = session.get_inputs()[0].name

    def run(x: Array) -> Answer:
        *early, last = session.run(None, {name: x})
        for exit, logits in enumerate(early, 1):
            log_p = log_softmax(logits)
            if -(np.exp(log_p) * log_p).sum() <= threshold:
                return Answer(int(logits.argmax()), exit)
        return Answer(int(last.argmax()), len(early) + 1)

    return run


def _session(model: Path) -> Any:
    import onnxruntime as ort

    chosen = ort.SessionOptions()
    chosen.intra_op_num_threads = chosen.inter_op_num_threads = 1
    return ort.InferenceSession(str(model), chosen, providers=["CPUExecutionProvider"])


def open_onnx_cond(case: Case, threshold: float, folder: Path) -> Way:
    """The network with its decision in the graph by torch.cond, exported as torch does it."""
    import torch
    from torch import Tensor, nn

    net = _torch_net(case)

    class Conditional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            features = net.first(x)
            logits = net.branch(features)
            log_p = torch.log_softmax(logits, 1)
            sure = (-(log_p.exp() * log_p).sum() <= threshold).reshape(())
            one, two = torch.ones(1, dtype=torch.int64), torch.full((1,), 2, dtype=torch.int64)
            found: tuple[Tensor, Tensor] = torch.cond(
                sure,
                lambda _, z: (z.clone(), one.clone()),  # a branch may not return its own input: torch refuses the alias
                lambda f, _: (net.rest(f), two.clone()),
                (features, logits),
            )
            return found

    path = folder / "cond.onnx"
    torch.onnx.export(Conditional().eval(), (torch.zeros(1, 1, 28, 28),), path, dynamo=True, verbose=False)
    session = _session(path)
    name = session.get_inputs()[0].name

    def run(x: Array) -> Answer:
        logits, exit = session.run(None, {name: x})
        return Answer(int(logits.argmax()), int(exit[0]))

    return run


def open_torch_loop(case: Case, threshold: float, *, compiled: bool = False) -> Way:
    """The loop that people write: run to the exit, look, go on; stops at the same exits as edgeexit."""
    import torch

    net = _torch_net(case)
    first, branch, rest = net.first, net.branch, net.rest
    if compiled:
        first, branch, rest = (torch.compile(part, dynamic=False) for part in (first, branch, rest))

    def run(x: Array) -> Answer:
        with torch.inference_mode():
            features = first(torch.from_numpy(x))
            logits = branch(features)
            log_p = torch.log_softmax(logits, 1)
            if (-(log_p.exp() * log_p).sum()).item() <= threshold:
                return Answer(int(logits.argmax()), 1)
            return Answer(int(rest(features).argmax()), 2)

    run(np.zeros((1, 1, 28, 28), np.float32))
    return run


def open_torch_all_exits(case: Case) -> Way:
    """Eager torch with every exit computed for every input: what a multi-exit network costs when nothing leaves early."""
    import torch

    net = _torch_net(case)

    def run(x: Array) -> Answer:
        with torch.inference_mode():
            features = net.first(torch.from_numpy(x))
            net.branch(features)
            return Answer(int(net.rest(features).argmax()), 2)

    return run


def _torch_net(case: Case) -> Any:
    """The torch module with the weights of the ONNX file, with its parts as `first`, `branch` and `rest`."""
    import torch

    from edgeexit.nets.branchynet import BranchyLeNet

    torch.set_num_threads(1)
    net: Any = BranchyLeNet()
    weights = {
        w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in onnx.load(case.model).graph.initializer
    }
    net.load_state_dict({name: weights[name] for name in net.state_dict()})
    net.eval()

    def pool_relu(x: Any) -> Any:
        return torch.relu(torch.nn.functional.max_pool2d(x, 2, ceil_mode=True))

    def rest(x: Any) -> Any:
        x = pool_relu(net.conv3(pool_relu(net.conv2(x))))
        return net.fc2(net.fc1(x.flatten(1)))

    net.first, net.rest = (lambda x: pool_relu(net.conv1(x))), rest
    return net


def convert_to_litert(case: Case, folder: Path) -> Path:
    """The network straight to its last exit as LiteRT takes it, made in another process, which imports the converter.

    Raises:
        InputError: the converter is not installed, or fails; with the last line that it says.
    """
    path = folder / "backbone.tflite"
    what = f"from benchmarks.peers.side_by_side import write_litert; write_litert({case.name!r}, {str(path)!r})"
    done = subprocess.run([sys.executable, "-c", what], capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"LiteRT's converter: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return path


def write_litert(case: str, path: str) -> None:
    """Convert the torch module of a case, straight to its last exit, by litert-torch."""
    import litert_torch
    import torch

    net = _torch_net(find_case(case))

    class Straight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.net.rest(self.net.first(x))
            return logits

    litert_torch.convert(Straight().eval(), (torch.zeros(1, 1, 28, 28),)).export(path)


def open_openvino_backbone(model: Path, last_exit: int) -> Way:
    """OpenVINO as its documentation shows it for latency: one request, tensors shared."""
    request, inputs, outputs = _openvino(model)

    def run(x: Array) -> Answer:
        inputs[0][...] = x
        request.infer()
        return Answer(int(outputs[0].argmax()), last_exit)

    return run


def open_openvino_if(model: Path, runner: Runner) -> Way:
    """The fused graph, which is plain ONNX, run by OpenVINO's own If."""
    request, inputs, outputs = _openvino(model)
    for buffer, value in zip(inputs[1:], runner.inner_thresholds, strict=True):
        buffer[...] = value

    def run(x: Array) -> Answer:
        inputs[0][...] = x
        request.infer()
        return Answer(int(outputs[0].argmax()), int(outputs[1]))

    return run


def _openvino(model: Path) -> tuple[Any, list[Any], list[Any]]:
    ov = import_openvino()
    core = ov.Core()
    network = core.read_model(str(model))
    network.reshape(
        {port: [1, *list(port.partial_shape)[1:]] for port in network.inputs if port.partial_shape.is_dynamic}
    )
    hints = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"}
    request = core.compile_model(network, "CPU", hints | {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    inputs = [request.get_input_tensor(i).data for i in range(len(network.inputs))]
    request.infer()
    outputs = [request.get_output_tensor(i).data for i in range(len(network.outputs))]
    return request, inputs, outputs


def open_ways(case: Case, runner: Runner, folder: Path) -> tuple[dict[str, Way], dict[str, str]]:
    """Every way that works here, and why the others do not."""
    shape = runner.bundle.manifest.inputs[0].shape_at_1
    tried = {name: _try_way(opening, shape) for name, opening in list_ways(case, runner, folder)}
    missing = {name: way for name, way in tried.items() if isinstance(way, str)}
    return {name: way for name, way in tried.items() if not isinstance(way, str)}, missing


def _try_way(opening: Callable[[], Way], shape: tuple[int, ...]) -> Way | str:
    """Open a way of running the network and run it once; or why it does not work here."""
    try:
        way = opening()
        way(np.zeros(shape, np.float32))
    except (ImportError, RuntimeError, OSError, ValueError, subprocess.SubprocessError, EdgeExitError) as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
    return way


def measure_agreement(ours: Runner, opened: Mapping[str, Way], data: Dataset) -> dict[str, dict[str, float | None]]:
    """How often each way is right, gives our label, and leaves where we do (None for one that never leaves early), on all samples."""
    samples, truth = split_samples(data.inputs), data.labels
    answers = [ours(x) for x in samples]
    found: dict[str, dict[str, float | None]] = {}
    for name, way in opened.items():
        theirs = [way(x) for x in samples]
        early = len({a.exit for a in theirs}) > 1
        found[name] = {
            "accuracy": None
            if truth is None
            else float(np.mean([a.label == y for a, y in zip(theirs, truth, strict=True)])),
            "label": float(np.mean([a.label == b.label for a, b in zip(answers, theirs, strict=True)])),
            "exit": float(np.mean([a.exit == b.exit for a, b in zip(answers, theirs, strict=True)])) if early else None,
        }
    return found


def format_rows(
    timed: Mapping[str, Timed], agree: Mapping[str, Mapping[str, float | None]], ours: str
) -> list[tuple[str, ...]]:
    """The rows as text."""
    return [
        (
            name,
            units.seconds(variant.latency.mean_s),
            units.seconds(variant.latency.typical_s),
            units.seconds(variant.latency.percentile(99.0).value_s),
            format_ratio(compute_ratios(timed[ours].latency, variant.latency)["mean"]),
            format_ratio(compute_ratios(timed[ours].latency, variant.latency)["typical"]),
            units.percent(agree[name]["accuracy"]),
            units.percent(agree[name]["label"]),
            units.percent(agree[name]["exit"]),
        )
        for name, variant in timed.items()
    ]


def compute_ratios(ours: Latency, theirs: Latency) -> dict[str, Ratio]:
    """Times of another way over ours, paired by repeat."""
    return {
        "mean": Ratio(*ratio_interval(ours.process_mean_s, theirs.process_mean_s, paired=True)),
        "typical": Ratio(*ratio_interval(ours.process_typical_s, theirs.process_typical_s, paired=True)),
    }


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    arguments = make_parser(__doc__).parse_args()
    case, before = find_case(arguments.case), read_device_state()
    with tempfile.TemporaryDirectory() as scratch:
        runner = open_case(case, Path(scratch), arguments)
        opened, missing = open_ways(case, runner, Path(scratch))
        data = case.test_data()
        agree = measure_agreement(runner, opened, data)
        timed = time_variants(opened, data, seconds=arguments.seconds, repeats=arguments.repeats)
        ours = min(("edgeexit, fused", "edgeexit, staged"), key=lambda n: timed[n].latency.typical_s)
        shares = np.bincount(timed[ours].exits - 1) / len(timed[ours].exits)
        columns = ("", "mean", "typical", "p99", "mean / ours", "typical / ours", "accuracy", "same label", "same exit")
        note = f"Ours is {ours}; typical is the exits' medians weighted by their shares. The last three are over all test samples."
        title = f"{case.name}: {units.percent(shares[0], 1)} leave at exit 1"
        print_table(title, columns, format_rows(timed, agree, ours), note)
        print_table("Not run", ("", "why"), list(missing.items()))
        variants = {
            name: {
                "latency": to_document(variant.latency),
                "over_ours": to_document(compute_ratios(timed[ours].latency, variant.latency)),
                "agreement": agree[name],
            }
            for name, variant in timed.items()
        }
        policy = {"criterion": runner.criterion.name, "thresholds": runner.thresholds, "exit_shares": shares.tolist()}
        record("peers", case, arguments, {**policy, "ours": ours, "lanes": variants, "not_run": missing}, before)


if __name__ == "__main__":
    main()
