"""`edgeexit bench`: measure a bundle on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from edgeexit.cli.common import BundlePath, CommandInterrupted, Json, Thresholds, emit, parse_numbers
from edgeexit.cli.data import DATA
from edgeexit.cli.kept import describe_thresholds
from edgeexit.cli.options import LoadOptions, PreparationOptions
from edgeexit.cli.printing import print_note, print_warning
from edgeexit.cli.progress import open_progress_display, show_build_progress

if TYPE_CHECKING:
    from edgeexit.data import Dataset
    from edgeexit.measure import BenchOptions, BenchResult, Pace
    from edgeexit.runtime import Runner


_Data: TypeAlias = Annotated[str, typer.Option(help=f"{DATA} digits:test.")]
_Preset: TypeAlias = Annotated[str, typer.Option(help="How long and what to measure.")]
_Seed: TypeAlias = Annotated[int, typer.Option(help="Seed of the choice and the order of samples.", min=0)]
_Rate: TypeAlias = Annotated[
    float | None, typer.Option(help="Also run requests at this rate per second; with --energy, joules per request too.")
]
_Arrivals: TypeAlias = Annotated[str | None, typer.Option(help="Arrivals of --rate. [default: fixed]")]
_Deadline: TypeAlias = Annotated[
    float | None, typer.Option(help="Deadline of a request of --rate, in ms. [default: one period]")
]
_Against: TypeAlias = Annotated[
    Path | None, typer.Option(help="Second bundle (or the same one) to compare with, timed interleaved.")
]
_AgainstNumbers: TypeAlias = Annotated[
    str | None, typer.Option(metavar="T1,T2,...", help="Thresholds of the second bundle.")
]
_AgainstMode: TypeAlias = Annotated[str | None, typer.Option(help="Mode of the second bundle.")]
_Energy: TypeAlias = Annotated[
    bool | None, typer.Option("--energy/--no-energy", help="Measure energy. [default: the preset's]")
]
_Log: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Log file of an external power meter that records during the run (CSV, tegrastats or PTDaemon); implies --energy."
    ),
]
_Cache: TypeAlias = Annotated[
    bool | None, typer.Option("--cache/--no-cache", help="Simulate caches, sweep thresholds. [default: the preset's]")
]
_Device: TypeAlias = Annotated[
    str | None, typer.Option(help="Simulate the caches of this device; see edgeexit devices.")
]
_Audit: TypeAlias = Annotated[
    bool, typer.Option("--audit", help="Check that no layer caches inputs or outputs (MLPerf LoadGen's caching test).")
]
_Output: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", help="Result file; raw samples go beside it.")
]


@dataclass(frozen=True)
class _PacedRequests:
    """Requests on a schedule, measured too."""

    rate: _Rate = None
    arrivals: _Arrivals = None
    deadline_ms: _Deadline = None

    def make_pace(self) -> Pace | None:
        """The schedule, or None without a rate.

        Raises:
            InputError: the other options are given without a rate, or are no schedule.
        """
        from edgeexit.measure import Pace

        _refuse_idle("--rate", self.rate, {"--arrivals": self.arrivals, "--deadline-ms": self.deadline_ms})
        if self.rate is None:
            return None
        return Pace(self.rate, self.arrivals or "fixed", None if self.deadline_ms is None else self.deadline_ms / 1e3)


@dataclass(frozen=True)
class _SecondBundle:
    """Another early exit, timed interleaved with the first."""

    against: _Against = None
    against_thresholds: _AgainstNumbers = None
    against_mode: _AgainstMode = None

    def parse_thresholds(self) -> list[float] | None:
        """Its thresholds; None for those that it was calibrated with.

        Raises:
            InputError: they are not numbers, or there is no second bundle.
        """
        idle = {"--against-thresholds": self.against_thresholds, "--against-mode": self.against_mode}
        _refuse_idle("--against", self.against, idle)
        return _parse_thresholds("--against-thresholds", self.against_thresholds)


@dataclass(frozen=True)
class _MeasuredCosts:
    """What is measured besides the times."""

    energy: _Energy = None
    power_log: _Log = None
    cache: _Cache = None
    cache_device: _Device = None
    audit: _Audit = False


def bench_command(
    bundle: BundlePath,
    data: _Data,
    *,
    preparation: PreparationOptions,
    preset: _Preset = "quick",
    thresholds: Thresholds = None,
    paced: _PacedRequests,
    second: _SecondBundle,
    costs: _MeasuredCosts,
    loading: LoadOptions,
    seed: _Seed = 0,
    output: _Output = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle: early exit against its own backbone, interleaved, in fresh processes.

    Ends with exit code 1 when early exit is measured to be slower than the backbone, or the run is invalid. Ctrl-C keeps the processes
    that ended.

    Example: edgeexit bench lenet.eexit --data digits:test --output result.json
    """
    from edgeexit.data import load_data
    from edgeexit.measure.result.bench_result import check_place

    others = second.parse_thresholds()
    pace = paced.make_pace()
    if output is not None:
        check_place(output)
    options = _make_options(preset, seed, pace, costs)
    own = _parse_thresholds("--thresholds", thresholds)
    samples = load_data(data, preparation.read_info(bundle), strict=True)
    with ExitStack() as opened:
        runner = opened.enter_context(_open(bundle, own, loading))
        other = None
        if second.against is not None:
            mode = second.against_mode or loading.mode
            other = opened.enter_context(_open(second.against, others, replace(loading, mode=mode)))
        result = _measure(runner, samples, options, other)
    _print_and_save(result, output, as_json=as_json)


def _make_options(preset: str, seed: int, pace: Pace | None, costs: _MeasuredCosts) -> BenchOptions:
    from edgeexit.measure import BenchOptions

    return BenchOptions.from_preset(
        preset,
        seed=seed,
        pace=pace,
        energy=costs.energy,
        power_log=costs.power_log,
        cache=costs.cache,
        cache_device=costs.cache_device,
        audit=costs.audit,
    )


def _measure(runner: Runner, samples: Dataset, options: BenchOptions, against: Runner | None) -> BenchResult:
    """Measure, after saying what is doubtful about the data and how long it takes."""
    from edgeexit.calibration.plausibility import recorded_differences
    from edgeexit.cli.bench_output import print_expected_time
    from edgeexit.measure import bench_dataset

    for difference in recorded_differences(runner.bundle.manifest, samples):
        print_warning(f"{samples.name}: {difference}")
    about_s = print_expected_time(options)
    with open_progress_display(about_s) as progress:
        return bench_dataset(runner, samples, options, against=against, progress=progress)


def _parse_thresholds(option: str, text: str | None) -> list[float] | None:
    return None if text is None else parse_numbers(option, text)


def _open(bundle: Path, thresholds: list[float] | None, loading: LoadOptions) -> Runner:
    """A runner, with the thresholds of an option where they were given."""
    import edgeexit

    with show_build_progress():
        runner = edgeexit.load(bundle, **loading.make_arguments())
    if thresholds is not None:
        runner.thresholds = thresholds
    print_note(f"thresholds of {bundle}: {describe_thresholds(runner)}")
    return runner


def _print_and_save(result: BenchResult, output: Path | None, *, as_json: bool) -> None:
    """Print and save the result, and end with the exit code that it asks for."""
    from edgeexit.cli.bench_output import print_bench
    from edgeexit.errors import EdgeExitError

    saved: Path | None = None
    fault: Exception | None = None
    try:
        saved = None if output is None else result.save(output)
    except (EdgeExitError, OSError) as error:  # what was measured is at least printed
        fault = error
    emit(result.to_document(), lambda: print_bench(result, saved), as_json=as_json)
    if fault is not None:
        raise fault
    reasons = (*result.validity.reasons, result.energy_reason or "", result.cache_reason or "")
    if any(reason.startswith("interrupted") for reason in reasons):
        typer.echo("interrupted; the result is of what had been measured", err=True)
        raise CommandInterrupted
    if result.latency.against_backbone.verdict in {"SLOWER", "INVALID"}:
        raise typer.Exit(1)


def _refuse_idle(option: str, value: object, others: Mapping[str, object]) -> None:
    """Reject options that only have an effect together with `option`."""
    from edgeexit.errors import InputError

    given = [name for name, other in others.items() if other is not None]
    if value is None and given:
        msg = f"{', '.join(given)} needs {option}: give both, or leave it out."
        raise InputError(msg)
