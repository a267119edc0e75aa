"""Several processes, started by torchrun, train what one process trains."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = """
import os
import sys
import time
from contextlib import suppress
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
    def __init__(self, after):
        self.left = after

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


def step_and_leave(group):
    model = group.wrap_model(Small())
    sum(logits.sum() for logits in model(torch.ones(4, 6))).backward()
    raise KeyboardInterrupt


for turn in range(8):  # groups one after the other, each left right after a step, each process early at some and late at others
    if turn % 2 == int(os.environ.get("RANK", "0")):
        time.sleep(0.2)
    with suppress(KeyboardInterrupt), join_process_group() as group:
        assert group.size == group.sum_over_processes(torch.ones(())).item()
        step_and_leave(group)
for folder, after in zip(sys.argv[1::2], sys.argv[2::2]):
    out = Path(folder)
    resume = (out / "checkpoint.pt").exists()
    options = {"network": Small, "parts": parts, "threads": 1, "resume": resume, "progress": Interrupt(int(after))}
    try:
        train(parse_recipe(raw, where="r"), out, **options)
    except (KeyboardInterrupt, RuntimeError):  # and that of the other process, whose partner has left
        (out / f"interrupted-{os.environ['RANK']}").touch()
"""

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def start(script: Path, *runs: tuple[Path, int]) -> subprocess.CompletedProcess[str]:
    """Train in two processes of their own, one folder after the other, each interrupted after so many steps; 0 never.

    All in one start: torch is imported by torchrun and by both processes, which takes longer than the trainings.
    """
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*torchrun, str(script), *(str(word) for run in runs for word in run)]
    return subprocess.run(command, env=ENVIRONMENT, timeout=300, capture_output=True, text=True, check=False)


def weights(out: Path, phase: str) -> dict[str, Any]:
    return torch.load(out / f"{phase}.pt", weights_only=True)  # type: ignore[no-any-return]


def test_two_processes_train_the_network_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every batch shared out, gradients are those of the whole batch: in a phase that stops early, and in one with frozen parts.

    A run of two processes that is interrupted goes on as well, and ends with the bits of one that was not. Processes that have left a
    group, if right after a step, join another: the trainings are their ninth to eleventh.
    """
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)

    monkeypatch.setattr(sys, "argv", ["work.py", str(tmp_path / "one"), "0"])
    runpy.run_path(str(script))
    done = start(script, (tmp_path / "two", 0), (tmp_path / "cut", 17), (tmp_path / "cut", 0))

    assert 0 == done.returncode, done.stderr[-2000:]
    assert all((tmp_path / f"cut/interrupted-{rank}").exists() for rank in (0, 1))
    assert [3, 3] == [
        len(json.loads((tmp_path / run / "metrics.json").read_text())["history"]["plain"]) for run in ("one", "two")
    ]
    for phase in ("plain", "joint", "heads"):
        found = weights(tmp_path / "two", phase)
        for name, value in weights(tmp_path / "one", phase).items():
            torch.testing.assert_close(value, found[name], atol=1e-5, rtol=1e-4)
            assert found[name].equal(weights(tmp_path / "cut", phase)[name])
    assert weights(tmp_path / "two", "joint")["last.weight"].equal(weights(tmp_path / "two", "heads")["last.weight"])
