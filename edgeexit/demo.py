"""The shipped network taken through everything: split, compiled, calibrated to a target on this machine, measured against its backbone.

    lenet-digits.onnx ─► compile ─► calibrate (digits:calibration) ─► bench (digits:test, fresh processes)

Two exits, 10 classes, 28x28 images; trained as `edgeexit train lenet-digits` does. Needs no torch and no network.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edgeexit.calibration import parse_target
from edgeexit.data import find_demo_asset, load_data
from edgeexit.evaluate import DeviceEvaluation, evaluate_on_device
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.scratch import make_scratch_folder

MODEL = "lenet-digits.onnx"
TARGET = "mean<=0.6x, accuracy>=0.95"
"""Both bounds can be decided with the 500 samples that are shipped; `drop<=0.5` would need thousands."""
SCHEMA = "edgeexit.demo/1"


@dataclass(frozen=True, kw_only=True)
class DemoResult(DeviceEvaluation):
    """Result of the demo: as of `DeviceEvaluation`, and its schema.

    Attributes:
        schema: `edgeexit.demo/1`.
    """

    schema: str = SCHEMA


def run_demo(*, target: str = TARGET, keep: Path | None = None, progress: Progress = show_nothing) -> DemoResult:
    """Take the shipped network through everything.

    Args:
        target: what to calibrate for; the grammar is that of `edgeexit calibrate`.
        keep: where to leave the bundle; None removes it.
        progress: callback with what is being done, how much is done, and of how much.

    Raises:
        TargetNotMet: nothing meets the target; names the nearest that can be met.
    """
    wanted = parse_target(target)  # refused before any work
    with ExitStack() as stack:
        folder = stack.enter_context(make_scratch_folder())
        path = keep or folder / "lenet-digits.eexit"
        known, unseen = load_data("digits:calibration"), load_data("digits:test")
        found, _ = evaluate_on_device(find_demo_asset(MODEL), path, known, unseen, wanted, progress=progress)
        return DemoResult(**vars(found))
