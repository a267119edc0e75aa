"""Memory of training on a folder of images: it must not grow with the folder.

    python -m benchmarks training_memory --images 20000 --size 160

Writes JPEGs of two classes into a scratch folder and trains a small network with an early exit on them for an epoch, in a process of
its own for each number of images. Reads that process's peak of resident memory (Linux, VmHWM of /proc/self/status) when everything is
imported, and at the end, after the images were checked, the network trained, and every exit evaluated on the calibration and the test part.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.common import Case, print_table, record
from edgeexit.cli.progress import open_progress_display
from edgeexit.data import ModelInfo, PartOptions, open_training_parts, read_preprocess
from edgeexit.hardware import read_device_state
from edgeexit.training import TrainingRecipe, train
from edgeexit.training.phases import TrainingPhase
from edgeexit.util.units import bytes_, seconds

LIMIT = 2 * 2**30
CLASSES = ("dark", "light")


class TwoExits(nn.Module):
    """Four convolutions of stride 2 with an exit in the middle and one at the end; any size of images."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        steps = [
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(widths)
        ]
        self.first, self.second = nn.Sequential(*steps[:2]), nn.Sequential(*steps[2:])
        self.early, self.last = nn.Linear(widths[2], len(CLASSES)), nn.Linear(widths[4], len(CLASSES))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images [b, 3, h, w] -> logits [b, 2] of both exits."""
        middle = self.first(x)
        return [self.early(middle.mean((2, 3))), self.last(self.second(middle).mean((2, 3)))]


def write_images(folder: Path, count: int, size: int) -> None:
    """`count` different JPEGs of size x size pixels, half of each class."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)

    def write(i: int) -> None:
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 156, (10, 10, 3)) + 100 * (i % 2)
        picture = Image.fromarray(coarse.astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / CLASSES[i % 2] / f"{i:06}.jpg", quality=90)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, range(count)))


def train_once(folder: Path, batch: int) -> dict[str, float]:
    """One epoch on a folder; peak memory of this process before and after, bytes."""
    before, began = read_peak(), time.perf_counter()
    model = ModelInfo("two exits", (), len(CLASSES), CLASSES, read_preprocess("mean=0.5,std=0.25"))
    recipe = TrainingRecipe("memory", "one epoch", {"joint": TrainingPhase(1, batch=batch)}, data=str(folder))
    torch.manual_seed(0)
    with open_progress_display() as progress, tempfile.TemporaryDirectory() as out:
        parts = open_training_parts(folder, model, PartOptions(progress=progress))
        opened, opened_s = read_peak(), time.perf_counter() - began
        result = train(recipe, Path(out) / "run", network=TwoExits(), parts=parts.by_name, progress=progress)
    return {
        "imported": before,
        "opened": opened,
        "trained": read_peak(),
        "open_s": opened_s,
        "train_s": time.perf_counter() - began - opened_s,
        "test_accuracy": result.metrics["results"]["joint"]["test_accuracy"][-1],
    }


def read_peak() -> int:
    """Largest resident memory of this process so far, bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) * 1024


def measure(count: int, arguments: argparse.Namespace) -> dict[str, float]:
    """The same in a process of its own, on a folder that is written for it."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "images"
        write_images(folder, count, arguments.size)
        command = [sys.executable, "-m", "benchmarks", "training_memory", "--measure", str(folder)]
        done = subprocess.run(
            [*command, "--batch", str(arguments.batch)], check=True, stdout=subprocess.PIPE, text=True
        )
        size = sum(file.stat().st_size for file in folder.glob("*/*"))
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    decoded = 4 * 3 * arguments.size**2 * count
    return {"images": count, "files_bytes": size, "decoded_bytes": decoded, **found}


def main() -> None:
    """Train on each number of images and compare the peaks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks training_memory", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 20_000], help="numbers of images")
    parser.add_argument("--size", type=int, default=160, help="height and width of the images")
    parser.add_argument("--batch", type=int, default=64, help="images per step")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="file of the result")
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(train_once(arguments.measure, arguments.batch)))
        return
    before = read_device_state()
    rows = [measure(count, arguments) for count in arguments.images]
    print_table(
        "Peak memory of training on a folder",
        ("images", "decoded, all", "imports", "checked", "trained", "check", "train"),
        [
            (
                f"{row['images']:,}",
                *(bytes_(row[key]) for key in ("decoded_bytes", "imported", "opened", "trained")),
                seconds(row["open_s"]),
                seconds(row["train_s"]),
            )
            for row in rows
        ],
        f"Limit: {bytes_(LIMIT)}.",
    )
    name = f"{arguments.size}x{arguments.size}"
    case = Case(name, Path(), None, "", "")
    body = {"limit_bytes": LIMIT, "rows": rows, "within_limit": all(row["trained"] <= LIMIT for row in rows)}
    record("training-memory", case, arguments, body, before)
    sys.exit(0 if body["within_limit"] else 1)


if __name__ == "__main__":
    main()
