"""Classifiers without exits, as people write them in plain torch: small members of well-known families.

They have as many blocks as show each kind of them, and two places for an exit: every operator costs an export milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 5


def conv_bn(
    into: int, out: int, size: int = 3, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(into, out, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, *([act(inplace=True)] if act is not None else []))


class BasicBlock(nn.Module):
    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(into, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = None if stride == 1 and into == out else conv_bn(into, out, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        identity: Tensor = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        result: Tensor = self.relu(out)
        return result


class Bottleneck(nn.Module):
    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(into, out // 4, 1), conv_bn(out // 4, out // 4, 3, stride), conv_bn(out // 4, out, 1, act=None)
        )
        self.downsample = nn.Identity() if stride == 1 and into == out else conv_bn(into, out, 1, stride, act=None)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.downsample(x))


class ResNet(nn.Module):
    def __init__(self, block: type[nn.Module], widths: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        into = 8
        for i, out in enumerate(widths, 1):
            blocks = [block(into, out, 1 if i == 1 else 2), block(out, out, 1)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            into = out
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(into, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        for layer in (self.layer1, self.layer2):
            x = cast("nn.Module", layer)(x)
        out: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return out


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * torch.sigmoid(self.fc2(F.silu(self.fc1(F.adaptive_avg_pool2d(x, 1)))))
        return out


class InvertedResidual(nn.Module):
    """With squeeze-and-excite, the block of MobileNetV3 and EfficientNet; without, of MobileNetV2."""

    def __init__(self, into: int, out: int, stride: int, act: type[nn.Module], *, excite: bool) -> None:
        super().__init__()
        wide = 3 * into
        middle = [SqueezeExcite(wide)] if excite else []
        self.conv = nn.Sequential(
            conv_bn(into, wide, 1, act=act),
            conv_bn(wide, wide, 3, stride, wide, act=act),
            *middle,
            conv_bn(wide, out, 1, act=None),
        )
        self.skips = stride == 1 and into == out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.skips else out


class MobileNet(nn.Module):
    def __init__(self, act: type[nn.Module], *, excite: bool = False) -> None:
        super().__init__()
        shapes = [(8, 8, 1), (8, 12, 2), (12, 12, 1)]
        blocks = [InvertedResidual(*shape, act, excite=excite) for shape in shapes]
        self.features = nn.Sequential(conv_bn(3, 8, 3, 2, act=act), *blocks, conv_bn(12, 32, 1, act=act))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(32, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.features(x).mean([2, 3]))
        return out


class DenseLayer(nn.Module):
    def __init__(self, into: int, growth: int) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(into), nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(into, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(self.relu(self.norm(x)))], 1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        self.features.add_module("conv0", nn.Conv2d(3, 8, 3, padding=1, bias=False))
        channels = 8
        for i in (1, 2):
            self.features.add_module(
                f"denseblock{i}", nn.Sequential(*(DenseLayer(channels + 4 * k, 4) for k in range(2)))
            )
            channels += 8
            self.features.add_module(
                f"transition{i}", nn.Sequential(conv_bn(channels, channels // 2, 1), nn.AvgPool2d(2))
            )
            channels //= 2
        self.classifier = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.features(x), inplace=True)
        out: Tensor = self.classifier(F.adaptive_avg_pool2d(features, (1, 1)).flatten(1))
        return out


def make_vgg() -> nn.Module:
    blocks = [
        conv_bn(3, 8),
        nn.MaxPool2d(2),
        conv_bn(8, 16),
        conv_bn(16, 16),
        nn.MaxPool2d(2),
        conv_bn(16, 32),
        nn.MaxPool2d(2),
    ]
    return nn.Sequential(
        *blocks, nn.Flatten(), nn.Linear(32 * 16, 32), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(32, CLASSES)
    )


class ViT(nn.Module):
    def __init__(self, width: int = 16, depth: int = 2) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, 8, 8)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 17, width) * 0.02)
        layer = nn.TransformerEncoderLayer(width, 2, 2 * width, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embed
        out: Tensor = self.head(self.norm(self.encoder(x))[:, 0])
        return out


class ConvNeXtBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        out: Tensor = x + y.permute(0, 3, 1, 2)
        return out


class ConvNeXt(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, 4)
        self.stages = nn.ModuleList(nn.Sequential(*(ConvNeXtBlock(w) for _ in range(2))) for w in (12, 24))
        self.down = nn.Conv2d(12, 24, 2, 2)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages[1](self.down(self.stages[0](self.stem(x))))
        out: Tensor = self.head(self.norm(x.mean([-2, -1])))
        return out


def make_cnn_1d() -> nn.Module:
    blocks = [
        nn.Sequential(nn.Conv1d(a, b, 5, padding=2), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(2))
        for a, b in ((2, 8), (8, 16), (16, 16))
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, CLASSES))


class StackedGRU(nn.Module):
    """Two GRUs over time; `time_first` as torch does by default."""

    def __init__(self, *, time_first: bool = False, kind: type[nn.GRU | nn.LSTM] = nn.GRU) -> None:
        super().__init__()
        self.time_first = time_first
        self.embed = nn.Linear(3, 8)
        self.rnn1 = kind(8, 8, batch_first=not time_first)
        self.rnn2 = kind(8, 16, batch_first=not time_first)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.transpose(0, 1) if self.time_first else x)
        out, _ = self.rnn1(x)
        out, _ = self.rnn2(out)
        logits: Tensor = self.fc(out[-1] if self.time_first else out[:, -1])
        return logits


@dataclass
class Output:
    """As outputs of Hugging Face are."""

    logits: Tensor
    hidden_states: Any = None


class BertLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output, self.up, self.down = (
            nn.Linear(width, width),
            nn.Linear(width, 2 * width),
            nn.Linear(2 * width, width),
        )
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor]:
        q, k, v = (f(x).unflatten(2, (2, -1)).transpose(1, 2) for f in (self.query, self.key, self.value))
        attention = torch.softmax(q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + mask, -1) @ v
        x = self.norm1(x + self.output(attention.transpose(1, 2).flatten(2)))
        return (self.norm2(x + self.down(F.gelu(self.up(x)))),)


class Bert(nn.Module):
    """Token ids and a mask in, an output with `.logits` out; layers return tuples."""

    def __init__(self, width: int = 16, depth: int = 3) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(20, width)
        self.layers = nn.ModuleList(BertLayer(width) for _ in range(depth))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        mask = (1.0 - attention_mask[:, None, None, :].float()) * -1e4
        x = self.embeddings(input_ids)
        for layer in self.layers:
            (x,) = layer(x, mask)
        return Output(self.classifier(torch.tanh(self.pooler(x[:, 0]))))


IMAGE = (1, 3, 32, 32)


def make_image() -> Tensor:
    return torch.rand(IMAGE)


def make_text() -> dict[str, Tensor]:
    return {"input_ids": torch.arange(12)[None] % 20, "attention_mask": torch.ones(1, 12, dtype=torch.int64)}
