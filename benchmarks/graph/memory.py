"""Memory of loading a bundle: growth of peak RSS beside that of the plain model in the same runtime, each in a process of its own.

    python -m benchmarks.graph.memory [--network convolutions|products] [--megabytes 60] [--repeats 5]

The network has random weights and three exits: of convolutions and wide layers, or of the matrix products of a transformer's blocks, 64
tokens each. The plain model is its backbone, without heads and criteria:
once as exporters write it, weights inside the .onnx, once with its weights in a file beside it, which is lighter to load and is what is
judged against. Each process imports everything and runs a model of one node first; growth is the peak RSS after loading and one
inference, less the RSS before (Linux, VmHWM of /proc/self/status). Limit: one mode at most 1.15 times the plain model.

glibc's allocator is told to give large blocks back (MALLOC_MMAP_THRESHOLD_), else what happened to be freed before decides over a third
of the figure. Beside the peak stands the anonymous part of the RSS at the end: the rest is pages of weight files, which the system can
drop. The staged mode maps weights that ONNX Runtime has reordered once, from a file that has lost its name: clean pages as well, on a
disk unless temporary files lie in memory. The fused mode maps those of its wide layers and does not pack them anew; one that gains by
packing, as products of many rows do, keeps both copies of what lies inside its branches, and is beyond the limit there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

import edgeexit
from benchmarks.common import Case, print_table, record
from edgeexit.backends.base import Settings
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.bundle import Bundle
from edgeexit.hardware import find_device_key, read_device_state
from edgeexit.util import units

LIMIT = 1.15
_SIDE, _CHANNELS, _CLASSES = 8, 256, 10
_TOKENS, _WIDTH = 64, 512


class _Sketch:
    """A model of x [n, 3, 8, 8] and three exits in the making."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def weight(self, *shape: int) -> str:
        return self.constant((self._rng.standard_normal(shape) / 50).astype(np.float32), f"w{len(self._weights)}")

    def constant(self, values: np.ndarray, name: str) -> str:
        self._weights[name] = numpy_helper.from_array(values, name)
        return name

    def op(self, kind: str, *inputs: str, to: str = "", **attributes: object) -> str:
        name = to or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))  # type: ignore[arg-type]
        return name

    def save(self, path: Path) -> None:
        value = helper.make_tensor_value_info
        outputs = [value(f"z{k}", TensorProto.FLOAT, ["n", _CLASSES]) for k in (1, 2, 3)]
        x = value("x", TensorProto.FLOAT, ["n", 3, _SIDE, _SIDE])
        graph = helper.make_graph(self._nodes, "heavy", [x], outputs, list(self._weights.values()))
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_convolutions(path: Path, megabytes: float) -> None:
    """A chain of convolutions, each followed by a wide layer back to it, about `megabytes` of weights."""
    s = _Sketch()
    each = _CHANNELS * _CHANNELS * 9 * 4 / 1e6
    x = s.op("Relu", s.op("Conv", "x", s.weight(_CHANNELS, 3, 3, 3), pads=[1, 1, 1, 1]))
    blocks = max(3, round(megabytes / 2 / each / 3) * 3)
    wide = int(megabytes / 2 * 1e6 / 3 / 4 / _CHANNELS / 2)
    as_image = s.constant(np.array([-1, _CHANNELS, 1, 1], np.int64), "as image")
    for k in range(blocks):
        x = s.op("Relu", s.op("Conv", x, s.weight(_CHANNELS, _CHANNELS, 3, 3), pads=[1, 1, 1, 1]))
        if (k + 1) % (blocks // 3) == 0:
            pooled = s.op("Flatten", s.op("GlobalAveragePool", x))
            mixed = s.op(
                "Gemm", s.op("Relu", s.op("Gemm", pooled, s.weight(_CHANNELS, wide))), s.weight(wide, _CHANNELS)
            )
            x = s.op("Add", x, s.op("Reshape", mixed, as_image))
            s.op("Gemm", mixed, s.weight(_CHANNELS, _CLASSES), to=f"z{3 * (k + 1) // blocks}")
    s.save(path)


def write_products(path: Path, megabytes: float) -> None:
    """The wide layers of a transformer's blocks over 64 tokens, about `megabytes` of weights."""
    s = _Sketch()
    x = s.op("Reshape", "x", s.constant(np.array([-1, _TOKENS, 3], np.int64), "as tokens"))
    x = s.op("MatMul", x, s.weight(3, _WIDTH))
    blocks = max(3, round(megabytes * 1e6 / 4 / _WIDTH / (8 * _WIDTH) / 3) * 3)
    for k in range(blocks):
        inner = s.op("Tanh", s.op("MatMul", x, s.weight(_WIDTH, 4 * _WIDTH)))
        x = s.op("Add", x, s.op("MatMul", inner, s.weight(4 * _WIDTH, _WIDTH)))
        if (k + 1) % (blocks // 3) == 0:
            pooled = s.op("ReduceMean", x, axes=[1], keepdims=0)
            s.op("Gemm", pooled, s.weight(_WIDTH, _CLASSES), to=f"z{3 * (k + 1) // blocks}")
    s.save(path)


NETWORKS = {"convolutions": write_convolutions, "products": write_products}


def measure_growth(subject: str, path: Path) -> dict[str, int]:
    """What loading and one inference add to a process that has imported everything: at the peak, and in anonymous memory."""
    open_session(_smallest(), Settings(), batch_1=True)
    find_device_key()
    before, anonymous = _status("VmRSS"), _status("RssAnon")
    x = np.zeros((1, 3, _SIDE, _SIDE), np.float32)
    if subject == "plain":
        session = open_session(path, Settings(), batch_1=True)
        session.run(None, {"x": x})
        _KEPT.append(session)
    else:
        for mode in ("staged", "fused") if subject == "both" else (subject,):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runner = edgeexit.load(path, mode=mode)
            _KEPT.append(runner)
            runner.forced(x, exit=3)
    return {"peak": _status("VmHWM") - before, "anonymous": _status("RssAnon") - anonymous}


def _smallest() -> bytes:
    value = helper.make_tensor_value_info
    ends = ([value("x", TensorProto.FLOAT, [1])], [value("y", TensorProto.FLOAT, [1])])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "smallest", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


_KEPT: list[object] = []  # so that "both" holds both


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(field)


def measure(subject: str, path: Path, repeats: int) -> dict[str, float]:
    """Median growth over several fresh processes, bytes."""
    command = [sys.executable, "-m", "benchmarks.graph.memory", "--subject", subject, "--path", str(path)]
    tidy = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 17)}
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=tidy).stdout)
        for _ in range(repeats)
    ]
    return {kind: median(run[kind] for run in runs) for kind in ("peak", "anonymous")}


def main() -> None:
    """Run it, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=list(NETWORKS), default="convolutions")
    parser.add_argument("--megabytes", type=float, default=60.0, help="of weights")
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes for each")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subject:
        print(json.dumps(measure_growth(arguments.subject, arguments.path)))
        return
    before = read_device_state()
    with tempfile.TemporaryDirectory() as scratch:
        found = _compare(Path(scratch), arguments.network, arguments.megabytes, arguments.repeats)
    plain = found["plain, weights beside it"]
    ratios = {name: {kind: growth[kind] / plain[kind] for kind in growth} for name, growth in found.items()}
    rows = [
        (
            name,
            units.bytes_(growth["peak"]),
            units.ratio(ratios[name]["peak"]),
            _format_verdict(name, ratios[name]["peak"]),
            units.bytes_(growth["anonymous"]),
            units.ratio(ratios[name]["anonymous"]),
        )
        for name, growth in found.items()
    ]
    print_table("growth of RSS", ("", "peak", "of plain", "limit", "anonymous", "of plain"), rows)
    body = {"growth_bytes": found, "ratio": ratios}
    case = Case(arguments.network, Path(), None, "", "")
    record("memory", case, arguments, body, before)


def _compare(folder: Path, network: str, megabytes: float, repeats: int) -> dict[str, dict[str, float]]:
    NETWORKS[network](folder / "heavy.onnx", megabytes)
    bundle = edgeexit.compile(folder / "heavy.onnx", folder / "heavy.eexit", seconds=0)
    inside, beside = folder / "inside.onnx", folder / "beside.onnx"
    backbone = onnx.load(str(bundle.file(bundle.manifest.backbone)))
    onnx.save(backbone, inside)
    external_data_helper.convert_model_to_external_data(backbone, location="beside.data", size_threshold=1024)
    onnx.save(backbone, beside)
    Bundle.open(bundle.path)
    return {
        "plain, weights inside": measure("plain", inside, repeats),
        "plain, weights beside it": measure("plain", beside, repeats),
        **{mode: measure(mode, bundle.path, repeats) for mode in ("staged", "fused", "both")},
    }


def _format_verdict(name: str, ratio: float) -> str:
    return ("within" if ratio <= LIMIT else "beyond") if name in ("staged", "fused") else ""


if __name__ == "__main__":
    main()
