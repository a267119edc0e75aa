"""Write small hard models node by node, and hold every way of running them against the file as it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.errors import InputError
from edgeexit.runtime import CalibrationWarning, Runner

Array = NDArray[Any]
CLASSES = 3
NEWEST_OPSET = 25  # of ONNX Runtime 1.31


class Writer:
    """A graph in the making; every method returns the name of the tensor it made."""

    def __init__(self, seed: int = 0, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.dtype = dtype
        self.rng = np.random.default_rng(seed)

    def op(self, kind: str, *inputs: str, out: str | Sequence[str] | None = None, **attributes: Any) -> str:
        names = [out] if isinstance(out, str) else list(out or [f"{kind.lower()}{len(self.nodes)}"])
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0]

    def constant(self, values: Any, dtype: Any = None) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype or self.dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])))

    def conv(self, x: str, into: int, out: int) -> str:
        return self.op("Relu", self.op("Conv", x, self.weight(out, into, 3, 3), pads=[1, 1, 1, 1]))

    def head(self, x: str, channels: int, name: str) -> str:
        flat = self.op("Flatten", self.op("GlobalAveragePool", x))
        return self.op("Gemm", flat, self.weight(channels, CLASSES), out=name)

    def save(
        self,
        path: Path,
        inputs: Mapping[str, Sequence[str | int]],
        outputs: Sequence[str],
        *,
        opset: int = 17,
        element: int = TensorProto.FLOAT,
        elements: Mapping[str, int] | None = None,
        functions: Sequence[onnx.FunctionProto] = (),
    ) -> Path:
        kinds = {**dict.fromkeys([*inputs, *outputs], element), **(elements or {})}
        ins = [helper.make_tensor_value_info(n, kinds[n], list(s)) for n, s in inputs.items()]
        outs = [helper.make_tensor_value_info(n, kinds[n], None) for n in outputs]
        graph = helper.make_graph(self.nodes, "hard", ins, outs, self.weights)
        domains = [helper.make_opsetid("", opset)] + [helper.make_opsetid(f.domain, 1) for f in functions]
        model = helper.make_model(graph, opset_imports=domains, functions=list(functions), ir_version=10)
        onnx.save(model, path)
        return path


def value(name: str, element: int = TensorProto.FLOAT, shape: Sequence[int] | None = None) -> onnx.ValueInfoProto:
    """Value info, without a shape unless one is given."""
    return helper.make_tensor_value_info(name, element, shape)


def loaded(bundle: Bundle, mode: str) -> Runner:
    """The bundle in one mode; that it is not calibrated is known."""
    with pytest.warns(CalibrationWarning):
        return edgeexit.load(bundle.path, mode=mode)


def original(path: Path, outputs: Sequence[str], samples: Mapping[str, Array]) -> list[list[Array]]:
    """Per sample the outputs, by the file as it was given, one sample at a time."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    count = len(next(iter(samples.values())))
    return [session.run(list(outputs), {n: a[i : i + 1] for n, a in samples.items()}) for i in range(count)]


def check(
    path: Path,
    samples: Mapping[str, Array],
    exits: Sequence[str],
    *,
    tolerance: float = 1e-4,
    **options: Any,
) -> Bundle:
    """Compile, then hold staged, fused, batch and backbone against the file; every exit, every sample.

    Args:
        path: the model.
        samples: inputs by name, [n, ...].
        exits: logits outputs in order.
        tolerance: of the largest logit.
        options: of the compile.
    """
    expected = original(path, exits, samples)
    bundle = edgeexit.compile(path, path.with_suffix(".eexit"), exits=exits, seconds=0, **options)
    for mode in ("staged", "fused"):
        with loaded(bundle, mode) as runner:
            for i, row in enumerate(expected):
                one = {n: a[i : i + 1] for n, a in samples.items()}
                for k, logits in enumerate(row, 1):
                    answer = runner.forced(one, exit=k)
                    assert k == answer.exit
                    assert_close(logits[0], answer.logits, tolerance)
            check_batch(runner, samples, tolerance)
            with runner.backbone() as backbone:
                assert_close(expected[0][-1][0], backbone({n: a[:1] for n, a in samples.items()}).logits, tolerance)
    return bundle


def refused(path: Path, match: str, **options: Any) -> None:
    """Compile a model that cannot be taken: one message that matches, and nothing left behind."""
    output = path.with_suffix(".eexit")
    with pytest.raises(InputError, match=match) as caught:
        edgeexit.compile(path, output, seconds=0, **options)
    assert 2 == caught.value.exit_code
    assert not output.exists()


def check_batch(runner: Runner, samples: Mapping[str, Array], tolerance: float) -> None:
    """A batch is its samples one by one, wherever they leave."""
    each = [{n: a[i : i + 1] for n, a in samples.items()} for i in range(len(next(iter(samples.values()))))]
    runner.thresholds = [between([runner.forced(x, exit=exit).score for x in each]) for exit in range(1, runner.exits)]
    for x, row in zip(each, runner.batch(dict(samples)), strict=True):
        alone = runner(x)
        assert alone.exit == row.exit
        assert_close(alone.logits, row.logits, tolerance)


def between(scores: Sequence[float]) -> float:
    """A threshold in the widest gap between scores, where no rounding decides; beside them where all are one."""
    ordered = sorted({s for s in scores if np.isfinite(s)}) or [0.0]
    gaps = [(high - low, (high + low) / 2) for low, high in pairwise(ordered)]
    return max(gaps)[1] if gaps and max(gaps)[0] > 1e-5 else ordered[0] + 1.0


def assert_close(expected: Array, actual: Array, tolerance: float) -> None:
    """Same answers: within a share of the largest logit."""
    wanted = np.asarray(expected, np.float32)
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance * float(np.abs(wanted).max()))
