"""No exit tax: what forcing exit k costs beside a model of its own that does everything forced k does.

    python -m benchmarks exit_tax [--case lenet-mnist]

The model of its own is the whole network with its criterion, cut to the logits and score of exit k and the scores of the exits before
it (whose heads and criteria forced k runs too), opened as one ONNX Runtime session with the same settings behind the same Runner.
Limits: within 5 % from 200 µs on; below, within 10 % or 3 µs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from benchmarks.common import (
    find_case,
    make_parser,
    open_case,
    open_other_mode,
    print_table,
    record,
    time_variants,
    wrap_program,
)
from edgeexit.backends.base import Program, Settings
from edgeexit.backends.onnxruntime.sessions import make_bound_run, open_session
from edgeexit.hardware import read_device_state
from edgeexit.measure.statistics import ratio_interval
from edgeexit.measure.verdict import Ratio
from edgeexit.report.tables import format_ratio
from edgeexit.runtime import Runner
from edgeexit.util import units
from edgeexit.util.documents import to_document


class OwnModel(Program):
    """One session that computes exit k and everything that forced k computes on the way."""

    def __init__(self, runner: Runner, exit: int) -> None:
        import onnxruntime as ort

        manifest, self.exits, self._exit = runner.bundle.manifest, exit, exit
        stages = manifest.stages[:exit]
        wanted = [stages[-1].logits, *(stage.score for stage in stages)]
        settings = Settings(threads=runner.settings.threads, spin=runner.settings.spin)
        source = runner.bundle.file(manifest.model)
        session = open_session(_cut(source, wanted), settings, batch_1=True, folder=source.parent)
        self.inputs = {spec.name: np.zeros(spec.shape_at_1, spec.dtype) for spec in manifest.inputs}
        self._logits = np.zeros((1, manifest.classes), np.float32)
        scores = [np.zeros(1, np.float32) for _ in stages]
        self._score = scores[-1]
        alive = {
            name: ort.OrtValue.ortvalue_from_numpy(array)
            for name, array in {**self.inputs, **dict(zip(wanted, [self._logits, *scores], strict=True))}.items()
        }
        binding = session.io_binding()
        for name in self.inputs:
            binding.bind_ortvalue_input(name, alive[name])
        for name in wanted:
            binding.bind_ortvalue_output(name, alive[name])
        self._run = make_bound_run(session, binding, alive)

    def run(self, thresholds: Sequence[float]) -> int:  # noqa: ARG002 - nothing to decide
        """Run the model and answer with its exit."""
        self._run()
        return self._exit

    def logits(self, exit: int) -> Any:  # noqa: ARG002 - only one exit's result exists
        """The logits, [1, classes]."""
        return self._logits

    def score(self, exit: int) -> float:  # noqa: ARG002 - only one exit's result exists
        """The inner score."""
        return float(self._score[0])

    def clone(self) -> Program:
        """Not needed here."""
        raise NotImplementedError


class EngineAlone:
    """Only the call into ONNX Runtime: no check of the input, no copy, no prediction. What is left of a Runner's time is Python's."""

    def __init__(self, model: OwnModel, exit: int) -> None:
        self._run, self.exit = model.run, exit

    def __call__(self, x: Any) -> EngineAlone:  # noqa: ARG002 - the input lies in the buffer already
        """Run the engine on what its buffer holds."""
        self._run(())
        return self


def _cut(path: Path, wanted: Sequence[str]) -> bytes:
    """The model with these outputs only, and nothing that they do not need; weights outside stay outside."""
    model = onnx.load(path, load_external_data=False)
    needed, kept = set(wanted), []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    weights = [w for w in model.graph.initializer if w.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    known = {o.name: o for o in (*model.graph.output, *model.graph.value_info)}
    outputs = [known.get(name) or helper.make_empty_tensor_value_info(name) for name in wanted]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return bytes(model.SerializeToString())


def is_within_limits(forced_s: float, own_s: float) -> bool:
    """Whether the overhead is within the limits that the benchmark sets."""
    extra_s = forced_s - own_s
    return extra_s <= 0.05 * own_s or (own_s < 200e-6 and (extra_s <= 0.1 * own_s or extra_s <= 3e-6))


def main() -> None:
    """Run the experiment that the command line describes, print its table and record its result."""
    arguments = make_parser(__doc__).parse_args()
    case, before = find_case(arguments.case), read_device_state()
    with tempfile.TemporaryDirectory() as scratch:
        runner = open_case(case, Path(scratch), arguments)
        exits, data = range(1, runner.exits + 1), case.test_data()
        variants: dict[str, Any] = {"backbone": runner.backbone()}
        for k in exits:
            own_model = OwnModel(runner, k)
            variants[f"own {k}"] = partial(wrap_program(runner, own_model).forced, exit=k)
            variants[f"engine {k}"] = EngineAlone(own_model, k)
            for mode in ("fused", "staged"):
                variants[f"{mode} {k}"] = partial(open_other_mode(runner, mode).forced, exit=k)
        timed = time_variants(variants, data, seconds=arguments.seconds, repeats=arguments.repeats)
        rows, found = [], []
        for k in exits:
            own = timed[f"own {k}"].latency
            for mode in ("fused", "staged"):
                forced = timed[f"{mode} {k}"].latency
                ratio = Ratio(*ratio_interval(own.process_typical_s, forced.process_typical_s, paired=True))
                good = is_within_limits(forced.typical_s, own.typical_s)
                rows.append(
                    (
                        f"exit {k}, {mode}",
                        units.seconds(forced.typical_s),
                        units.seconds(own.typical_s),
                        units.seconds(timed[f"engine {k}"].latency.typical_s),
                        format_ratio(ratio),
                        units.seconds(forced.typical_s - own.typical_s),
                        "within" if good else "beyond",
                    )
                )
                found.append({"exit": k, "mode": mode, "ratio": to_document(ratio), "within": good})
        backbone = units.seconds(timed["backbone"].latency.typical_s)
        print_table(
            case.name,
            ("", "forced", "own model", "its engine alone", "ratio", "extra", "limit"),
            rows,
            f"Medians. Backbone: {backbone}. Own model less its engine is the Runner's Python: check, copy, predict.",
        )
        medians = {name: to_document(variant.latency) for name, variant in timed.items()}
        record("exit_tax", case, arguments, {"exits": found, "lanes": medians}, before)


if __name__ == "__main__":
    main()
