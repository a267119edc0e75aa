"""Classifiers without exits, trained on CIFAR-10: what somebody has who comes to edgeexit. `edgeexit.add_exits` gives them exits.

    python -m benchmarks plain_networks resnet20 -o runs/resnet20 --epochs 30
    python -m benchmarks plain_networks mobilenetv2 -o runs/mobilenetv2 --epochs 30

Both are plain torch modules of the published architectures: ResNet-20 (He et al. 2016, section 4.2, with projections in place of padded
shortcuts) and MobileNetV2 (Sandler et al. 2018, table 2, with the strides of the first two stages at 1 for images of 32×32). Trained on
the train part (40,000 images) with crops and mirrored images, SGD with Nesterov momentum 0.9 and one cycle of the step size.
Writes net.pt (a state_dict) and metrics.json into the folder; --resume goes on after the last finished epoch. Where the time does not
suffice for the whole cycle, --resume --cool-down N ends it early: the step size falls in a straight line to zero within N more epochs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from edgeexit.data import load_data
from edgeexit.errors import InputError
from edgeexit.training.augment import Augment, augment_images
from edgeexit.util.atomic import replace_atomically, write_bytes

AUGMENT = Augment(crop_pad=4, flip=True)


def convolve(channels_in: int, channels_out: int, size: int, *, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias and its batch norm."""
    conv = nn.Conv2d(channels_in, channels_out, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels_out)]


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        first, second = convolve(channels_in, channels_out, 3, stride=stride), convolve(channels_out, channels_out, 3)
        self.body = nn.Sequential(*first, nn.ReLU(), *second)
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else nn.Sequential(*convolve(channels_in, channels_out, 1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        """Features [b, c, h, w]."""
        return torch.relu(self.body(x) + self.shortcut(x))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, linear projection; a shortcut where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        expand = [*convolve(channels_in, wide, 1), nn.ReLU6()] if expansion != 1 else []
        depthwise = [*convolve(wide, wide, 3, stride=stride, groups=wide), nn.ReLU6()]
        self.body = nn.Sequential(*expand, *depthwise, *convolve(wide, channels_out, 1))
        self.same = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Features [b, c, h, w]."""
        out: Tensor = self.body(x)
        return x + out if self.same else out


def make_resnet20() -> nn.Module:
    """ResNet-20 for CIFAR-10: 41 million multiply-accumulates, 0.27 million parameters."""
    blocks: list[nn.Module] = []
    channels = 16
    for width in (16, 32, 64):
        for i in range(3):
            blocks.append(BasicBlock(channels, width, 2 if i == 0 and width > 16 else 1))
            channels = width
    return nn.Sequential(
        *convolve(3, 16, 3), nn.ReLU(), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )


def make_mobilenetv2() -> nn.Module:
    """MobileNetV2 for images of 32×32: 2.2 million parameters."""
    blocks: list[nn.Module] = []
    channels = 32
    for t, c, n, s in (
        (1, 16, 1, 1),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(n):
            blocks.append(InvertedResidual(channels, c, s if i == 0 else 1, t))
            channels = c
    stem, last = [*convolve(3, 32, 3), nn.ReLU6()], [*convolve(320, 1280, 1), nn.ReLU6()]
    return nn.Sequential(
        *stem, *blocks, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 10)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {"resnet20": make_resnet20, "mobilenetv2": make_mobilenetv2}


def read_part(part: str) -> tuple[Tensor, Tensor]:
    """Images [n, 3, 32, 32] and labels [n] of one part of CIFAR-10."""
    data = load_data(f"cifar10:{part}")
    if data.labels is None:
        raise InputError(f"{data.name} has no labels")
    return torch.from_numpy(data.x), torch.from_numpy(data.labels)


def measure_accuracy(module: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of right answers in evaluation mode, in float32."""
    module.eval()
    with torch.no_grad():
        right = sum(
            int((module(a).argmax(1) == b).sum()) for a, b in zip(torch.split(x, 500), torch.split(y, 500), strict=True)
        )
    return right / len(y)


class Training:
    """A network, its optimiser and where the run stands."""

    def __init__(self, args: argparse.Namespace, steps: int) -> None:
        torch.manual_seed(args.seed)
        self.path = args.out / "checkpoint.pt"
        self.module = NETWORKS[args.network]().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(self.module.parameters(), 0.1, 0.9, weight_decay=5e-4, nesterov=True)
        self.schedule: torch.optim.lr_scheduler.LRScheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, args.rate, args.epochs * steps, pct_start=0.25, cycle_momentum=False
        )
        self.history: list[dict[str, float]] = []

    def save(self) -> None:
        """Everything that going on needs."""
        parts = {name: getattr(self, name).state_dict() for name in ("module", "optimizer", "schedule")}
        with replace_atomically(self.path) as scratch:
            torch.save({**parts, "history": self.history}, scratch)

    def resume(self) -> None:
        """From the last finished epoch."""
        state: dict[str, Any] = torch.load(self.path, weights_only=True)
        if "total_iters" in state["schedule"]:
            self.cool_down(state["schedule"]["total_iters"])
        for name in ("module", "optimizer", "schedule"):
            getattr(self, name).load_state_dict(state[name])
        self.history = state["history"]

    def cool_down(self, steps: int) -> None:
        """In place of the rest of the cycle: from the present step size to zero in a straight line."""
        for group in self.optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.schedule = torch.optim.lr_scheduler.LinearLR(
            self.optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps
        )

    def run_epoch(self, x: Tensor, y: Tensor, batch: int, seed: int) -> dict[str, float]:
        """One pass over the data in a random order."""
        draws, began, total = torch.Generator().manual_seed(seed), time.perf_counter(), 0.0
        self.module.train()
        order = torch.randperm(len(x), generator=draws)[: len(x) // batch * batch]
        for rows in torch.split(order, batch):
            images = augment_images(x[rows], AUGMENT, draws).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                loss = cross_entropy(self.module(images).float(), y[rows])
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()
            self.schedule.step()
            total += float(loss.detach())
        return {"loss": total / (len(x) // batch), "seconds": time.perf_counter() - began}


def main() -> None:
    """Train one network."""
    parser = argparse.ArgumentParser(
        "plain_networks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--out", "-o", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.2, help="step size at its highest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--cool-down", type=int, default=0, metavar="N", help="with --resume: end the cycle within N more epochs"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    x, y = read_part("train")
    training = Training(args, len(x) // args.batch)
    if args.resume:
        training.resume()
    if args.cool_down:
        args.epochs = len(training.history) + args.cool_down
        training.cool_down(args.cool_down * (len(x) // args.batch))
    for epoch in range(len(training.history), args.epochs):
        training.history.append(training.run_epoch(x, y, args.batch, args.seed * 1000 + epoch))
        training.save()
        print(f"epoch {epoch + 1} of {args.epochs}: loss {training.history[-1]['loss']:.4f}", flush=True)
    write_results(args, training)


def write_results(args: argparse.Namespace, training: Training) -> None:
    """net.pt and metrics.json."""
    with replace_atomically(args.out / "net.pt") as scratch:
        torch.save({k: v.contiguous() for k, v in training.module.state_dict().items()}, scratch)
    accuracy = {part: measure_accuracy(training.module, *read_part(part)) for part in ("calibration", "test")}
    settings = {k: v for k, v in vars(args).items() if k not in ("out", "resume")}
    document = {**settings, "accuracy": accuracy, "history": training.history}
    write_bytes(args.out / "metrics.json", json.dumps(document, indent=2).encode())
    print(json.dumps(accuracy))


if __name__ == "__main__":
    main()
