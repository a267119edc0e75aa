"""`edgeexit bench`: measure a bundle on this machine."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from edgeexit.cli.common import (
    Backend,
    BackendOptions,
    BundlePath,
    CommandInterrupted,
    Json,
    Mode,
    Spin,
    Threads,
    Thresholds,
    emit,
    join_options,
    parse_numbers,
)
from edgeexit.cli.data import DATA, ClassNames, Preprocessing, read_bundle_info
from edgeexit.cli.kept import AcceptDevice, Verify, describe_thresholds
from edgeexit.cli.printing import print_note, print_warning
from edgeexit.cli.progress import open_progress_display, show_build_progress

if TYPE_CHECKING:
    from edgeexit.measure import BenchResult, Pace
    from edgeexit.runtime import Runner


_Rate: TypeAlias = Annotated[
    float | None, typer.Option(help="Also run requests at this rate per second; with --energy, joules per request too.")
]
_Against: TypeAlias = Annotated[
    Path | None, typer.Option(help="Second bundle (or the same one) to compare with, timed interleaved.")
]
_AgainstNumbers: TypeAlias = Annotated[
    str | None, typer.Option(metavar="T1,T2,...", help="Thresholds of the second bundle.")
]
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


def bench_command(
    bundle: BundlePath,
    data: Annotated[str, typer.Option(help=f"{DATA} digits:test.")],
    preprocess: Preprocessing = None,
    classes: ClassNames = None,
    preset: Annotated[str, typer.Option(help="How long and what to measure.")] = "quick",
    thresholds: Thresholds = None,
    rate: _Rate = None,
    arrivals: Annotated[str | None, typer.Option(help="Arrivals of --rate. [default: fixed]")] = None,
    deadline_ms: Annotated[
        float | None, typer.Option(help="Deadline of a request of --rate, in ms. [default: one period]")
    ] = None,
    against: _Against = None,
    against_thresholds: _AgainstNumbers = None,
    against_mode: Annotated[str | None, typer.Option(help="Mode of the second bundle.")] = None,
    energy: _Energy = None,
    power_log: _Log = None,
    cache: _Cache = None,
    cache_device: _Device = None,
    audit: _Audit = False,
    mode: Mode = None,
    backend: Backend = "onnxruntime",
    threads: Threads = 1,
    spin: Spin = False,
    options: BackendOptions = None,
    accept_device: AcceptDevice = False,
    verify: Verify = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice and the order of samples.", min=0)] = 0,
    output: _Output = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle: early exit against its own backbone, interleaved, in fresh processes.

    Ends with exit code 1 when early exit is measured to be slower than the backbone, or the run is invalid. Ctrl-C keeps the processes
    that ended.

    Example: edgeexit bench lenet.eexit --data digits:test --output result.json
    """
    import edgeexit
    from edgeexit.calibration.plausibility import recorded_differences
    from edgeexit.cli.bench_output import print_expected_time
    from edgeexit.data import load_data
    from edgeexit.measure.result.bench_result import check_place
    from edgeexit.measure.suites import load_suite

    _refuse_idle("--against", against, {"--against-thresholds": against_thresholds, "--against-mode": against_mode})
    _refuse_idle("--rate", rate, {"--arrivals": arrivals, "--deadline-ms": deadline_ms})
    if output is not None:
        check_place(output)
    suite, pace = load_suite(preset), _make_pace(rate, arrivals, deadline_ms)
    own, others = (
        _parse_thresholds("--thresholds", thresholds),
        _parse_thresholds("--against-thresholds", against_thresholds),
    )
    samples = load_data(data, read_bundle_info(bundle, preprocess, classes), strict=True)
    settings: dict[str, Any] = {"backend": backend, "threads": threads, "spin": spin, "options": join_options(options)}
    settings |= {"accept_device": accept_device, "verify": verify}
    second = {**settings, "mode": against_mode or mode}
    with ExitStack() as opened:
        runner = opened.enter_context(_open(bundle, own, mode=mode, **settings))
        for difference in recorded_differences(runner.bundle.manifest, samples):
            print_warning(f"{samples.name}: {difference}")
        other = None
        if against is not None:
            other = opened.enter_context(_open(against, others, **second))
        asked: dict[str, Any] = {"preset": preset, "seed": seed, "name": samples.name, "pace": pace, "against": other}
        asked |= {
            "energy": energy,
            "power_log": power_log,
            "cache": cache,
            "cache_device": cache_device,
            "audit": audit,
        }
        about_s = print_expected_time(suite, rate=rate is not None)
        progress = opened.enter_context(open_progress_display(about_s))
        result = edgeexit.bench(runner, samples.inputs, samples.labels, progress=progress, **asked)
    _print_and_save(result, output, as_json=as_json)


def _parse_thresholds(option: str, text: str | None) -> list[float] | None:
    return None if text is None else parse_numbers(option, text)


def _open(bundle: Path, thresholds: list[float] | None, **settings: Any) -> Runner:
    """A runner, with the thresholds of an option where they were given."""
    import edgeexit

    with show_build_progress():
        runner = edgeexit.load(bundle, **settings)
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


def _refuse_idle(option: str, value: object, others: dict[str, object]) -> None:
    """Reject options that only have an effect together with `option`."""
    from edgeexit.errors import InputError

    given = [name for name, other in others.items() if other is not None]
    if value is None and given:
        msg = f"{', '.join(given)} needs {option}: give both, or leave it out."
        raise InputError(msg)


def _make_pace(rate: float | None, arrivals: str | None, deadline_ms: float | None) -> Pace | None:
    from edgeexit.measure import Pace

    return None if rate is None else Pace(rate, arrivals or "fixed", None if deadline_ms is None else deadline_ms / 1e3)
