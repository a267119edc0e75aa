"""Random multi-exit networks: any graph of convolutions, sums, concatenations and pools with heads here and there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES = 3
SIDE = 6
WIDTH = 4


@dataclass(frozen=True)
class RandomNetwork:
    """A model, the names of its logits in order and of its inputs."""

    proto: onnx.ModelProto
    logits: tuple[str, ...]
    inputs: tuple[str, ...]
    dynamic: bool

    def save(self, folder: Path) -> Path:
        path = folder / "random.onnx"
        onnx.save(self.proto, path)
        return path

    def samples(self, count: int, seed: int) -> dict[str, NDArray[np.float32]]:
        rng = np.random.default_rng(seed)
        return {n: rng.standard_normal((count, 2, SIDE, SIDE)).astype(np.float32) for n in self.inputs}


@dataclass
class _Feature:
    """A tensor [batch, channels, side, side]."""

    name: str
    channels: int
    side: int


class _Growing:
    """A graph that grows one drawn step at a time."""

    def __init__(self, draw: st.DrawFn, dynamic: bool) -> None:
        self.draw: Any = draw
        self.dynamic = dynamic
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.features: list[_Feature] = []
        self.logits: list[str] = []
        self.rng = np.random.default_rng(draw(st.integers(0, 99)))

    def op(self, kind: str, *inputs: str, to: str | None = None, **attributes: object) -> str:
        name = to or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))  # type: ignore[arg-type]
        return name

    def weight(self, *shape: int) -> str:
        """A weight; sometimes one of that shape that an earlier layer has, so that stages share it."""
        same = [n for n, t in self.weights.items() if tuple(t.dims) == shape and t.data_type == TensorProto.FLOAT]
        if same and self.draw(st.booleans()):
            shared: str = self.draw(st.sampled_from(same))
            return shared
        values = self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return self.constant(values.astype(np.float32))

    def constant(self, values: NDArray[np.generic]) -> str:
        name = f"weight_{len(self.weights)}"
        self.weights[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def grow(self) -> None:
        kinds = [self.conv, self.pool, self.add, self.concat, self.shift, self.shape_trip, self.branch]
        self.draw(st.sampled_from(kinds))()

    def pick(self, side: int | None = None, channels: int | None = None) -> _Feature:
        """An earlier feature, often the last, so that trunks grow deep and skips are long."""
        fits = [
            f for f in self.features if side in (None, f.side) and channels in (None, f.channels) and f.channels <= 16
        ]
        fits = fits or [self.features[0]]
        return fits[-1] if self.draw(st.booleans()) else self.draw(st.sampled_from(fits))

    def put(self, name: str, channels: int, side: int) -> None:
        self.features.append(_Feature(name, channels, side))

    def conv(self) -> None:
        x = self.pick()
        y = self.op("Conv", x.name, self.weight(WIDTH, x.channels, 3, 3), pads=[1, 1, 1, 1])
        self.put(self.op("Relu", y), WIDTH, x.side)

    def pool(self) -> None:
        x = self.pick()
        if x.side < 2:
            return
        kind = self.draw(st.sampled_from(["MaxPool", "AveragePool"]))
        self.put(self.op(kind, x.name, kernel_shape=[2, 2], strides=[2, 2]), x.channels, x.side // 2)

    def add(self) -> None:
        x = self.pick()
        y = self.pick(x.side, x.channels)
        if (y.side, y.channels) == (x.side, x.channels):
            self.put(self.op("Add", x.name, y.name), x.channels, x.side)

    def concat(self) -> None:
        x = self.pick()
        y = self.pick(x.side)
        if y.side == x.side:
            self.put(self.op("Concat", x.name, y.name, axis=1), x.channels + y.channels, x.side)

    def shift(self) -> None:
        """Add what is computed from constants alone."""
        x = self.pick()
        self.put(self.op("Add", x.name, self.op("Neg", self.weight(1, 1, 1, 1))), x.channels, x.side)

    def shape_trip(self) -> None:
        """Flatten and back, by the arithmetic that exporters write for a free batch."""
        x = self.pick()
        other = self.pick()
        batch = self.op("Gather", self.op("Shape", other.name), self.constant(np.array([0], np.int64)), axis=0)
        rest = self.constant(np.array([x.channels, x.side, x.side], np.int64))
        flat = self.op("Reshape", x.name, self.op("Concat", batch, self.constant(np.array([-1], np.int64)), axis=0))
        self.put(self.op("Reshape", flat, self.op("Concat", batch, rest, axis=0)), x.channels, x.side)

    def branch(self) -> None:
        """An If whose branches capture a feature and a weight."""
        x, y = self.pick(), self.pick()
        weight = self.weight(1, 1, 1, 1)
        number = len(self.nodes)
        branches = []
        for kind, feature in (("Add", x), ("Mul", y)):
            out = f"inner_{kind}_{number}"
            node = helper.make_node(kind, [feature.name, weight], [out])
            value = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
            branches.append(helper.make_graph([node], kind, [], [value]))
        taken = self.draw(st.booleans())
        chosen = self.constant(np.array(taken))
        name = self.op("If", chosen, then_branch=branches[0], else_branch=branches[1])
        self.put(name, (x if taken else y).channels, (x if taken else y).side)

    def head(self) -> None:
        """An exit, sometimes fed by the logits of the exit before."""
        x = self.pick()
        y = self.op("Conv", x.name, self.weight(WIDTH, x.channels, 1, 1))
        flat = self.op("Flatten", self.op("GlobalAveragePool", y))
        size = WIDTH
        if self.logits and self.draw(st.booleans()):
            flat, size = self.op("Concat", flat, self.logits[-1], axis=1), WIDTH + CLASSES
        self.logits.append(self.op("Gemm", flat, self.weight(size, CLASSES), to=self.draw_name()))

    def draw_name(self) -> str:
        # Names that the fused mode uses itself must not matter.
        names = ["z", "logits", "exit", "score", "threshold_1", "edgeexit/exit1/LogSoftmax_1"]
        free = [n for n in names if n not in self.logits] + [f"z{len(self.logits)}"]
        name: str = self.draw(st.sampled_from(free))
        return name


@st.composite
def random_networks(draw: st.DrawFn, max_exits: int = 8) -> RandomNetwork:
    """Networks of 2 to `max_exits` exits, one or two inputs, free or fixed batch."""
    dynamic = draw(st.booleans())
    inputs = tuple(["x", "y"][: draw(st.integers(1, 2))])
    growing = _Growing(draw, dynamic)
    for name in inputs:
        growing.put(name, 2, SIDE)
    for _ in range(draw(st.integers(2, max_exits))):
        for _ in range(draw(st.integers(1, 4))):
            growing.grow()
        growing.conv()
        growing.head()
    batch = "n" if dynamic else 1
    ins = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, 2, SIDE, SIDE]) for n in inputs]
    outs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, CLASSES]) for n in growing.logits]
    graph = helper.make_graph(growing.nodes, "random", ins, outs, list(growing.weights.values()))
    opset = draw(st.sampled_from([13, 17, 20]))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return RandomNetwork(proto, tuple(growing.logits), inputs, dynamic)
