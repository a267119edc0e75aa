"""`edgeexit calibrate`: thresholds that meet a target on this device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.cli.common import BundlePath, Json, emit
from edgeexit.cli.data import DATA
from edgeexit.cli.options import PreparationOptions, RuntimeOptions
from edgeexit.cli.printing import print_note
from edgeexit.cli.progress import open_progress_display, show_build_progress

if TYPE_CHECKING:
    from edgeexit.calibration import Calibration
    from edgeexit.calibration.recipes import CalibrationRecipe
    from edgeexit.data import Dataset
    from edgeexit.errors import TargetNotMet
    from edgeexit.runtime import Runner
    from edgeexit.scale import ShardedTable
    from edgeexit.util.progress import Progress

_TARGET_HELP = (
    "Bounds separated by commas: mean<=5ms, mean<=0.6x (of the backbone), p50|p90|p95|p99|p99.9<=10ms, energy<=2mJ, macs<=40M, "
    "accuracy>=0.985, drop<=0.5 (points), agreement>=0.99, rate1>=0.5, offload<=5%. With a bound on cost "
    "accuracy is maximised, else the mean minimised."
)


@dataclass(frozen=True)
class _MeasureOptions:
    """Options that only a measurement takes, and where the result goes."""

    seed: int
    method: str | None
    force: bool
    save_as: str | None
    dry_run: bool
    shards: ShardedTable | None


_Data: TypeAlias = Annotated[str | None, typer.Option(help=f"{DATA} digits:calibration.")]
_Replay: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--replay",
        metavar="FOLDER",
        help="Choose over all samples in the shards that edgeexit replay wrote here; --data then times the exits and judges the choice.",
    ),
]
_Target: TypeAlias = Annotated[str | None, typer.Option(help=_TARGET_HELP)]
_Recipe: TypeAlias = Annotated[str | None, typer.Option(help="Target of a shipped recipe.")]
_Confidence: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Certify every bound with this confidence, such as 0.95, on a held-out part of the data."),
]
_FromCurve: TypeAlias = Annotated[
    bool,
    typer.Option("--from-curve", help="Choose new thresholds from the last calibration's measurements; needs no data."),
]
_Seconds: TypeAlias = Annotated[float | None, typer.Option(help="Wall time of the timing. [default: 6]", min=0.1)]
_Seed: TypeAlias = Annotated[int | None, typer.Option(help="Seed of splits, folds and order. [default: 0]", min=0)]
_Method: TypeAlias = Annotated[
    str | None, typer.Option(help="How thresholds are chosen. [default: by cross-validation]")
]
_Force: TypeAlias = Annotated[
    bool, typer.Option("--force", help="Calibrate although the data checks fail; the findings are recorded.")
]
_Strict: TypeAlias = Annotated[
    bool, typer.Option("--strict", help="End with exit code 1 also where the target stays undecided.")
]
_Name: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the calibration in the bundle's history. [default: cal-1, ...]"),
]
_Remote: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--remote",
        metavar="K=URL",
        help="Stage K runs on a server, as in 3=http://host/v2/models/net-stage-3 or 3=grpc://host/net-stage-3. Repeatable.",
    ),
]
_RemoteTimeout: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--remote-timeout", metavar="S", help="Longest time for a request, in seconds. [default: 1]", min=1e-3
    ),
]
_RemoteSend: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--remote-send", help="What goes up: auto, boundary (tensors between the stages) or input. [default: boundary]"
    ),
]
_RemoteWire: TypeAlias = Annotated[
    str | None,
    typer.Option("--remote-wire", help="In which precision: float32, float16 or int8. [default: float32]"),
]
_DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Measure and print; write nothing.")]


def calibrate_command(
    bundle: BundlePath,
    *,
    data: _Data = None,
    replay: _Replay = None,
    preparation: PreparationOptions,
    target: _Target = None,
    recipe: _Recipe = None,
    confidence: _Confidence = None,
    from_curve: _FromCurve = False,
    seconds: _Seconds = None,
    seed: _Seed = None,
    method: _Method = None,
    force: _Force = False,
    strict: _Strict = False,
    name: _Name = None,
    dry_run: _DryRun = False,
    remote: _Remote = None,
    remote_timeout: _RemoteTimeout = None,
    remote_send: _RemoteSend = None,
    remote_wire: _RemoteWire = None,
    runtime: RuntimeOptions,
    as_json: Json = False,
) -> None:
    """Find the thresholds that meet a target on this device, run them here, and keep them in the bundle.

    Every calibration is kept in the bundle; it becomes the active one if its target is met. See edgeexit calibrations.

    Every bound is met, not met or undecided (too few samples or a noisy machine to tell). Ends with exit code 1 when a bound is not met, or
    nothing meets the target (the nearest that can be met is named, with --json in an object of the schema edgeexit.target-not-met/1);
    with --strict also when a bound is undecided.

    With --replay, thresholds come from millions of samples, read shard by shard; the samples of --data, a few thousand, are run.

    Example: edgeexit calibrate lenet.eexit --data digits:calibration --target "mean<=0.6x, accuracy>=0.95"
    """
    from edgeexit.calibration.decision import NOT_MET

    plan = _make_plan(target, recipe, confidence, seconds)
    loading = {**runtime.make_arguments(), **_make_remote_arguments(remote, remote_timeout, remote_send, remote_wire)}
    if from_curve:
        given: dict[str, object] = {
            "--method": method,
            "--seed": seed,
            "--seconds": seconds,
            "--force": force or None,
            "--replay": replay,
        }
        _refuse_unmeasured(plan, given)
    shards = _open_shards(replay)
    samples = _load_samples(bundle, data, preparation, from_curve=from_curve)
    how = _MeasureOptions(seed or 0, method, force, name, dry_run, shards)
    result = _calibrate_bundle(bundle, loading, samples, plan, how, as_json=as_json)
    if result.verdict.bounds == NOT_MET or (strict and not result.met):
        raise typer.Exit(1)


def _calibrate_bundle(
    bundle: Path,
    loading: dict[str, Any],
    samples: Dataset | None,
    plan: CalibrationRecipe,
    how: _MeasureOptions,
    *,
    as_json: bool,
) -> Calibration:
    """Calibrate and print the result; where it fails after the measurement, print what was measured."""
    from edgeexit.cli.calibration_output import print_calibration
    from edgeexit.cli.kept import print_kept
    from edgeexit.errors import BundleError, TargetNotMet

    try:
        with _open_runner(bundle, loading) as runner, open_progress_display() as progress:
            result = _calibrate_first_possible(runner, samples, plan, how, progress)
            written = None if how.dry_run else runner.bundle
    except BundleError as error:
        measured = error.calibration
        if measured is not None:  # and written elsewhere, as the error says
            emit(measured.to_document(), lambda: print_calibration(measured), as_json=as_json)
        raise
    except TargetNotMet as refusal:
        emit(_make_refusal_document(plan, refusal), lambda: None, as_json=as_json)
        raise
    emit(result.to_document(), lambda: print_calibration(result), as_json=as_json)
    print_kept(bundle, written)
    return result


def _open_runner(bundle: Path, loading: dict[str, Any]) -> Runner:
    from edgeexit.runtime import load_quietly

    with show_build_progress():
        return load_quietly(bundle, **loading)


def _make_remote_arguments(
    remote: list[str] | None, timeout_s: float | None, send: str | None, wire: str | None
) -> dict[str, Any]:
    """As keyword arguments of `edgeexit.load`.

    Raises:
        InputError: a text that is not a stage and a URL, a stage named twice, or options of a server without one.
    """
    import edgeexit
    from edgeexit.errors import InputError

    limits = edgeexit.RemoteLimits() if timeout_s is None else edgeexit.RemoteLimits(timeout_s=timeout_s)
    payload = {name: value for name, value in (("send", send), ("wire", wire)) if value is not None}
    if not remote:
        if timeout_s is not None or payload:
            msg = "--remote-timeout, --remote-send and --remote-wire say how a server is asked: give it too, as in --remote 3=URL."
            raise InputError(msg)
        return {}
    urls: dict[int, str] = {}
    for text in remote:
        stage, _, url = text.partition("=")
        if not (stage.isascii() and stage.strip().isdecimal()) or not url:
            msg = f"--remote {text} is not a stage and its URL: write 3=http://host:8000/v2/models/net-stage-3."
            raise InputError(msg)
        if int(stage) in urls:
            msg = f"--remote names stage {int(stage)} twice: give one URL for each stage."
            raise InputError(msg)
        urls[int(stage)] = url
    return {
        "remote": urls,
        "remote_limits": limits,
        "remote_payload": edgeexit.RemotePayload(**payload),
    }


def _make_refusal_document(plan: CalibrationRecipe, refusal: TargetNotMet) -> dict[str, Any]:
    """The JSON document for a target that cannot be met."""
    return {
        "schema": "edgeexit.target-not-met/1",
        "target": str(plan.targets[-1]),
        "met": False,
        "nearest": refusal.nearest,
        "reason": str(refusal),
    }


def _make_plan(
    target: str | None, recipe: str | None, confidence: float | None, seconds: float | None
) -> CalibrationRecipe:
    """What to tune for, from a target or a recipe; options given win over the recipe's."""
    from dataclasses import replace

    from edgeexit.calibration import parse_target
    from edgeexit.calibration.recipes import CalibrationRecipe, list_recipes, load_calibration_recipe
    from edgeexit.errors import InputError

    if (target is None) == (recipe is None):
        msg = f'give either --target, as in --target "mean<=0.6x, accuracy>=0.95", or --recipe, one of {", ".join(list_recipes())}.'
        raise InputError(msg)
    plan = load_calibration_recipe(recipe) if recipe else CalibrationRecipe("", "", "", (parse_target(target or ""),))
    return replace(
        plan,
        confidence=plan.confidence if confidence is None else confidence,
        seconds=plan.seconds if seconds is None else seconds,
    )


def _refuse_unmeasured(plan: CalibrationRecipe, options: dict[str, object]) -> None:
    """Reject options that need a measurement, in particular a certificate."""
    from edgeexit.errors import InputError

    recipes = f"the confidence of recipe {plan.name}"
    given = {"--confidence" if not plan.name else recipes: plan.confidence, **options}
    idle = [name for name, value in given.items() if value is not None]
    if idle:
        msg = f"--from-curve does not measure or certify, so it cannot be combined with {', '.join(idle)}; leave that out, or give --data."
        raise InputError(msg)


def _load_samples(
    bundle: Path, data: str | None, preparation: PreparationOptions, *, from_curve: bool
) -> Dataset | None:
    from edgeexit.data import load_data
    from edgeexit.errors import InputError

    if (data is None) != from_curve:
        msg = "give --data to measure on, or --from-curve to tune from the last calibration; one of the two."
        raise InputError(msg)
    return None if data is None else load_data(data, preparation.read_info(bundle), strict=True)


def _open_shards(folder: Path | None) -> ShardedTable | None:
    if folder is None:
        return None
    from edgeexit.scale import ShardedTable

    return ShardedTable.open(folder)


def _calibrate_first_possible(
    runner: Runner, samples: Dataset | None, plan: CalibrationRecipe, how: _MeasureOptions, progress: Progress
) -> Calibration:
    """The calibration for the first target of the plan that this machine can measure; the last one's refusal stands."""
    from edgeexit.errors import InputError

    for target in plan.targets[:-1]:
        if not target.needs_meter:
            break
        try:
            return _calibrate(runner, samples, str(target), plan, how, progress)
        except InputError as fault:
            print_note(str(fault))
    return _calibrate(runner, samples, str(plan.targets[-1]), plan, how, progress)


def _calibrate(
    runner: Runner,
    samples: Dataset | None,
    target: str,
    plan: CalibrationRecipe,
    how: _MeasureOptions,
    progress: Progress,
) -> Calibration:
    from edgeexit.calibration import calibrate, retune
    from edgeexit.calibration.procedure import SECONDS

    if samples is None:
        return retune(runner, target, save_as=how.save_as, dry_run=how.dry_run, progress=progress)
    return calibrate(
        runner,
        samples.inputs,
        samples.labels,
        target=target,
        confidence=plan.confidence,
        seed=how.seed,
        seconds=plan.seconds or SECONDS,
        method=how.method,
        name=samples.name,
        force=how.force,
        save_as=how.save_as,
        dry_run=how.dry_run,
        shards=how.shards,
        progress=progress,
    )
