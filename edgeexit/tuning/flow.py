"""The whole policy chosen on this device: precision, backend, mode, threads, exits kept, criterion, temperatures, thresholds.

    compile in each precision ─► record every exit's answers once ─► time the setups by successive halving
      ─► search thresholds of every rule and subset of exits ─► compile, calibrate and measure the last ones ─► write the simplest fast one

The folder beside the bundle (`best.tune` of `best.eexit`) holds what was compiled, recorded and timed, so that an interrupted run goes on,
and another target is chosen without a new measurement. Everything is chosen on the choose part of the data; the validation part, which
`calibrate` holds back too, only judges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeexit.bundle import check_replaceable
from edgeexit.calibration import Target, parse_target
from edgeexit.data import make_dataset
from edgeexit.errors import InputError
from edgeexit.graph import read_model
from edgeexit.graph.expected_data import read_model_info
from edgeexit.tuning.again import choose_again
from edgeexit.tuning.budget import TimeBudget
from edgeexit.tuning.plan import TuningPlan, refuse_bounds
from edgeexit.tuning.result import TuningResult
from edgeexit.tuning.session import TuningSession
from edgeexit.tuning.space import TuningSpace
from edgeexit.util.arguments import as_path, as_seconds, as_whole, check_progress
from edgeexit.util.progress import Progress, show_in_notebooks

SECONDS = 180.0
"""Wall time of a run, by default."""
_FEWEST = 50
_LARGEST_SEED = 2**32 - 1


def tune(
    model: Path | str,
    output: Path | str,
    inputs: Any,
    labels: Any = None,
    *,
    target: str | Target,
    space: TuningSpace | None = None,
    seconds: float = SECONDS,
    seed: int = 0,
    name: str = "data",
    resume: bool = False,
    from_tune: Path | str | None = None,
    force: bool = False,
    progress: Progress = show_in_notebooks,
) -> TuningResult:
    """Choose precision, backend, mode, threads, exits, criterion and thresholds for a target by measurement on this device.

    Args:
        model: the multi-exit ONNX file.
        output: folder of the bundle, conventionally `<name>.eexit`; one that is there is replaced at the end. `edgeexit.load` opens it with
            the settings that were chosen. What was measured lies in `<name>.tune` beside it.
        inputs: float32 [n, ...], or arrays by input name; samples that the network was not trained on.
        labels: [n] whole numbers from 0; None tunes for agreement with the network.
        target: such as "p99<=5ms, drop<=0.5"; multiples (`mean<=0.6x`), drop and agreement are of the network as it was given: in its own
            precision, without exits, on ONNX Runtime with one thread.
        space: which values of each dimension are tried; None tries all that can be used here.
        seconds: wall time of the whole run, seconds. Timing gets what compiling, running the data and searching leave of it, and a fifth of
            it at least, so that a run whose other work takes longer than that ends later, and warns of it.
        seed: random seed of splits and orders.
        name: name of the data, recorded.
        resume: take what an interrupted run of the same model and data has compiled, recorded and timed.
        from_tune: folder `<name>.tune` of an earlier run of the same model, data and seed on this machine: the best candidate for this
            target is chosen from what that run recorded and timed. Nothing is measured; the result is predicted, and its bundle has
            thresholds, but no calibration.
        force: tune although the data are implausible (`edgeexit.calibration.plausibility`).
        progress: called with what is being done.

    Returns:
        what was tried, measured and chosen; it is also in `<name>.tune/tuning.json`.

    Raises:
        InputError: an argument, implausible data, or a bound that tuning cannot judge (energy, exit rates, accuracy without labels).
        ModelError: the model cannot be taken.
        TargetNotMet: no candidate meets the target; names the nearest that one of them meets, and which.

    Warns:
        CalibrationWarning: the machine is too noisy to compare times, or the work beside timing takes more than the budget.

    Example:
        >>> import edgeexit
        >>> from edgeexit.data import load_data
        >>> digits = load_data("digits:calibration")
        >>> space = edgeexit.TuningSpace(backends=("onnxruntime",), precisions=("float32",), threads=(1,))
        >>> result = edgeexit.tune(
        ...     "lenet-digits.onnx", "tuned.eexit", digits.inputs, digits.labels, target="drop<=5", space=space, seconds=2
        ... )
        >>> result.chosen.setup.precision
        'float32'
    """
    source, folder = as_path("model", model), as_path("output", output)
    budget = TimeBudget(as_seconds("seconds", seconds))
    check_progress(progress)
    wanted = parse_target(target)
    check_replaceable(folder)
    data = make_dataset(name, inputs, labels, read_model_info(read_model(source), str(source)))
    refuse_bounds(wanted, labelled=data.labels is not None)
    if len(data) < _FEWEST:
        msg = f"{name} has {len(data)} samples; tuning needs {_FEWEST} at least; a few thousand are recommended."
        raise InputError(msg)
    plan = TuningPlan(
        source,
        folder,
        data,
        wanted,
        space or TuningSpace(),
        budget,
        as_whole("seed", seed, 0, _LARGEST_SEED),
        progress,
        force,
    )
    if from_tune is not None:
        return choose_again(plan, as_path("from_tune", from_tune))
    return TuningSession(plan, plan.open_store(resume=resume)).run()
