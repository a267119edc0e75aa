"""Kill writers of a bundle with SIGKILL at random moments: afterwards it is whole, and the next command removes what is left over.

    python -m tests.kills --times 500

A writer compiles one of two networks, calibrates, and moves calibrations about, over and over. After every kill the bundle must open, all
its calibrations must be of the network that it holds, and after `check_writable`, with which the next command begins, every file in it must
be one that the manifest names.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path

import edgeexit
from edgeexit.bundle import Bundle
from edgeexit.bundle.reading import MANIFEST
from edgeexit.bundle.store import LOCK
from edgeexit.errors import EdgeExitError, InputError
from tests.networks import chain, images

KEY = "board/onnxruntime-staged-float32-t1"
LONGEST_S = 1.0
"""Of a writer's life, after it has begun to write."""


def write_for_ever(models: list[Path], path: Path, rng: random.Random) -> None:
    """Everything that writes a bundle, in random order."""
    warnings.simplefilter("ignore")
    while True:
        bundle = edgeexit.compile(rng.choice(models), path, seconds=0)
        for _ in range(rng.randrange(6)):
            with suppress(InputError):  # nothing to go back to, a name that is active
                bundle = _change(bundle, rng)
        if rng.random() < 0.3:
            with edgeexit.load(path, mode="staged") as runner:
                edgeexit.calibrate(runner, images(40), target="rate1>=0.1", seconds=0.05, force=True)


def _change(bundle: Bundle, rng: random.Random) -> Bundle:
    what = rng.choice(("add", "add", "use", "back", "remove"))
    if what == "add" or not bundle.history:
        document = {"network": bundle.manifest.network_sha256}
        return bundle.write_calibration(
            KEY, document, {"replay.npz": rng.randbytes(50_000)}, activate=rng.random() < 0.7
        )
    record = rng.choice(bundle.history)
    if what == "use":
        return bundle.use(record.name)
    return bundle.roll_back(record.key) if what == "back" else bundle.remove_calibration(record.name)


def kill_one(models: list[Path], path: Path, seed: int) -> None:
    """Fork a writer, and kill it after a random time."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        os.write(writer, b"!")
        try:
            write_for_ever(models, path, random.Random(seed))
        finally:
            os._exit(1)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    time.sleep(random.Random(seed + 1).uniform(0, LONGEST_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself: it failed"


def faults(path: Path) -> list[str]:
    """What is wrong with the bundle, and what is left over after the next command has begun."""
    try:
        bundle = Bundle.open(path)
        network = bundle.manifest.network_sha256
        documents = [bundle.read_record(record) for record in bundle.history]
    except EdgeExitError as error:
        return [f"wrong: {error}"]
    found = [f"wrong: a calibration of {d['network']}" for d in documents if d.get("network", network) != network]
    bundle.check_writable()
    named = {*bundle.manifest.files, MANIFEST, LOCK}
    files = (str(p.relative_to(path)) for p in path.rglob("*") if not p.is_dir())
    return found + [f"litter: {name}" for name in sorted(set(files) - named)]


def main() -> int:
    """Kill as often as asked; 1 where anything was wrong or left over."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    arguments = parser.parse_args()
    count, seen = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        models = [chain(Path(folder) / f"{n}.onnx", exits=n) for n in (2, 3)]
        path = Path(folder) / "b.eexit"
        edgeexit.compile(models[0], path, seconds=0)
        for i in range(arguments.times):
            kill_one(models, path, arguments.seed + 2 * i)
            found = faults(path)
            count += len(found)
            seen += bool(Bundle.open(path).history)
            for fault in found:
                print(f"kill {i}, seed {arguments.seed}: {fault}", flush=True)
    print(f"{arguments.times} kills, {seen} of them left calibrations: {count} faults")
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
