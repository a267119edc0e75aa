"""Cache simulation: callgrind runs a bundle with the cache geometry of any device, on any x86-64 machine.

What it is not: two levels only (first and last), no prefetcher, no kernel, no other process, one thread, and valgrind's own
instruction set (AVX2, whatever the CPU has). So it compares exits and thresholds with each other, never machines, and every number
of it is labelled `simulated`.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeexit.errors import HardwareMissing, InternalError
from edgeexit.hardware.profiles import Cache
from edgeexit.measure.cache.report import CallCache, build_level
from edgeexit.util.child_processes import make_child_command
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.scratch import make_scratch_folder

if TYPE_CHECKING:
    from edgeexit.runtime import Runner

_EVENTS = ("Ir", "Dr", "Dw", "I1mr", "D1mr", "D1mw", "ILmr", "DLmr", "DLmw")
EVENTS = {
    "instructions": "callgrind Ir",
    "L1I": "callgrind I1mr of Ir",
    "L1D": "callgrind D1mr+D1mw of Dr+Dw",
    "LL": "callgrind ILmr+DLmr+DLmw of I1mr+D1mr+D1mw",
}
_POLL_S = 0.2
_PLAN = "plan.json"
_CHILD = (
    "from edgeexit.util.child_processes import end_with_parent; end_with_parent(parent); "
    "from edgeexit.measure.cache.child import main; main(sys.argv[1])"
)
_FEWEST_INFERENCES = 50
"""Per region; samples are repeated to reach them."""


@dataclass(frozen=True)
class Region:
    """One simulated region.

    Attributes:
        name: name of the result.
        kind: `forced`, `mix` or `backbone`.
        exit: number of the forced exit, from 1.
        inner_thresholds: inner thresholds of a mixture.
    """

    name: str
    kind: str
    exit: int | None = None
    inner_thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Geometry:
    """First-level instruction and data cache and last level, as callgrind can simulate them, and what had to be changed for that."""

    instruction: Cache
    data: Cache
    last: Cache
    notes: tuple[str, ...] = ()

    @property
    def caches(self) -> tuple[Cache, ...]:
        """First-level instruction cache, first-level data cache and last level, in that order."""
        return (self.instruction, self.data, self.last)

    @property
    def options(self) -> list[str]:
        """The options that tell callgrind to simulate these caches."""
        named = (("I1", self.instruction), ("D1", self.data), ("LL", self.last))
        return [f"--{name}={c.size_bytes},{c.ways},{c.line_bytes}" for name, c in named]


def build_simulated_geometry(caches: Sequence[Cache]) -> Geometry:
    """The caches to simulate for a device: first level and last level.

    Callgrind needs the number of sets to be a power of two; another cache is simulated with fewer sets of more ways, same size.

    Raises:
        HardwareMissing: one of the three is not known.
    """
    first = {c.kind: c for c in caches if c.level == 1}
    last = max((c for c in caches if c.kind == "unified"), key=lambda c: c.level, default=None)
    if "instruction" not in first or "data" not in first or last is None:
        known = ", ".join(f"L{c.level} {c.kind}" for c in caches) or "none"
        msg = f"simulation needs both first-level caches and a last level; known are: {known}."
        raise HardwareMissing(msg)
    adjusted = [_round_sets(c) for c in (first["instruction"], first["data"], last)]
    notes = tuple(note for _, note in adjusted if note)
    return Geometry(adjusted[0][0], adjusted[1][0], adjusted[2][0], notes)


def simulate(
    runner: Runner,
    samples: Sequence[Any],
    regions: Sequence[Region],
    geometry: Geometry,
    progress: Progress = show_nothing,
) -> tuple[CallCache, ...]:
    """Caches during the inferences of every region, per inference, in the order of the regions.

    A process of its own loads the bundle with the runner's settings (one thread), warms up, and runs every sample once per region.

    Raises:
        HardwareMissing: valgrind is not there, or cannot run this program.
        InternalError: it ran and wrote something else than was asked for.
    """
    valgrind = find_valgrind()
    feed = _repeat_samples(samples)
    with make_scratch_folder() as folder:
        _write_plan(folder, runner, feed, regions)
        _run(_make_command(valgrind, geometry), folder, len(regions), progress)
        counts = dict(map(_read_dump, sorted(folder.glob("out.*"))))
    missing = [region.name for region in regions if region.name not in counts]
    if missing:
        msg = f"callgrind wrote no counts for {', '.join(missing)}; it wrote {sorted(counts)}."
        raise InternalError(msg)
    return tuple(_parse_call(region.name, counts[region.name], len(feed)) for region in regions)


def _repeat_samples(samples: Sequence[Any]) -> list[Any]:
    """The samples, over and over where there are few: what happens once in a while (an allocator's trim) then weighs little."""
    return list(samples) * math.ceil(_FEWEST_INFERENCES / len(samples))


def find_valgrind() -> str:
    """Path of valgrind.

    Raises:
        HardwareMissing: it is not there, or this is no x86-64 machine, whose instructions alone the simulation is written for.
    """
    if platform.machine() != "x86_64":
        msg = (
            f"cache simulation runs on x86-64 only, not on {platform.machine()}: copy the bundle to a PC and name this device there "
            "(edgeexit bench --cache-device NAME)."
        )
        raise HardwareMissing(msg)
    found = shutil.which("valgrind")
    if found is None:
        msg = "valgrind is not installed. It comes with: sudo apt install valgrind"
        raise HardwareMissing(msg)
    return found


def _make_command(valgrind: str, geometry: Geometry) -> list[str]:
    """Address randomisation off where possible, and no path with random letters: repeats then agree more closely."""
    setarch = shutil.which("setarch")
    fixed = [setarch, platform.machine(), "-R"] if setarch and _can_fix_addresses(setarch) else []
    options = [
        "--tool=callgrind",
        "--cache-sim=yes",
        "--instr-atstart=no",
        "--collect-atstart=no",
        "--callgrind-out-file=out",
    ]
    child = make_child_command(_CHILD, _PLAN)
    return [*fixed, valgrind, *options, *geometry.options, *child]


def _can_fix_addresses(setarch: str) -> bool:
    done = subprocess.run([setarch, platform.machine(), "-R", "true"], capture_output=True, check=False)
    return done.returncode == 0


def _run(command: list[str], folder: Path, regions: int, progress: Progress) -> None:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "TMPDIR": ".",  # the working folder, which is removed even if the process is killed
        "ORT_DISABLE_TELEMETRY": "1",  # from ONNX Runtime 1.29 on, a thread of its own that moves every later allocation
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors, env=environment, cwd=folder)
        try:
            while process.poll() is None:
                progress("cache simulation", min(regions - 1, len(list(folder.glob("out.*")))), regions)
                time.sleep(_POLL_S)
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode != 0:
        raise HardwareMissing(_explain_failure((folder / "errors").read_text(errors="replace"), process.returncode))
    progress("cache simulation", regions, regions)


def _explain_failure(text: str, code: int) -> str:
    if "unhandled instruction" in text or "SIGILL" in text:
        return (
            "valgrind does not know an instruction that this program uses: a library was built for this CPU alone "
            "(-march=native). Use the official wheels of numpy and onnxruntime."
        )
    tail = " | ".join(line for line in text.splitlines() if line.strip())[-600:]
    return f"callgrind ended with code {code}: {tail}"


def _write_plan(folder: Path, runner: Runner, samples: Sequence[Any], regions: Sequence[Region]) -> None:
    inputs = folder / "inputs.npz"
    if isinstance(samples[0], Mapping):
        arrays = {name: np.concatenate([s[name] for s in samples]) for name in samples[0]}
    else:
        arrays = {"only": np.concatenate(list(samples))}
    np.savez(inputs, allow_pickle=False, **arrays)
    plan = {
        "bundle": str(Path(runner.bundle.path).resolve()),
        "settings": {"backend": runner.settings.backend, "mode": runner.settings.mode, "threads": 1, "spin": False},
        "inputs": inputs.name,
        "warmups": min(len(samples), 10),
        "regions": [
            {"name": r.name, "kind": r.kind, "exit": r.exit, "inner_thresholds": [str(t) for t in r.inner_thresholds]}
            for r in regions
        ],
    }
    (folder / _PLAN).write_text(json.dumps(plan), encoding="utf-8")


def _read_dump(path: Path) -> tuple[str, dict[str, int]]:
    """Name and totals of one dump: `desc: Trigger: Client Request: <name>`, `events: Ir Dr ...`, `totals: 123 45 ...`."""
    text = path.read_text(errors="replace")
    name = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
    events = re.search(r"^events: (.+)$", text, re.MULTILINE)
    totals = re.search(r"^(?:totals|summary): (.+)$", text, re.MULTILINE)
    if name is None or events is None or totals is None:
        return path.name, {}
    values = [int(value) for value in totals.group(1).split()]
    names = events.group(1).split()
    return name.group(1).strip(), dict(zip(names, values + [0] * (len(names) - len(values)), strict=False))


def _parse_call(name: str, counts: Mapping[str, int], inferences: int) -> CallCache:
    if set(counts) < set(_EVENTS):
        msg = f"callgrind counted {', '.join(counts)} instead of {', '.join(_EVENTS)}."
        raise InternalError(msg)
    c = {event: counts[event] / inferences for event in _EVENTS}
    first = c["I1mr"] + c["D1mr"] + c["D1mw"]
    levels = (
        build_level("L1I", c["Ir"], c["I1mr"], c["Ir"]),
        build_level("L1D", c["Dr"] + c["Dw"], c["D1mr"] + c["D1mw"], c["Ir"]),
        build_level("LL", first, c["ILmr"] + c["DLmr"] + c["DLmw"], c["Ir"]),
    )
    return CallCache(name, inferences, c["Ir"], levels)


def _round_sets(cache: Cache) -> tuple[Cache, str | None]:
    lines = cache.size_bytes // cache.line_bytes
    sets = 1
    while lines % (sets * 2) == 0 and sets * 2 <= lines // cache.ways:
        sets *= 2
    ways = lines // sets
    if ways == cache.ways:
        return cache, None
    return replace(
        cache, ways=ways
    ), f"L{cache.level} simulated with {ways} instead of {cache.ways} ways: sets must be a power of two"
