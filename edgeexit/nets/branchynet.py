"""BranchyNet's networks (Teerapittayanon, McDanel and Kung, ICPR 2016, section IV): B-LeNet, B-AlexNet, B-ResNet.

The forward of each returns the logits of every exit, first exit first: a list of float32 [batch, 10]. With `exits=False` it is the
plain network, the same trunk under the same parameter names, and the list has one entry. Samples of another `shape` than the paper's
change the sizes of fully connected layers only.

The paper and its authors' public code place the branches differently; `branches="paper"` or `"code"` says which. The paper gives no
widths, so both take the code's. Max pooling rounds sizes up, as in the framework of the time.

The authors' branches are heavy for today's runtimes, so `branches="light"` has exits of our own: placed and sized by what they cost
when run (ONNX Runtime, one thread; shares of the plain network's time, exit 1: B-LeNet 0.30 against 0.38, B-AlexNet 0.23 against 0.59,
B-ResNet-20 0.12 against 1.52).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.errors import InputError, did_you_mean
from edgeexit.nets.registry import register
from edgeexit.nets.residual import BasicBlock, build_block_groups, build_cifar_stem
from edgeexit.nets.shapes import Shape, Step, check_image, follow_shapes

Branches: TypeAlias = Literal["paper", "code", "light"]


class BranchyLeNet(nn.Module):
    """B-LeNet; the paper's for 1x28x28 inputs in [0, 1].

    The branch leaves after the first convolution. The authors' code pools and rectifies that convolution once in the branch and
    once in the trunk; the two are the same tensor, so here they are computed once. The paper's branch is the code's.

    light: one strided convolution to 16 channels and one fully connected layer in the same place.
    """

    def __init__(
        self, *, shape: Shape = (1, 28, 28), classes: int = 10, exits: bool = True, branches: Branches = "code"
    ) -> None:
        super().__init__()
        _check_branches(branches)
        check_image("B-LeNet", shape)
        self.conv1 = nn.Conv2d(shape[0], 5, 5, padding=3)
        features = follow_shapes("B-LeNet", [self.conv1, _pool_relu], shape)[-1]
        self.branch = _build_lenet_branch(branches, features, classes) if exits else None
        self.conv2 = nn.Conv2d(5, 10, 5, padding=3)
        self.conv3 = nn.Conv2d(10, 20, 5, padding=3)
        trunk: list[Step] = [self.conv1, _pool_relu, self.conv2, _pool_relu, self.conv3, _pool_relu]
        self.fc1 = nn.Linear(math.prod(follow_shapes("B-LeNet", trunk, shape)[-1]), 84)
        self.fc2 = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, *shape]; the sizes beside are those of the paper's."""
        x = _pool_relu(self.conv1(x))  # [b, 5, 15, 15]
        early = [self.branch(x)] if self.branch is not None else []
        x = _pool_relu(self.conv2(x))  # [b, 10, 9, 9]
        x = _pool_relu(self.conv3(x))  # [b, 20, 6, 6]
        return [*early, self.fc2(self.fc1(x.flatten(1)))]


def _build_lenet_branch(branches: Branches, features: Shape, classes: int) -> nn.Module:
    if branches == "light":
        return _end_in_linear([nn.Conv2d(5, 16, 3, 2, padding=1), nn.ReLU()], features, classes)
    return _LeNetBranch(features, classes)


class _LeNetBranch(nn.Module):
    def __init__(self, features: Shape, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 10, 3, padding=1)
        self.fc = nn.Linear(math.prod(follow_shapes("B-LeNet", [self.conv, _pool_relu], features)[-1]), classes)

    def forward(self, x: Tensor) -> Tensor:
        x = _pool_relu(self.conv(x))  # [b, 10, 8, 8]
        out: Tensor = self.fc(x.flatten(1))
        return out


def _pool_relu(x: Tensor) -> Tensor:
    return F.relu(F.max_pool2d(x, 2, ceil_mode=True))


@register(source="BranchyNet (2016), section IV: B-LeNet")
def lenet(
    *, shape: Shape = (1, 28, 28), classes: int = 10, exits: bool = True, branches: Branches = "code"
) -> nn.Module:
    """B-LeNet: two exits; MNIST and the digits of the demo."""
    return BranchyLeNet(shape=shape, classes=classes, exits=exits, branches=branches)


# ---------------------------------------------------------------- B-AlexNet


class BranchyAlexNet(nn.Module):
    """B-AlexNet: three exits; the paper's for 3x32x32 inputs.

    paper: branch 1 (2 conv, 1 FC) after the first convolution, branch 2 (1 conv, 1 FC) after the second.
    code: the same branches after the second and the third.
    light: branch 1 after the first convolution and branch 2 after the second: 2 conv, the first strided, with batch normalisation, 1 FC.
    What a branch and the trunk both begin with (relu, pool, LRN) is computed once.

    `first_only` leaves branch 2 out, and `first_convs` is the number of convolutions in branch 1 of the paper's and the code's form: the
    simplified networks of sections V-A and V-C.
    """

    def __init__(
        self,
        *,
        shape: Shape = (3, 32, 32),
        classes: int = 10,
        exits: bool = True,
        branches: Branches = "code",
        first_only: bool = False,
        first_convs: int = 2,
    ) -> None:
        super().__init__()
        _check_branches(branches)
        check_image("B-AlexNet", shape)
        self.conv1 = nn.Conv2d(shape[0], 32, 5, padding=2)
        self.norm1 = _ResponseNorm(32)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.norm2 = _ResponseNorm(64)
        self.conv3 = nn.Conv2d(64, 96, 3, padding=1)
        self.conv4 = nn.Conv2d(96, 96, 3, padding=1)
        self.conv5 = nn.Conv2d(96, 64, 3, padding=1)
        sizes = self._follow(shape)
        self.fc1 = nn.Linear(math.prod(sizes[-1]), 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, classes)
        made = _build_alexnet_branches(branches, first_convs, sizes, classes)[: 1 if first_only else 2] if exits else []
        self.places = tuple(place for place, _ in made)
        self.branches = nn.ModuleList(branch for _, branch in made)
        self.norm3 = _ResponseNorm(96) if branches == "code" and 3 in self.places else None

    def _follow(self, shape: Shape) -> list[Shape]:
        """Shapes of the features after each convolution, with pooling where the trunk has it."""
        first: list[Step] = [self.conv1, _max_pool_3x3, self.conv2, _max_pool_3x3]
        sizes = follow_shapes("B-AlexNet", [*first, self.conv3, self.conv4, self.conv5, _max_pool_3x3], shape)
        return [sizes[i] for i in (1, 3, 4, 5, 7)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, *shape]; the sizes beside are those of the paper's."""
        out: list[Tensor] = []
        x = self._leave(out, 1, self.norm1(_max_pool_3x3(F.relu(self.conv1(x)))))  # [b, 32, 16, 16]
        x = self._leave(out, 2, self.norm2(_max_pool_3x3(F.relu(self.conv2(x)))))  # [b, 64, 8, 8]
        x = F.relu(self.conv3(x))  # [b, 96, 8, 8]
        if 3 in self.places:
            self._leave(out, 3, x if self.norm3 is None else self.norm3(_max_pool_3x3(x)))
        x = F.relu(self.conv4(x))
        x = _max_pool_3x3(F.relu(self.conv5(x))).flatten(1)  # [b, 1024]
        x = F.dropout(F.relu(self.fc1(x)), 0.5, self.training)
        x = F.dropout(F.relu(self.fc2(x)), 0.5, self.training)
        return [*out, self.fc3(x)]

    def _leave(self, out: list[Tensor], place: int, x: Tensor) -> Tensor:
        if place in self.places:
            out.append(self.branches[self.places.index(place)](x))
        return x


def _build_alexnet_branches(
    branches: Branches, first_convs: int, sizes: Sequence[Shape], classes: int
) -> list[tuple[int, nn.Module]]:
    """The convolution after which each branch leaves, and the branch. `sizes`: of the features after each convolution."""
    if branches == "light":
        return [(1, _build_light_branch(sizes[0], classes)), (2, _build_light_branch(sizes[1], classes))]
    if branches == "paper":
        first = _build_head([32, *[32] * first_convs], sizes[0], classes)
        return [(1, first), (2, _build_head([64, 32], sizes[1], classes))]
    first = _build_head([64, *[32] * first_convs], sizes[1], classes)
    pooled = follow_shapes("B-AlexNet", [_max_pool_3x3], sizes[2])[-1]
    return [(2, first), (3, _build_head([96, 32], pooled, classes))]


class _ResponseNorm(nn.Module):
    """Local response normalisation over 3 neighbouring channels: x / (2 + 5e-5 Σ x²)^0.75.

    The sum is a 1x1 convolution with a band matrix, and the power is sqrt(d) sqrt(sqrt(d)): ONNX Runtime runs this form faster than
    its own LRN (B-AlexNet's first two layers take 0.6 of the time), and so does everything that is compared with it.
    """

    band: Tensor
    two: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        at = torch.arange(channels)
        band = ((at[:, None] - at[None]).abs() <= 1).float() * 5e-5
        self.register_buffer("band", band[:, :, None, None], persistent=False)
        self.register_buffer("two", torch.full((channels,), 2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        root = F.conv2d(x * x, self.band, self.two).sqrt()
        return x / (root * root.sqrt())


def _end_in_linear(layers: Sequence[nn.Module], features: Shape, classes: int) -> nn.Sequential:
    """The layers, and one fully connected layer on all that they make of such features."""
    made = nn.Sequential(*layers, nn.Flatten())
    [width] = follow_shapes("a branch", [made], features)[-1]
    return nn.Sequential(*made, nn.Linear(width, classes))


def _build_head(channels: list[int], features: Shape, classes: int) -> nn.Sequential:
    """3x3 convolutions through these channels, pooling by two, one fully connected layer."""
    layers: list[nn.Module] = []
    for a, b in pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]
    return _end_in_linear([*layers, nn.MaxPool2d(3, 2, ceil_mode=True)], features, classes)


def _build_light_branch(features: Shape, classes: int, *, width: int = 64) -> nn.Sequential:
    """Two 3x3 convolutions of one width, the first strided, pooling by two, one fully connected layer.

    Batch normalisation costs nothing when run, as it goes into the convolution before it, and these exits train better with it.
    """
    first, second = _build_normalized_conv(features[0], width, 2), _build_normalized_conv(width, width)
    return _end_in_linear([*first, *second, nn.MaxPool2d(2)], features, classes)


def _build_stem_branch(classes: int) -> nn.Sequential:
    """Four 3x3 convolutions from 16 to 64 channels, the size halved before each but the third, the mean over the pixels, 1 FC.

    An exit after the first layer has to see by itself; halving first leaves it an eighth of the ResNet-20's time. Narrow, since
    weights cost more than their multiplications where those of heads and trunk together outgrow a cache.
    """
    return nn.Sequential(
        *_build_normalized_conv(16, 32, 2),
        nn.MaxPool2d(2),
        *_build_normalized_conv(32, 64),
        *_build_normalized_conv(64, 64),
        nn.MaxPool2d(2),
        *_build_normalized_conv(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def _build_normalized_conv(inside: int, outside: int, stride: int = 1) -> list[nn.Module]:
    """A 3x3 convolution with batch normalisation, rectified."""
    convolution = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]


def _max_pool_3x3(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


def _check_branches(branches: str) -> None:
    if branches not in (known := get_args(Branches)):
        msg = f"branches is {branches!r}; one of {', '.join(known)} is needed.{did_you_mean(branches, known)}"
        raise InputError(msg)


@register(source="BranchyNet (2016), section IV: B-AlexNet")
def alexnet(
    *,
    shape: Shape = (3, 32, 32),
    classes: int = 10,
    exits: bool = True,
    branches: Branches = "code",
    first_only: bool = False,
    first_convs: int = 2,
) -> nn.Module:
    """B-AlexNet: three exits; CIFAR-10."""
    return BranchyAlexNet(
        shape=shape, classes=classes, exits=exits, branches=branches, first_only=first_only, first_convs=first_convs
    )


# ---------------------------------------------------------------- B-ResNet


class BranchyResNet(nn.Module):
    """B-ResNet-(6 n + 2): three exits; the paper's for 3x32x32 inputs. n = 18 is the paper's ResNet-110, n = 3 the 20-layer one.

    paper: branch 1 (3 conv, 1 FC) after the second convolution, branch 2 (2 conv, 1 FC) after convolution 2 n + 1.
    code: branch 1 right after the stem, branch 2 after the first group, which is the same place.
    light: a small network of its own right after the stem, four convolutions and a mean over the pixels; and after the first block of
    the second group two narrow convolutions, with batch normalisation, 1 FC.
    """

    def __init__(
        self,
        *,
        shape: Shape = (3, 32, 32),
        n: int = 18,
        classes: int = 10,
        exits: bool = True,
        branches: Branches = "code",
    ) -> None:
        super().__init__()
        _check_branches(branches)
        check_image("B-ResNet", shape)
        self.stem = build_cifar_stem(shape[0], 16, padding=0)
        self.group1, self.group2, self.group3 = build_block_groups(n, (16, 32, 64))
        self.fc = nn.Linear(64, classes)
        sizes = follow_shapes("B-ResNet", [self.stem, self.group1, self.group2[0]], shape)
        made = _build_resnet_branches(branches, n, sizes, classes) if exits else (nn.ModuleList(), ())
        self.branches, self.places = made

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, *shape]; the sizes beside are those of the paper's."""
        x = self.stem(x)  # [b, 16, 30, 30]
        out: list[Tensor] = []
        self._leave(out, "stem", x)
        for k, block in enumerate((*self.group1, *self.group2, *self.group3), 1):  # [b, 32, 15, 15], [b, 64, 8, 8]
            assert isinstance(block, BasicBlock)
            half = block.first(x)
            self._leave(out, f"inside {k}", half)
            x = block.second(x, half)
            self._leave(out, f"block {k}", x)
        return [*out, self.fc(x.mean((2, 3)))]

    def _leave(self, out: list[Tensor], place: str, x: Tensor) -> None:
        if place in self.places:
            out.append(self.branches[self.places.index(place)](x))


def _build_resnet_branches(
    branches: Branches, n: int, sizes: Sequence[Shape], classes: int
) -> tuple[nn.ModuleList, tuple[str, ...]]:
    """The branches, first one first, and where each leaves: after the stem, inside a block or after it.

    `sizes`: of the features after the stem, the first group, and the first block of the second group.
    """
    after_stem, after_group1, in_group2 = sizes
    if branches == "light":
        early, late = _build_stem_branch(classes), _build_light_branch(in_group2, classes, width=48)
        return nn.ModuleList([early, late]), ("stem", f"block {n + 1}")
    second = _end_in_linear([BasicBlock(16, 16)], after_group1, classes)
    first_place = "inside 1" if branches == "paper" else "stem"
    return nn.ModuleList([_ResNetBranch(after_stem, classes), second]), (first_place, f"block {n}")


class _ResNetBranch(nn.Module):
    """conv 5x5 to 64 channels, relu, LRN, two convolutions to 32 channels, FC: about 48 M multiplications, more than a ResNet-20."""

    def __init__(self, features: Shape, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(16, 64, 5, padding=2)
        self.norm = _ResponseNorm(64)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.fc = nn.Linear(32 * math.prod(features[1:]), classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))  # [b, 64, 30, 30]
        x = self.norm(x)
        x = F.relu(self.conv3(F.relu(self.conv2(x))))  # [b, 32, 30, 30]
        out: Tensor = self.fc(x.flatten(1))
        return out


@register(source="BranchyNet (2016), section IV: B-ResNet")
def resnet(
    *, shape: Shape = (3, 32, 32), n: int = 18, classes: int = 10, exits: bool = True, branches: Branches = "code"
) -> nn.Module:
    """B-ResNet-(6 n + 2): three exits; CIFAR-10; n = 18 is the paper's."""
    return BranchyResNet(shape=shape, n=n, classes=classes, exits=exits, branches=branches)
