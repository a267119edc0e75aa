"""Time both modes of a bundle at each exit, and its backbone, to choose the faster mode.

In fresh processes, as a bundle is used: in the process that compiled, which opened the network many times, the later exits of three
networks took 5 to 15 % longer, one mode more than the other, and the slower one was chosen. Several processes, since where memory lies
moves each by percents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.base import Array
from edgeexit.bundle import Bundle
from edgeexit.bundle.manifest import parse_manifest
from edgeexit.choices import MODES
from edgeexit.compiler.timed_calls import read_inputs, run_forced, time_in_turn
from edgeexit.measure.processes import run_process
from edgeexit.measure.timing import TimedSamples
from edgeexit.measure.worker import Arrays, serve
from edgeexit.runtime import Backbone
from edgeexit.runtime.loading import open_runner
from edgeexit.util.documents import dumps, to_document
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.samples import split_samples
from edgeexit.util.scratch import make_scratch_folder

_PROCESSES = 3
_CLEARLY = 0.99


@dataclass(frozen=True)
class ModeTimes:
    """Median seconds: of leaving at each exit in either mode, the fused one relative to the other, and of the backbone.

    `fused_s` is empty where the backend does not run that mode.
    """

    staged_s: tuple[float, ...]
    fused_s: tuple[float, ...]
    backbone_s: float

    @property
    def faster(self) -> str:
        """The mode with the lower mean over the exits: staged, which takes deadlines, too, unless the other one is clearly faster."""
        return "fused" if self.fused_s and sum(self.fused_s) < _CLEARLY * sum(self.staged_s) else "staged"


SECONDS = 2.0
"""Time that a compile spends on timing both modes, from Python and from the shell."""


@dataclass(frozen=True)
class ModeTimingJob:
    """Timing job of one process, stored as JSON.

    Attributes:
        folder: folder of the bundle.
        manifest: manifest of the bundle, as a document; a compile times what it has not committed yet.
        settings: those of `Settings`, whatever the mode.
        seconds: seconds of timing, all variants together.
        seed: random seed of the order of the variants.
        inputs: an .npz of arrays [n, ...], in the order of the manifest's inputs; every call gets one sample.
    """

    folder: str
    manifest: dict[str, Any]
    settings: dict[str, Any]
    seconds: float
    seed: int
    inputs: str

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(dumps(self), encoding="utf-8")


def time_forms(
    bundle: Bundle,
    settings: Settings,
    seconds: float,
    progress: Progress = show_nothing,
    *,
    inputs: Mapping[str, Array],
) -> ModeTimes:
    """Time both modes and the backbone, each process by itself; medians over the processes of their medians.

    Args:
        bundle: bundle whose files are in place, its manifest committed or not.
        settings: backend, precision, threads and whatever else but the mode.
        seconds: seconds of timing, over all processes.
        progress: callback, called for each process.
        inputs: inputs that the network takes, [n, ...] by name; every call gets one of them.

    Raises:
        HardwareMissing: a process finds too little memory, or no device.
        InternalError: a process fails otherwise.
    """
    document, how = to_document(bundle.manifest), to_document(settings)
    found = []
    with make_scratch_folder() as scratch:
        taken = scratch / "inputs.npz"
        np.savez(taken, *(inputs[spec.name] for spec in bundle.manifest.inputs))  # by place: names may be anything
        for place in range(_PROCESSES):
            job = ModeTimingJob(str(bundle.path.resolve()), document, how, seconds / _PROCESSES, place, str(taken))
            found.append(
                run_process(job, scratch, process=place, processes=_PROCESSES, progress=progress, module=__name__)
            )
    staged, backbone = (np.median([arrays[f"{n}_s"] for arrays in found], axis=0) for n in ("staged", "backbone"))
    ratios = [arrays["fused_s"] / arrays["staged_s"] for arrays in found if len(arrays["fused_s"])]
    fused = staged * np.median(ratios, axis=0) if ratios else ()
    return ModeTimes(tuple(map(float, staged)), tuple(map(float, fused)), float(backbone[0]))


def measure_in_process(
    bundle: Bundle, settings: Settings, seconds: float, seed: int = 0, *, inputs: Mapping[str, Array]
) -> ModeTimes:
    """The same in this process, once."""
    singles = split_samples(inputs)
    exits = range(1, bundle.manifest.exits + 1)
    backend = find_backend(settings.backend)
    modes = [m for m in MODES if not backend.explain_unsupported(m, bundle.manifest.exits, settings.options)]
    with ExitStack() as stack:
        runners = [stack.enter_context(open_runner(bundle, settings.with_mode(m))) for m in modes]
        backbone = stack.enter_context(runners[0].backbone())
        calls = {
            f"{runner.settings.mode} {exit}": partial(run_forced, runner, singles, exit)
            for exit in exits
            for runner in runners
        }
        calls["backbone"] = partial(_run_backbone, backbone, singles)
        samples = time_in_turn(calls, seconds, seed)
    staged_s = tuple(samples[f"staged {exit}"].median_s for exit in exits)
    fused_s = tuple(
        s * _compute_mode_ratio(samples[f"fused {exit}"], samples[f"staged {exit}"])
        for exit, s in zip(exits, staged_s, strict=True)
        if "fused" in modes
    )
    return ModeTimes(staged_s, fused_s, samples["backbone"].median_s)


def _compute_mode_ratio(one: TimedSamples, other: TimedSamples) -> float:
    """By pairs of blocks that ran side by side, so that a machine that changes speed changes both."""
    return float(np.median(one.block_medians_s / other.block_medians_s))


def _run_backbone(backbone: Backbone, inputs: Sequence[Mapping[str, Array]], i: int) -> object:
    return backbone(inputs[i % len(inputs)])


def _measure(document: Mapping[str, Any], where: str) -> Arrays:
    bundle = Bundle(Path(document["folder"]), parse_manifest(document["manifest"], where))
    settings, inputs = Settings(**document["settings"]), read_inputs(bundle, document["inputs"])
    found = measure_in_process(bundle, settings, document["seconds"], document["seed"], inputs=inputs)
    return {
        "staged_s": np.array(found.staged_s),
        "fused_s": np.array(found.fused_s),
        "backbone_s": np.array([found.backbone_s]),
    }


def main(import_s: float, job_path: str, out_path: str) -> None:
    """Of one process: read the job, time, write the medians, or why not."""
    del import_s
    serve(job_path, out_path, partial(_measure, where=job_path))
