"""Sources of the stand-ins for repositories of image classifiers: as few layers as show the interface and the names of weights."""

from __future__ import annotations

PARTS = """
import torch
from torch import nn


class Conv(nn.Module):
    def __init__(self, a, b, stride=1):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())

    def forward(self, x):
        return self.net(x)


class Bottleneck(nn.Module):
    def __init__(self, a, b, width):
        super().__init__()
        middle = min(a, width * b)
        self.net = nn.Sequential(
            nn.Conv2d(a, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
            nn.Conv2d(middle, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
        )


class Grow(nn.Module):
    def __init__(self, a, b, width):
        super().__init__()
        self.conv_normal = Bottleneck(a, b, width)

    def forward(self, x):
        return torch.cat([x, self.conv_normal.net(x)], 1)


class Exit(nn.Module):
    def __init__(self, a, classes):
        super().__init__()
        self.linear = nn.Linear(a, classes)

    def forward(self, x):
        return self.linear(x.mean((2, 3)))


CLASSES = {"cifar10": 10, "cifar100": 100, "ImageNet": 1000}
"""

MSDNET_NETWORK = """
from models.parts import CLASSES, Conv, Exit, Grow, nn


class First(nn.Module):
    def __init__(self, args):
        super().__init__()
        widths = [3, *(args.nChannels * f for f in args.grFactor)]
        self.layers = nn.ModuleList(Conv(a, b, 1 + (s > 0)) for s, (a, b) in enumerate(zip(widths, widths[1:])))

    def forward(self, x):
        return [x := layer(x) for layer in self.layers]


class Layer(nn.Module):
    def __init__(self, width, args):
        super().__init__()
        pairs = zip(args.grFactor, args.bnFactor)
        self.layers = nn.ModuleList(Grow(width * f, args.growthRate * f, b) for f, b in pairs)

    def forward(self, features):
        return [layer(x) for layer, x in zip(self.layers, features)]


class MSDNet(nn.Module):
    def __init__(self, args):
        super().__init__()
        assert args.bottleneck and args.prune == "max" and args.nScales == len(args.grFactor)
        steps = [args.base] + [args.step if args.stepmode == "even" else args.step * i + 1 for i in range(1, args.nBlocks)]
        self.blocks, self.classifier, width = nn.ModuleList(), nn.ModuleList(), args.nChannels
        for i, step in enumerate(steps):
            layers = [First(args)] if i == 0 else []
            for _ in range(step):
                layers.append(Layer(width, args))
                width += args.growthRate
            self.blocks.append(nn.Sequential(*layers))
            self.classifier.append(Exit(width * args.grFactor[-1], CLASSES[args.data]))

    def forward(self, x):
        out = []
        for block, classifier in zip(self.blocks, self.classifier):
            x = block(x)
            out.append(classifier(x[-1]))
        return out
"""

RANET = """
from models.parts import CLASSES, Conv, Exit, Grow, nn


class First(nn.Module):
    def __init__(self, args):
        super().__init__()
        widths = [3, *(args.nChannels * f for f in args.grFactor[::-1])]
        self.layers = nn.ModuleList(Conv(a, b, 1 + (s > 0)) for s, (a, b) in enumerate(zip(widths, widths[1:])))

    def forward(self, x):
        return [x := layer(x) for layer in self.layers][::-1]


class Block(nn.Module):
    def __init__(self, width, growth, layers, factor):
        super().__init__()
        self.layers = nn.ModuleList(Grow(width + i * growth, growth, factor) for i in range(layers))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class RANet(nn.Module):
    def __init__(self, args):
        super().__init__()
        assert len(args.scale_list) == args.nScales and args.reduction == 0.5 and args.compress_factor == 0.25
        self.FirstLayer, self.scale_flows, self.classifier = First(args), nn.ModuleList(), nn.ModuleList()
        self.counts = [0, *(args.block_step * i + args.nBlocks for i in range(args.nScales))]
        for s in range(args.nScales):
            width, growth, flow = args.nChannels * args.grFactor[s], args.growthRate * args.grFactor[s], nn.ModuleList()
            for i in range(self.counts[s + 1]):
                layers = args.step * (1 if args.stepmode == "even" else i + 1)
                flow.append(Block(width, growth, layers, args.bnFactor[s]))
                width += layers * growth
                if i >= self.counts[s]:
                    self.classifier.append(Exit(width, CLASSES[args.data]))
            self.scale_flows.append(flow)

    def forward(self, x):
        out, exits = [], iter(self.classifier)
        for s, (x, flow) in enumerate(zip(self.FirstLayer(x), self.scale_flows)):
            for i, block in enumerate(flow):
                x = block(x)
                if i >= self.counts[s]:
                    out.append(next(exits)(x))
        return out
"""

SDN = """
import aux_funcs as af
from torch import nn


class Block(nn.Module):
    def __init__(self, a, b, classes, has_exit):
        super().__init__()
        self.conv = nn.Conv2d(a, b, 3, 2 if a != b else 1, 1)
        self.output = af.InternalClassifier(b, classes) if has_exit else None

    def forward(self, x):
        x = self.conv(x).relu()
        return (x, 1, self.output(x)) if self.output is not None else (x, 0, None)


class ResNet_SDN(nn.Module):
    def __init__(self, params):
        super().__init__()
        assert params["block_type"] == "basic" and int(params["input_size"]) in (32, 64)
        self.layers, width = nn.ModuleList(), 3
        for i, (count, exits) in enumerate(zip(params["num_blocks"], params["add_ic"])):
            for k in range(int(count)):
                self.layers.append(Block(width, 8 << i, int(params["num_classes"]), exits[k]))
                width = 8 << i
        self.end_layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, int(params["num_classes"])))

    def forward(self, x):
        outputs = []
        for layer in self.layers:
            x, is_output, output = layer(x)
            if is_output:
                outputs.append(output)
        return [*outputs, self.end_layers(x)]
"""

SDN_VGG = """
import aux_funcs as af
from torch import nn


class VGG_SDN(nn.Module):
    def __init__(self, params):
        super().__init__()
        assert params["conv_batch_norm"] and len(params["max_pool_sizes"]) == len(params["conv_channels"])
        self.layers, self.outputs, width = nn.ModuleList(), nn.ModuleDict(), 3
        for i, (out, pool) in enumerate(zip(params["conv_channels"], params["max_pool_sizes"])):
            self.layers.append(nn.Sequential(nn.Conv2d(width, out, 1), nn.MaxPool2d(pool)))
            width = out
            if params["add_ic"][i]:
                self.outputs[str(i)] = af.InternalClassifier(width, int(params["num_classes"]))
        hidden = params["fc_layers"][-1]
        self.end_layers = nn.Sequential(nn.Linear(width, hidden), nn.Dropout(0.5), nn.Linear(hidden, int(params["num_classes"])))

    def forward(self, x):
        out = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if str(i) in self.outputs:
                out.append(self.outputs[str(i)](x))
        return [*out, self.end_layers(x.mean((2, 3)))]
"""

# The two files import each other, so that only one of them can be imported first.
ARCHITECTURES = """
import aux_funcs as af
from architectures.SDNs.{name} import {name}
"""

AUX = """
import network_architectures as arcs
from torch import nn


class InternalClassifier(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.linear = nn.Linear(width, classes)
        self.forward = self.forward_wo_pooling

    def forward_wo_pooling(self, x):
        return self.linear(x.mean((2, 3)))
"""

EENET = """
from flops_counter import measure
from torch import nn


class Block(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(a, b, 3, 1 + (a != b), 1), nn.Conv2d(b, b, 3, 1, 1)

    def forward(self, x):
        return self.conv2(self.conv1(x).relu()).relu()


class ExitBlock(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.confidence = nn.Sequential(nn.Linear(width, 1), nn.Sigmoid())
        self.classifier = nn.Sequential(nn.Linear(width, classes), nn.Softmax(dim=1))

    def forward(self, x):
        x = x.mean((2, 3))
        return self.classifier(x), self.confidence(x)


class EENet(nn.Module):
    def __init__(self, layers, num_ee, distribution, num_classes, input_shape, exit_type, loss_func, **kwargs):
        super().__init__()
        assert exit_type == "pool" and distribution == "fine"
        measure(input_shape)
        per, self.exit_threshold, self.cost = (layers - 2) // 6, 0.5, [0.1 * (i + 1) for i in range(num_ee)]
        widths = [input_shape[0], *([16] * per), *([32] * per), *([64] * per)]
        blocks = [Block(a, b) for a, b in zip(widths, widths[1:])]
        cuts = [*range(1, num_ee + 1), len(blocks)]
        self.stages = nn.ModuleList(nn.Sequential(*blocks[a:b]) for a, b in zip([0, *cuts], cuts))
        self.exits = nn.ModuleList(ExitBlock(widths[k + 1], num_classes) for k in range(num_ee))
        self.classifier = nn.Sequential(nn.Linear(64, num_classes), nn.Softmax(dim=1))
        self.confidence = nn.Sequential(nn.Linear(64, 1), nn.Sigmoid())

    def forward(self, x):
        preds, confs = [], []
        for idx, exitblock in enumerate(self.exits):
            x = self.stages[idx](x)
            pred, conf = exitblock(x)
            if not self.training and conf.item() > self.exit_threshold:
                return pred, idx, self.cost[idx]
            preds.append(pred)
            confs.append(conf)
        x = self.stages[-1](x).mean((2, 3))
        pred, conf = self.classifier(x), self.confidence(x)
        if not self.training:
            return pred, len(self.exits), 1.0
        return [*preds, pred], [*confs, conf], self.cost


def eenet20(**kwargs):
    return EENet(20, **kwargs)


def eenet32(**kwargs):
    return EENet(32, **kwargs)
"""

FLOPS = """
def measure(input_shape):
    assert type(input_shape) is tuple
"""

ZTW_RESNET = """
from torch import nn


class ResNet(nn.Module):
    def __init__(self, num_classes, standard_first_conv):
        super().__init__()
        assert standard_first_conv
        self.number_of_classes = num_classes
        self.blocks = nn.ModuleList(nn.Conv2d(8 if i else 3, 8, 3, 1 + (i % 4 == 0), 1) for i in range(16))
        self.linear = nn.Linear(8, num_classes)

    def forward_generator(self, x):
        for block in self.blocks:
            x = block(x).relu()
            x = yield x, None
        _ = yield None, self.linear(x.mean((2, 3)))


def ResNet50(num_classes=1000, standard_first_conv=True):
    return ResNet(num_classes, standard_first_conv)
"""

ZTW = """
import torch
from torch import nn


class Base(nn.Module):
    def forward(self, x_input):
        with torch.set_grad_enabled(bool(self.training)):
            steps, x, outputs = self.forward_generator(x_input), None, []
            while True:
                try:
                    x, output = steps.send(x)
                except StopIteration:
                    return outputs
                outputs.append(output)


class ZTWCascading(Base):
    def __init__(self, base_model, head_type, place_at):
        super().__init__()
        assert head_type == "conv_cascading"
        self._base_model, self._place_at = base_model, place_at
        classes = self.number_of_classes = base_model.number_of_classes
        self._heads = nn.ModuleList(nn.Linear(8 + classes * (i > 0), classes) for i in range(len(place_at)))

    def forward_generator(self, x_input):
        steps, head, i, x, before = self._base_model.forward_generator(x_input), 0, 0, None, None
        while True:
            try:
                x, final = steps.send(x)
            except StopIteration:
                break
            if final is not None:
                yield None, final
            elif i in self._place_at:
                pooled = x.mean((2, 3))
                before = self._heads[head](pooled if before is None else torch.cat([pooled, before], 1))
                head += 1
                x = yield x, before
            i += 1


class Weighted(nn.Module):
    def __init__(self, heads, classes):
        super().__init__()
        self._weight, self._bias = nn.Parameter(torch.zeros(1, heads, 1)), nn.Parameter(torch.zeros(1, classes))

    def forward(self, x):
        return torch.mean(x * self._weight.exp(), dim=1) + self._bias


class ZTWEnsembling(Base):
    def __init__(self, base_model, type="geometric"):
        super().__init__()
        assert type == "geometric"
        self._base_model = base_model
        self._ensembles = nn.ModuleList(Weighted(i + 1, base_model.number_of_classes) for i in range(len(base_model._heads)))

    def forward_generator(self, x_input):
        steps, x, seen = self._base_model.forward_generator(x_input), None, []
        while True:
            try:
                x, output = steps.send(x)
            except StopIteration:
                break
            if x is None:
                yield None, output
            else:
                seen.append(torch.log_softmax(output, dim=-1))
                x = yield x, self._ensembles[len(seen) - 1](torch.stack(seen, dim=1))
"""
