"""Several processes, started by torchrun, train what one process trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

SCRIPT = """
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeexit.data import Dataset
from edgeexit.training import train
from edgeexit.training.process_group import join_process_group
from edgeexit.training.recipe import parse_recipe


class Small(nn.Module):
    def __init__(self, exits=True):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.heads = nn.ModuleList([nn.Linear(8, 3)] if exits else [])
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        features = self.backbone(x)
        return [*(head(features) for head in self.heads), self.last(features.tanh())]


class Interrupt:
    left = int(sys.argv[2])

    def __call__(self, what, done, total):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


x = torch.randn(72, 6, generator=torch.Generator().manual_seed(0)).numpy()
whole = Dataset("points", x, x[:, :3].argmax(-1))
parts = {"train": whole.take(slice(0, 40)), "calibration": whole.take(slice(40, 56)), "test": whole.take(slice(56, 72))}
sgd = {"name": "sgd", "rate": 0.1, "momentum": 0.5}
phases = {
    "plain": {"epochs": 20, "batch": 16, "optimizer": sgd, "network": {"exits": False},
              "stop": {"watch": "calibration_loss", "patience": 2, "min_change": 10.0}},
    "joint": {"epochs": 3, "batch": 16, "optimizer": sgd, "start": "plain"},
    "heads": {"epochs": 4, "batch": 16, "optimizer": sgd, "start": "joint", "train": ["heads.*"]},
}
raw = {"schema": "edgeexit.recipe/2", "name": "r", "about": "a", "data": "points", "network": "mine", "phases": phases}
for turn in range(4):  # groups one after the other, each process early at some and late at others
    if turn % 2 == int(os.environ.get("RANK", "0")):
        time.sleep(0.2)
    with join_process_group() as group:
        assert group.size == group.sum_over_processes(torch.ones(())).item()
out = Path(sys.argv[1])
resume = (out / "checkpoint.pt").exists()
train(parse_recipe(raw, where="r"), out, network=Small, parts=parts, threads=1, resume=resume, progress=Interrupt())
"""

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def start(script: Path, out: Path, *, processes: int = 1, interrupt_after: int = 0) -> subprocess.CompletedProcess[str]:
    """Train in processes of their own."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *torchrun, str(script), str(out), str(interrupt_after)]
    return subprocess.run(command, env=ENVIRONMENT, timeout=600, capture_output=True, text=True, check=False)


def weights(out: Path, phase: str) -> dict[str, Any]:
    return torch.load(out / f"{phase}.pt", weights_only=True)  # type: ignore[no-any-return]


def test_two_processes_train_the_network_of_one(tmp_path: Path) -> None:
    """With every batch shared out, gradients are those of the whole batch: in a phase that stops early, and in one with frozen parts.

    A run of two processes that is interrupted goes on as well, and ends with the bits of one that was not. Processes that have left a
    group join another: the training is their fifth.
    """
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)

    one, two = start(script, tmp_path / "one"), start(script, tmp_path / "two", processes=2)
    cut = start(script, tmp_path / "cut", processes=2, interrupt_after=17)
    resumed = start(script, tmp_path / "cut", processes=2)

    assert [0, 0, 0] == [done.returncode for done in (one, two, resumed)], two.stderr[-2000:] + resumed.stderr[-2000:]
    assert 0 != cut.returncode
    assert [3, 3] == [
        len(json.loads((tmp_path / run / "metrics.json").read_text())["history"]["plain"]) for run in ("one", "two")
    ]
    for phase in ("plain", "joint", "heads"):
        found = weights(tmp_path / "two", phase)
        for name, value in weights(tmp_path / "one", phase).items():
            torch.testing.assert_close(value, found[name], atol=1e-5, rtol=1e-4)
            assert found[name].equal(weights(tmp_path / "cut", phase)[name])
    assert weights(tmp_path / "two", "joint")["last.weight"].equal(weights(tmp_path / "two", "heads")["last.weight"])
