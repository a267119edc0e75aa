"""Time stages and whole bundles in several backends, in fresh processes, as a bundle is used.

    stages     every stage by itself in every backend, on the shared buffers that it would have in a mix, one after the other as in use
    forms      every backend as it runs alone, in each of its modes, and mixes, forced to every exit in turn

What is compared runs interleaved in one process; several processes say how sure a ratio is, since where memory lies moves it by percents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.backends import Settings, StagedProgram, find_backend
from edgeexit.backends.base import Array
from edgeexit.backends.host import Bind, HostStaged
from edgeexit.bundle import Bundle
from edgeexit.bundle.manifest import parse_manifest
from edgeexit.choices import DEFAULT_BACKEND, MODES
from edgeexit.compiler.timed_calls import read_inputs, run_forced, time_in_turn
from edgeexit.errors import EdgeExitError
from edgeexit.measure.processes import run_process
from edgeexit.measure.worker import Arrays, serve
from edgeexit.runtime.inputs import make_input_writer
from edgeexit.runtime.loading import open_runner
from edgeexit.stage_choices import for_stage
from edgeexit.util.documents import dumps, to_document
from edgeexit.util.progress import Progress
from edgeexit.util.samples import split_samples
from edgeexit.util.scratch import make_scratch_folder

PROCESSES = 5


@dataclass(frozen=True)
class BackendTimingJob:
    """Timing job of one process, stored as JSON.

    Attributes:
        what: `stages` or `forms`.
        folder: folder of the bundle.
        manifest: manifest of the bundle, as a document; a compile times what it has not committed yet.
        settings: those of `Settings`, whatever the backend and mode.
        backends: names of single backends, and of mixes among the forms.
        seconds: seconds of timing, all variants together.
        seed: random seed of the order of the variants.
        inputs: an .npz of arrays [n, ...], in the order of the manifest's inputs; every call gets one sample.
    """

    what: str
    folder: str
    manifest: dict[str, Any]
    settings: dict[str, Any]
    backends: tuple[str, ...]
    seconds: float
    seed: int
    inputs: str

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(dumps(self), encoding="utf-8")


@dataclass(frozen=True, eq=False)
class BackendTimer:
    """What all timings of one bundle share.

    Attributes:
        bundle: bundle whose files are in place, its manifest committed or not.
        settings: precision, threads and whatever else but backend and mode.
        inputs: inputs that the network takes, [n, ...] by name.
        progress: callback, called for each process.
    """

    bundle: Bundle
    settings: Settings
    inputs: Mapping[str, Array]
    progress: Progress

    def time_stages(self, backends: Sequence[str], seconds: float) -> dict[str, NDArray[np.float64]]:
        """Median seconds of each stage by backend, [N]; NaN for stages that a backend cannot build."""
        [found] = self._run("stages", backends, seconds, processes=1)
        return found

    def time_forms(self, backends: Sequence[str], seconds: float) -> dict[str, NDArray[np.float64]]:
        """Median time to leave at each exit, seconds, by process, [processes, N]; by backend and mode, as `fake staged`."""
        found = self._run("forms", backends, seconds, processes=PROCESSES)
        return {name: np.stack([arrays[name] for arrays in found]) for name in found[0]}

    def _run(self, what: str, backends: Sequence[str], seconds: float, *, processes: int) -> list[Arrays]:
        document, how = to_document(self.bundle.manifest), to_document(self.settings)
        with make_scratch_folder() as scratch:
            taken = scratch / "inputs.npz"
            np.savez(
                taken, *(self.inputs[s.name] for s in self.bundle.manifest.inputs)
            )  # by place: names may be anything
            found = []
            for place in range(processes):
                job = BackendTimingJob(
                    what,
                    str(self.bundle.path.resolve()),
                    document,
                    how,
                    tuple(backends),
                    seconds / processes,
                    place,
                    str(taken),
                )
                found.append(
                    run_process(
                        job, scratch, process=place, processes=processes, progress=self.progress, module=__name__
                    )
                )
        return found


def time_stages_here(
    bundle: Bundle,
    settings: Settings,
    backends: Sequence[str],
    *,
    inputs: Mapping[str, Array],
    seconds: float,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Median seconds of each stage by backend, [N], timed in this process; NaN for stages that a backend cannot build."""
    singles = split_samples(inputs)
    with ExitStack() as opened:
        clocks = {}
        for name in backends:
            program, built = _open_on_host(bundle, settings, name)
            opened.callback(program.close)
            clocks[name] = _StageClock(program, built, bundle, singles)
        time_in_turn(clocks, seconds, seed)
    return {name: clock.medians_s() for name, clock in clocks.items()}


def _open_on_host(bundle: Bundle, settings: Settings, name: str) -> tuple[StagedProgram, list[bool]]:
    """Every stage in one backend, those that it cannot build in the default one; and which it has built."""
    stages = [_bind_stage(bundle, settings, name, entry.exit) for entry in bundle.manifest.stages]

    def bind(place: int, buffers: Mapping[str, Array]) -> Callable[[], None]:
        return stages[place][0](place, buffers)

    return HostStaged(bundle.manifest, bind), [built for _, built in stages]


def _bind_stage(bundle: Bundle, settings: Settings, name: str, stage: int) -> tuple[Bind, bool]:
    """One stage in a backend, or in the default one; and whether it is the former."""
    try:
        find_backend(name).check_precision(for_stage(settings.precision, stage))
        return find_backend(name).bind_stages(bundle, replace(settings, backend=name), [stage]), True
    except EdgeExitError:
        spare = replace(settings, backend=DEFAULT_BACKEND)
        return find_backend(DEFAULT_BACKEND).bind_stages(bundle, spare, [stage]), False


class _StageClock:
    """A timing call that runs all stages in turn, and keeps the time of each."""

    def __init__(
        self, program: StagedProgram, built: Sequence[bool], bundle: Bundle, inputs: Sequence[Mapping[str, Array]]
    ) -> None:
        self._program, self._built, self._inputs = program, built, inputs
        self._fills = {s.name: make_input_writer(s, program.inputs[s.name]) for s in bundle.manifest.inputs}
        self._times_s: list[list[float]] = [[] for _ in program.stages]

    def __call__(self, i: int) -> None:
        sample = self._inputs[i % len(self._inputs)]
        for name, fill in self._fills.items():
            fill(sample[name])
        for stage, times_s in zip(self._program.stages, self._times_s, strict=True):
            start_s = perf_counter()
            stage.run()
            times_s.append(perf_counter() - start_s)

    def medians_s(self) -> NDArray[np.float64]:
        pairs = zip(self._times_s, self._built, strict=True)
        return np.array([float(np.median(times_s)) if built else np.nan for times_s, built in pairs])


def time_forms_here(
    bundle: Bundle,
    settings: Settings,
    backends: Sequence[str],
    *,
    inputs: Mapping[str, Array],
    seconds: float,
    seed: int = 0,
) -> dict[str, NDArray[np.float64]]:
    """Median time to leave at each exit, seconds, [N], by backend and mode, timed in this process."""
    singles, exits = split_samples(inputs), range(1, bundle.manifest.exits + 1)
    with ExitStack() as opened:
        runners = {
            f"{name} {mode}": opened.enter_context(open_runner(bundle, replace(settings, backend=name, mode=mode)))
            for name in backends
            for mode in MODES
            if not find_backend(name).explain_unsupported(mode, bundle.manifest.exits)
        }
        calls = {
            f"{form} {exit}": partial(run_forced, runner, singles, exit)
            for form, runner in runners.items()
            for exit in exits
        }
        timed = time_in_turn(calls, seconds, seed)
    return {form: np.array([timed[f"{form} {exit}"].median_s for exit in exits]) for form in runners}


def _measure(document: Mapping[str, Any], where: str) -> Arrays:
    bundle = Bundle(Path(document["folder"]), parse_manifest(document["manifest"], where))
    inputs = read_inputs(bundle, document["inputs"])
    measure = time_stages_here if document["what"] == "stages" else time_forms_here
    settings = Settings(**document["settings"])
    seconds, seed = document["seconds"], document["seed"]
    return measure(bundle, settings, document["backends"], inputs=inputs, seconds=seconds, seed=seed)


def main(import_s: float, job_path: str, out_path: str) -> None:
    """Of one process: read the job, time, write the medians, or why not."""
    del import_s
    serve(job_path, out_path, partial(_measure, where=job_path))
