"""Networks to prove a backend with: three small ones that are hard to cut right, and two of the papers' size.

Weights are drawn from a fixed seed: what is proved is that a backend computes the network, not that the network is any good. Convolutions
are scaled so that activations keep their size, hence logits of all exits differ and scores spread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 17
_CLASSES = 10


class _Layers:
    """Appends layers to a graph; every method takes and gives tensor names."""

    def __init__(self, seed: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        self._rng = np.random.default_rng(seed)

    def node(self, op: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        """One node with one output."""
        output = name or f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    def _weight(self, *shape: int, spread: float) -> str:
        name = f"weight_{len(self.weights)}"
        values = (self._rng.standard_normal(shape) * spread).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, x: str, channels_in: int, channels: int, *, kernel: int = 3, stride: int = 1, gain: float = 1.0
    ) -> str:
        """A convolution that keeps the size (before its stride), and a ReLU; its output is `gain` times as large as its input."""
        spread = gain * float(np.sqrt(2 / (channels_in * kernel**2)))
        weight = self._weight(channels, channels_in, kernel, kernel, spread=spread)
        bias = self._weight(channels, spread=0.1)
        pad = kernel // 2
        y = self.node("Conv", [x, weight, bias], strides=[stride] * 2, pads=[pad] * 4, kernel_shape=[kernel] * 2)
        return self.node("Relu", [y])

    def pool(self, x: str) -> str:
        """Halve height and width."""
        return self.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])

    def dense(self, x: str, features: int, width: int, name: str | None = None) -> str:
        """A fully connected layer on [batch, features]."""
        weight = self._weight(features, width, spread=float(np.sqrt(4 / features)))
        return self.node("Gemm", [x, weight, self._weight(width, spread=0.3)], name)

    def head(self, x: str, channels: int, name: str) -> str:
        """Global average, then logits."""
        flat = self.node("Flatten", [self.node("GlobalAveragePool", [x])])
        return self.dense(flat, channels, _CLASSES, name)

    def residual(self, x: str, channels_in: int, channels: int, *, stride: int, gain: float) -> str:
        """Two convolutions and a shortcut; `gain` of the body keeps the sum of many blocks in the range of float16."""
        body = self.conv(self.conv(x, channels_in, channels, stride=stride), channels, channels, gain=gain)
        same = stride == 1 and channels_in == channels
        short = x if same else self.conv(x, channels_in, channels, kernel=1, stride=stride)
        return self.node("Relu", [self.node("Add", [body, short])])

    def model(self, inputs: dict[str, list[int]], exits: list[str]) -> onnx.ModelProto:
        """The finished model, batch free."""
        graph = helper.make_graph(
            self.nodes,
            "conformance",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", *shape]) for n, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", _CLASSES]) for name in exits],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)


def _make_exit_names(count: int) -> list[str]:
    return [f"logits{i}" for i in range(1, count + 1)]


def build_skip_network() -> onnx.ModelProto:
    """Three stages with two boundary tensors at each cut: the features, and those of a connection that skips a stage."""
    net = _Layers(1)
    first = net.conv("x", 3, 8)
    net.head(net.pool(first), 8, "logits1")
    second = net.conv(first, 8, 8)
    net.head(second, 8, "logits2")
    third = net.conv(net.node("Concat", [first, second], axis=1), 16, 16, stride=2)
    net.head(third, 16, "logits3")
    return net.model({"x": [3, 12, 12]}, _make_exit_names(3))


def build_chained_heads_network() -> onnx.ModelProto:
    """Each head reads the logits of the one before it, so that an output is also a boundary tensor."""
    net = _Layers(2)
    features = net.conv("x", 1, 6)
    net.head(features, 6, "logits1")
    features = net.conv(features, 6, 6, stride=2)
    own = net.head(features, 6, "own2")
    net.node("Add", [own, "logits1"], "logits2")
    features = net.conv(features, 6, 6, stride=2)
    own = net.head(features, 6, "own3")
    net.node("Add", [own, net.node("Mul", ["logits2", "logits1"])], "logits3")
    return net.model({"x": [1, 9, 9]}, _make_exit_names(3))


def build_two_input_network() -> onnx.ModelProto:
    """The second input is read by the second stage only; two exits."""
    net = _Layers(3)
    features = net.conv("image", 3, 8)
    net.head(features, 8, "logits1")
    flat = net.node("Flatten", [net.node("GlobalAveragePool", [net.conv(features, 8, 8)])])
    both = net.node("Concat", [flat, net.node("Tanh", ["state"])], axis=1)
    net.dense(both, 14, _CLASSES, "logits2")
    return net.model({"image": [3, 8, 8], "state": [6]}, _make_exit_names(2))


def build_alexnet_sized_network() -> onnx.ModelProto:
    """The size of B-AlexNet on CIFAR-10 (Teerapittayanon 2016, section IV): five convolutions, three exits."""
    net = _Layers(4)
    y = net.pool(net.conv("x", 3, 32, kernel=5))
    net.head(net.conv(y, 32, 32), 32, "logits1")
    y = net.pool(net.conv(y, 32, 64, kernel=5))
    y = net.conv(y, 64, 96)
    net.head(net.conv(y, 96, 32), 32, "logits2")
    y = net.pool(net.conv(net.conv(y, 96, 96), 96, 64))
    flat = net.node("Flatten", [y])
    y = net.node("Relu", [net.dense(flat, 64 * 4 * 4, 256)])
    y = net.node("Relu", [net.dense(y, 256, 128)])
    net.dense(y, 128, _CLASSES, "logits3")
    return net.model({"x": [3, 32, 32]}, _make_exit_names(3))


def build_resnet_sized_network(blocks: int = 18) -> onnx.ModelProto:
    """The size of B-ResNet-110 on CIFAR-10 (same paper): 3 x `blocks` residual blocks of 16, 32 and 64 channels, three exits."""
    net = _Layers(5)
    gain = 1 / float(np.sqrt(2 * blocks))
    y = net.conv("x", 3, 16)
    channels_in = 16
    for group, channels in enumerate((16, 32, 64)):
        for block in range(blocks):
            if (group, block) in ((0, 1), (1, blocks // 2)):
                net.head(net.conv(y, channels_in, 32), 32, f"logits{group + 1}")
            y = net.residual(y, channels_in, channels, stride=2 if group and not block else 1, gain=gain)
            channels_in = channels
    net.head(y, 64, "logits3")
    return net.model({"x": [3, 32, 32]}, _make_exit_names(3))


BUILDERS: dict[str, Callable[[], onnx.ModelProto]] = {
    "skips": build_skip_network,
    "heads-feed-heads": build_chained_heads_network,
    "two-inputs": build_two_input_network,
    "alexnet-size": build_alexnet_sized_network,
    "resnet-size": build_resnet_sized_network,
}
"""Networks that are made here, by name."""


def write_network(name: str, folder: Path) -> Path:
    """Write a network of `BUILDERS`; its file."""
    path = folder / f"{name}.onnx"
    onnx.save(BUILDERS[name](), str(path))
    return path
