"""BranchyNet's networks (Teerapittayanon, McDanel and Kung, ICPR 2016, section IV).

The forward of each returns the logits of every exit, first exit first: a list of float32 [batch, 10]. With `exits=False` it is the
plain network, the same trunk under the same parameter names, and the list has one entry.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from edgeexit.nets.registry import register


class BranchyLeNet(nn.Module):
    """B-LeNet for 1x28x28 inputs in [0, 1].

    The branch leaves after the first convolution. The authors' code pools and rectifies that convolution once in the branch and
    once in the trunk; the two are the same tensor, so here they are computed once. Their pooling rounds sizes up.
    """

    def __init__(self, *, classes: int = 10, exits: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 5, 5, padding=3)
        self.branch = _LeNetBranch(classes) if exits else None
        self.conv2 = nn.Conv2d(5, 10, 5, padding=3)
        self.conv3 = nn.Conv2d(10, 20, 5, padding=3)
        self.fc1 = nn.Linear(720, 84)
        self.fc2 = nn.Linear(84, classes)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: [b, 1, 28, 28]."""
        x = _pool_relu(self.conv1(x))  # [b, 5, 15, 15]
        early = [self.branch(x)] if self.branch is not None else []
        x = _pool_relu(self.conv2(x))  # [b, 10, 9, 9]
        x = _pool_relu(self.conv3(x))  # [b, 20, 6, 6]
        return [*early, self.fc2(self.fc1(x.flatten(1)))]


class _LeNetBranch(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 10, 3, padding=1)
        self.fc = nn.Linear(640, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = _pool_relu(self.conv(x))  # [b, 10, 8, 8]
        out: Tensor = self.fc(x.flatten(1))
        return out


def _pool_relu(x: Tensor) -> Tensor:
    return F.relu(F.max_pool2d(x, 2, ceil_mode=True))


@register(input_shape=(1, 28, 28), source="BranchyNet (2016), section IV: B-LeNet")
def lenet(*, classes: int = 10, exits: bool = True) -> nn.Module:
    """B-LeNet: two exits; MNIST and the digits of the demo."""
    return BranchyLeNet(classes=classes, exits=exits)
