"""Breakdown of the time of leaving at an exit: the network's own work, the criteria that decide, and everything outside the engines.

    whole        a forced exit through the Runner, end to end
    engines      the same engines in a chain, a clock read between any two
    scored, bare a chain of the bundle's stage files as they are, and one of them with the score's nodes cut out

    criterion = scored - bare · stage = engine - criterion · overhead = whole - the engines up to here

All are timed interleaved, each process by itself. A fused network is one engine: a stage is what leaving one exit later adds, its
criterion within; only staged engines of ONNX Runtime have their criteria taken out. Times that cannot be separated are NaN here and
null in the result.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeexit.backends import Program, Settings, StagedProgram, find_backend
from edgeexit.backends.host import HostStaged
from edgeexit.backends.onnxruntime.sessions import make_bound_run, open_session
from edgeexit.graph.dataflow import Flow
from edgeexit.graph.layout import insert_layout_pools_in_model
from edgeexit.graph.onnx_files import load_binary
from edgeexit.measure.result.parts import Breakdown, StageLatency
from edgeexit.measure.timing import Call, time_interleaved

if TYPE_CHECKING:
    from edgeexit.bundle import Bundle
    from edgeexit.bundle.manifest import StageEntry
    from edgeexit.runtime import Runner

_WITHIN = "criteria are timed separately from the stages only in staged mode on onnxruntime; here a stage includes its criterion"


def time_parts(runner: Runner, feed: Sequence[Any], seconds: float, seed: int) -> dict[str, NDArray[np.float64]]:
    """Medians of one process, seconds, [N] each: `stage_s`, `gate_s` (the criterion's; NaN where it is within the stage), `overhead_s`.

    Args:
        runner: an open bundle; its engines are opened once more.
        feed: inputs as the runner takes them.
        seconds: seconds of timing, all together.
        seed: random seed of the order of the variants.

    Raises:
        HardwareMissing: the engines do not open once more, such as for want of memory.
    """
    exits = range(1, runner.exits + 1)
    calls: dict[str, Call] = {f"whole {k}": _make_cycling_call(partial(runner.forced, exit=k), feed) for k in exits}
    backend, settings = find_backend(runner.settings.backend), runner.settings
    with ExitStack() as opened:

        def close_later(program: Program) -> Program:
            opened.callback(program.close)
            return program

        if settings.mode == "staged":
            clocks = {"engine": _Chain(close_later(backend.open_staged(runner.bundle, settings)), feed)}
            if settings.backend == "onnxruntime":
                for name in ("scored", "bare"):
                    program = open_stage_files(runner.bundle, settings, scored=name == "scored")
                    clocks[name] = _Chain(close_later(program), feed)
        else:
            fused = close_later(backend.open_fused(runner.bundle, settings))
            clocks = {f"engine {k}": _Chain(fused, feed, leaving=k) for k in exits}
        timed = time_interleaved({**calls, **clocks}, seconds=seconds, block_s=0.01, seed=seed)
    whole_s = np.array([timed[f"whole {k}"].median_s for k in exits])
    return _split_times(whole_s, {name: clock.medians_s() for name, clock in clocks.items()})


def _split_times(
    whole_s: NDArray[np.float64], clocks: Mapping[str, NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    if "engine" in clocks:
        engine_s = clocks["engine"]
    else:
        engine_s = np.diff([0.0, *(float(clocks[f"engine {k}"][0]) for k in range(1, len(whole_s) + 1))])
    criterion_s = clocks["scored"] - clocks["bare"] if "bare" in clocks else np.full(len(whole_s), np.nan)
    return {
        "stage_s": engine_s - np.nan_to_num(criterion_s),
        "gate_s": criterion_s,
        "overhead_s": whole_s - np.cumsum(engine_s),
    }


class _Chain:
    """A timing call that runs engines one after the other, and keeps the time of each by itself.

    Args:
        program: its stages; with `leaving`, the whole program.
        feed: inputs as a runner takes them.
        leaving: the exit at which a fused program is made to leave.
    """

    def __init__(self, program: Program, feed: Sequence[Any], leaving: int | None = None) -> None:
        self._inputs, self._feed = program.inputs, feed
        runs: list[Callable[[], object]]
        if leaving is None:
            assert isinstance(program, StagedProgram)
            runs = [stage.run for stage in program.stages]
        else:
            early = [np.inf] * (leaving - 1) + [-np.inf] * (program.exits - leaving)
            runs = [partial(program.run, tuple(early))]
        self._clocked = [(run, array("q")) for run in runs]

    def __call__(self, i: int) -> None:
        x = self._feed[i % len(self._feed)]
        for name, buffer in self._inputs.items():
            buffer[...] = x[name] if isinstance(x, Mapping) else x
        for run, times in self._clocked:
            start = perf_counter_ns()
            run()
            times.append(perf_counter_ns() - start)

    def medians_s(self) -> NDArray[np.float64]:
        """Median time of each engine, float64 [engines], seconds."""
        return np.array([float(np.median(np.frombuffer(times, np.int64))) * 1e-9 for _, times in self._clocked])


def _make_cycling_call(run: Callable[[Any], object], feed: Sequence[Any]) -> Call:
    n = len(feed)
    return lambda i: run(feed[i % n])


def open_stage_files(bundle: Bundle, settings: Settings, *, scored: bool) -> HostStaged:
    """The stages of a bundle on ONNX Runtime, each optimised by itself; without criteria, their scores stay 0."""
    import onnxruntime as ort  # heavy, and only this part of one backend needs it

    models = [_read_stage_model(bundle, entry, scored=scored) for entry in bundle.manifest.stages]
    sessions = [open_session(m, settings, batch_1=True, folder=bundle.path, shared_arena=True) for m in models]

    def bind(place: int, buffers: Mapping[str, NDArray[Any]]) -> Callable[[], None]:
        session, binding = sessions[place], sessions[place].io_binding()
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in buffers.items()}
        for tensor in session.get_inputs():
            binding.bind_ortvalue_input(tensor.name, values[tensor.name])
        for tensor in session.get_outputs():
            binding.bind_ortvalue_output(tensor.name, values[tensor.name])
        return make_bound_run(session, binding, (values, buffers))

    return HostStaged(bundle.manifest, bind)


def _read_stage_model(bundle: Bundle, entry: StageEntry, *, scored: bool) -> bytes:
    """A stage's model; without its score and every node that only the score needs, unless `scored`."""
    model = load_binary(bundle.file(entry.file))
    insert_layout_pools_in_model(model, entry.boundaries_in)
    if not scored:
        _keep_outputs(model, [output for output in model.graph.output if output.name != entry.score])
    return bytes(model.SerializeToString())


def _keep_outputs(model: onnx.ModelProto, outputs: Sequence[onnx.ValueInfoProto]) -> None:
    """Remove from a model all outputs but these, and the nodes that only the others needed."""
    flow = Flow.from_graph(model.graph, [tensor.name for tensor in model.graph.input])
    nodes = [model.graph.node[place] for place in sorted(flow.ancestors(output.name for output in outputs))]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(nodes)
    model.graph.output.extend(outputs)


def summarize_breakdown(processes: Sequence[Mapping[str, NDArray[np.float64]]]) -> Breakdown:
    """The median over processes of every time that `time_parts` gave."""
    stage_s, criterion_s, overhead_s = (
        np.median([found[name] for found in processes], axis=0) for name in ("stage_s", "gate_s", "overhead_s")
    )
    within = bool(np.isnan(criterion_s).any())
    exits = tuple(
        StageLatency(k + 1, float(stage_s[k]), None if within else float(criterion_s[k]), float(overhead_s[k]))
        for k in range(len(stage_s))
    )
    return Breakdown(exits, _WITHIN if within else None)
