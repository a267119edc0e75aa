"""Replay tables of real exits: small five-exit CNNs trained on MNIST and CIFAR-10, every exit run on the calibration and test sets.

    python -m benchmarks.calibration.real_tables [--epochs 4]     needs torch and the sets; writes benchmarks/calibration/tables/

Costs are a stated model, not a measurement: 10 µs plus multiply-accumulates at 5 G/s, heads included. The scores and answers are real.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from edgeexit.calibration import ReplayTable
from edgeexit.criteria import max_softmax
from edgeexit.data import load_data

HERE = Path(__file__).parent
WIDTHS = (12, 16, 24, 32, 48)
OVERHEAD_S, MACS_PER_S = 10e-6, 5e9


class FiveExits(nn.Module):
    """Five convolutions, a head of global pooling and one linear layer after each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        ins = (channels, *WIDTHS[:-1])
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in zip(ins, WIDTHS, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in WIDTHS)
        self.heads = nn.ModuleList(nn.Linear(4 * o, 10) for o in WIDTHS)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Images to the logits of every exit."""
        answers = []
        for k, (conv, norm, head) in enumerate(zip(self.convs, self.norms, self.heads, strict=True)):
            x = F.relu(norm(conv(x)))
            if k in (0, 2, 3):
                x = F.max_pool2d(x, 2)
            answers.append(head(F.adaptive_avg_pool2d(x, 2).flatten(1)))
        return answers


def main() -> None:
    """Train, replay, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4, help="on CIFAR-10; MNIST takes one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, epochs in (("mnist", 1), ("cifar10", options.epochs)):
        network = train(name, epochs, options.seed)
        for part in ("calibration", "test"):
            table = replay(network, name, part)
            table.save(HERE / "tables" / f"{name}-{part}.npz")
            assert table.correct is not None
            print(name, part, [round(float(a), 4) for a in table.correct.mean(axis=0)], flush=True)


def train(name: str, epochs: int, seed: int) -> FiveExits:
    """A network trained on the training part with the sum of all exits' losses."""
    torch.manual_seed(seed)
    data = load_data(f"{name}:train")
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    network = FiveExits(x.shape[1])
    steps = epochs * (len(x) // 128)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for batch in order[: len(order) // 128 * 128].view(-1, 128):
            loss = torch.stack([F.cross_entropy(a, y[batch]) for a in network(x[batch])]).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


def replay(network: FiveExits, name: str, part: str) -> ReplayTable:
    """Scores and correctness of every exit on every sample of one part of the data, as a replay table."""
    data = load_data(f"{name}:{part}")
    with torch.no_grad():
        batches = [network(torch.from_numpy(data.x[i : i + 500])) for i in range(0, len(data), 500)]
    logits = [torch.cat([b[k] for b in batches]).numpy() for k in range(len(WIDTHS))]
    answers = np.stack([z.argmax(axis=1) for z in logits], axis=1)
    macs, heads = count_macs(data.x.shape[1:])
    return ReplayTable.from_arrays(
        np.stack([max_softmax(z) for z in logits[:-1]], axis=1),
        answers == data.y[:, None],
        OVERHEAD_S + macs / MACS_PER_S,
        head_s=heads[:-1] / MACS_PER_S,
        agreement=answers == answers[:, -1:],
        macs=macs,
        origin={"network": f"five exits, {name}", "part": part, "costs": "modelled: 10 us + MACs / 5e9 per second"},
    )


def count_macs(shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cumulative multiply-accumulates of leaving at each exit, and of each head."""
    channels, side = shape[0], shape[1]
    convs, heads = [], []
    for k, width in enumerate(WIDTHS):
        convs.append(9.0 * channels * width * side * side)
        channels, side = width, side // 2 if k in (0, 2, 3) else side
        heads.append(40.0 * width)
    return np.cumsum(np.array(convs) + np.array(heads)), np.array(heads)


if __name__ == "__main__":
    main()
