"""The suite: compile each network, open it with the backend under test, run the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgeexit
from edgeexit.backends import Settings, find_backend
from edgeexit.backends.base import Array
from edgeexit.backends.build_progress import report_builds_to
from edgeexit.backends.example_inputs import make_random_inputs
from edgeexit.backends.self_check import SelfCheck
from edgeexit.choices import MODES
from edgeexit.compiler.compilation import compile_model
from edgeexit.compiler.exit_rule import DEFAULT
from edgeexit.conformance.checks import CHECKS, ConformanceCase, check_accuracy, check_times, run_reference
from edgeexit.conformance.networks import BUILDERS, write_network
from edgeexit.conformance.report import SCHEMA, ConformanceReport, NetworkChecks
from edgeexit.criteria import CRITERIA
from edgeexit.data import find_demo_asset, load_data
from edgeexit.errors import EdgeExitError, InputError, did_you_mean
from edgeexit.graph.model import Network, read_model
from edgeexit.hardware import find_device_key, read_device_facts
from edgeexit.runtime.loading import open_runner
from edgeexit.stage_choices import list_distinct_names
from edgeexit.util.arguments import as_whole
from edgeexit.util.progress import Progress, show_nothing
from edgeexit.util.scratch import make_scratch_folder
from edgeexit.util.timestamps import make_timestamp

NETWORKS = ("skips", "heads-feed-heads", "two-inputs", "lenet-digits", "alexnet-size", "resnet-size")
"""Every network of the suite: three that are hard to cut, the shipped trained one, two of the papers' size."""

MOST_SAMPLES = 200
"""Inputs per network, where no other number is asked for."""

CRITERIA_NETWORK, _CRITERIA_SAMPLES = "two-inputs", 40
"""The network that is compiled with every criterion of edgeexit's besides the default, but for those that take the network's own scores,
which it has none of."""


def run_conformance(
    backend: str,
    *,
    networks: Sequence[str] = NETWORKS,
    precision: str = "float32",
    samples: int = MOST_SAMPLES,
    seconds: float = 1.0,
    threads: int = 1,
    spin: bool = False,
    options: str = "",
    progress: Progress = show_nothing,
) -> ConformanceReport:
    """Prove a backend on this machine.

    Args:
        backend: its name.
        networks: names from `NETWORKS`.
        precision: precision to compile them in; float32 is compared tightly, others by the decisions and labels.
        samples: inputs per network, up to `MOST_SAMPLES`.
        seconds: time to spend on timing each network; 0 skips it.
        threads: worker threads.
        spin: burn a core while waiting.
        options: options of the backend, see `edgeexit.load`.
        progress: callback with what is being done, how much is done, and of how much.

    Returns:
        what was found. A check that fails is in the report, not an exception.

    Raises:
        InputError: no such backend or network, or a number of samples that is none.
        MissingExtra, HardwareMissing: the backend cannot run here; with the remedy.
    """
    unknown = [f"{n!r}.{did_you_mean(n, NETWORKS)}" for n in networks if n not in NETWORKS]
    if unknown:
        msg = f"no network named {' '.join(unknown)} Networks: {', '.join(NETWORKS)}."
        raise InputError(msg)
    samples = as_whole("samples", samples, 1, MOST_SAMPLES)
    found = find_backend(backend)
    found.check_options(options)
    settings = Settings(backend, precision=precision, threads=threads, spin=spin, options=options)
    results: list[NetworkChecks] = []
    with make_scratch_folder() as folder, report_builds_to(progress):
        for done, network in enumerate(networks):
            progress("running the conformance suite", done, len(networks))
            results += _check_network_safely(network, settings, folder, samples, seconds)
            if network == CRITERIA_NETWORK:
                results += _check_criteria(settings, folder, min(samples, _CRITERIA_SAMPLES))
    progress("running the conformance suite", len(networks), len(networks))
    return ConformanceReport(
        schema=SCHEMA,
        created=make_timestamp(),
        tool=f"edgeexit {edgeexit.__version__}",
        backend=backend,
        versions=found.versions(),
        precision=precision,
        samples=samples,
        threads=threads,
        spin=spin,
        options=settings.options,
        device=find_device_key(),
        facts=read_device_facts(),
        results=tuple(results),
    )


def _check_criteria(settings: Settings, folder: Path, samples: int) -> Iterator[NetworkChecks]:
    """The small network under the other criteria; nothing is timed."""
    for name, rule in CRITERIA.items():
        if not rule.learned and name != DEFAULT:
            for checks in _check_network_safely(CRITERIA_NETWORK, settings, folder, samples, 0, criterion=name):
                yield replace(checks, network=f"{CRITERIA_NETWORK}, {name}")


def _check_network_safely(
    network: str, settings: Settings, folder: Path, samples: int, seconds: float, *, criterion: str = DEFAULT
) -> list[NetworkChecks]:
    """Check one network; a failed compile is recorded as a finding, and the suite continues."""
    found: list[NetworkChecks] = []
    try:
        found += _check_network(network, settings, folder, samples, seconds, criterion=criterion)
    except Exception as error:  # a surprise of a backend is what the suite looks for
        found.append(NetworkChecks(network, "", (SelfCheck("it compiles and runs", False, _format_error(error)),)))
    return found


def _format_error(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _choose_compiling_backend(settings: Settings) -> str:
    """int8 is quantised for the backend under test where that takes another form than the reference; all else is compiled for both."""
    other_form = (
        "int8" in list_distinct_names(settings.precision) and not find_backend(settings.backend).quantized_outputs
    )
    return settings.backend if other_form else "onnxruntime"


def _check_network(
    network: str, settings: Settings, folder: Path, samples: int, seconds: float, *, criterion: str
) -> Iterator[NetworkChecks]:
    """Checks in both modes, the times of both, and what the backend checks of itself."""
    model = find_demo_asset("lenet-digits.onnx") if network not in BUILDERS else write_network(network, folder)
    inputs, labels = _make_inputs(network, read_model(model), samples)
    bundle = compile_model(
        model,
        folder / f"{network}.eexit",
        criterion=criterion,
        backend=_choose_compiling_backend(settings),
        precision=settings.precision,
        inputs=inputs,
        seconds=0,
    )
    case = ConformanceCase(bundle, settings, inputs, run_reference(model, bundle, inputs), labels)
    for mode in MODES:
        yield NetworkChecks(network, mode, tuple(_check_mode(case, mode)))
    if seconds > 0:
        yield NetworkChecks(network, "", (_run_check("times", lambda: check_times(case, seconds)),))
    own = _run_self_checks(case) if criterion == DEFAULT else ()
    if own:
        yield NetworkChecks(network, "", own)


def _make_inputs(network: str, net: Network, samples: int) -> tuple[dict[str, Array], NDArray[np.int64] | None]:
    """Inputs, and labels where the network is a trained one."""
    if network in BUILDERS:
        return make_random_inputs(net.inputs, seed=7, batch=samples), None
    shipped = load_data("digits:test").take(slice(samples))
    assert not isinstance(shipped.inputs, dict)
    return {net.inputs[0].name: shipped.inputs}, shipped.labels


def _check_mode(case: ConformanceCase, mode: str) -> Iterator[SelfCheck]:
    settings = case.settings.with_mode(mode)
    try:
        runner = open_runner(case.bundle, settings)
    except EdgeExitError as error:
        yield SelfCheck("it opens", False, str(error))
        return
    with runner:
        for name, check in CHECKS.items():
            if check is check_accuracy and case.labels is None:
                continue
            yield _run_check(name, lambda check=check: check(case, runner))  # type: ignore[misc]


def _run_check(name: str, check: Callable[[], SelfCheck]) -> SelfCheck:
    """Run one check; an error of edgeexit's own is its failure, and the suite goes on."""
    try:
        return check()
    except EdgeExitError as error:
        return SelfCheck(name, False, _format_error(error))


def _run_self_checks(case: ConformanceCase) -> tuple[SelfCheck, ...]:
    backend = find_backend(case.settings.backend)
    try:
        return tuple(backend.self_checks(case.bundle, case.settings))
    except EdgeExitError as error:
        return (SelfCheck("its own checks run", False, _format_error(error)),)
