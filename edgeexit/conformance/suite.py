"""The suite: compile each network, open it with the backend under test, run the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edgeexit
from edgeexit.backends import Settings, find_backend
from edgeexit.backends.base import Array
from edgeexit.backends.build_progress import watching
from edgeexit.backends.example_inputs import random_inputs
from edgeexit.backends.self_check import Check
from edgeexit.compiler.compilation import compile_model
from edgeexit.conformance.checks import CHECKS, Case, accuracy_is_the_models, check_times, reference_of
from edgeexit.conformance.networks import BUILDERS, write_network
from edgeexit.conformance.report import SCHEMA, ConformanceReport, NetworkChecks
from edgeexit.data import demo_asset, load_data
from edgeexit.errors import EdgeExitError, InputError, did_you_mean
from edgeexit.graph.model import Network, read_model
from edgeexit.hardware import device_facts, device_key
from edgeexit.runtime.loading import open_runner
from edgeexit.util.progress import Progress, silent
from edgeexit.util.scratch import scratch_folder

NETWORKS = ("skips", "heads-feed-heads", "two-inputs", "lenet-digits", "alexnet-size", "resnet-size")
"""Every network of the suite: three that are hard to cut, the shipped trained one, two of the papers' size."""

_MODES = ("staged", "fused")


def run_conformance(
    backend: str,
    *,
    networks: Sequence[str] = NETWORKS,
    precision: str = "float32",
    samples: int = 200,
    seconds: float = 1.0,
    threads: int = 1,
    spin: bool = False,
    options: str = "",
    progress: Progress = silent,
) -> ConformanceReport:
    """Prove a backend on this machine.

    Args:
        backend: its name.
        networks: which of `NETWORKS`.
        precision: to compile them in; float32 is compared tightly, others by the decisions and labels.
        samples: inputs per network.
        seconds: time to spend on timing each network; 0 skips it.
        threads: worker threads.
        spin: burn a core while waiting.
        options: of the backend, see `edgeexit.load`.
        progress: watcher.

    Returns:
        what was found. A check that fails is in the report, not an exception.

    Raises:
        InputError: no such backend or network.
        MissingExtra, HardwareMissing: the backend cannot run here; with the remedy.
    """
    unknown = [f"{n!r}.{did_you_mean(n, NETWORKS)}" for n in networks if n not in NETWORKS]
    if unknown:
        msg = f"no network named {' '.join(unknown)} Networks: {', '.join(NETWORKS)}."
        raise InputError(msg)
    found = find_backend(backend)
    found.check_options(options)
    settings = Settings(backend, precision=precision, threads=threads, spin=spin, options=options)
    results: list[NetworkChecks] = []
    with scratch_folder() as folder, watching(progress):
        for done, network in enumerate(networks):
            progress("running the conformance suite", done, len(networks))
            results += _whatever_happens(network, settings, folder, samples, seconds)
    progress("running the conformance suite", len(networks), len(networks))
    return ConformanceReport(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        tool=f"edgeexit {edgeexit.__version__}",
        backend=backend,
        versions=found.versions(),
        precision=precision,
        threads=threads,
        spin=spin,
        options=settings.options,
        device=device_key(),
        facts=device_facts(),
        results=tuple(results),
    )


def _whatever_happens(
    network: str, settings: Settings, folder: Path, samples: int, seconds: float
) -> list[NetworkChecks]:
    """What was found of one network; where it does not even compile, that is what was found, and the suite goes on."""
    found: list[NetworkChecks] = []
    try:
        found += _one_network(network, settings, folder, samples, seconds)
    except Exception as error:  # a surprise of a backend is what the suite looks for
        found.append(NetworkChecks(network, "", (Check("it compiles and runs", False, _told(error)),)))
    return found


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _one_network(
    network: str, settings: Settings, folder: Path, samples: int, seconds: float
) -> Iterator[NetworkChecks]:
    """Checks in both modes, the times of both, and what the backend checks of itself."""
    model = demo_asset("lenet-digits.onnx") if network not in BUILDERS else write_network(network, folder)
    inputs, labels = _inputs(network, read_model(model), samples)
    bundle = compile_model(model, folder / f"{network}.eexit", precision=settings.precision, inputs=inputs, seconds=0)
    case = Case(bundle, settings, inputs, reference_of(model, bundle, inputs), labels)
    for mode in _MODES:
        yield NetworkChecks(network, mode, tuple(_in_mode(case, mode)))
    if seconds > 0:
        yield NetworkChecks(network, "", (_guarded("times", lambda: check_times(case, seconds)),))
    own = _self_checks(case)
    if own:
        yield NetworkChecks(network, "", own)


def _inputs(network: str, net: Network, samples: int) -> tuple[dict[str, Array], NDArray[np.int64] | None]:
    """Inputs, and labels where the network is a trained one."""
    if network in BUILDERS:
        return random_inputs(net.inputs, seed=7, batch=samples), None
    shipped = load_data("digits:test").take(slice(samples))
    assert not isinstance(shipped.inputs, dict)
    return {net.inputs[0].name: shipped.inputs}, shipped.labels


def _in_mode(case: Case, mode: str) -> Iterator[Check]:
    settings = case.settings.with_mode(mode)
    try:
        runner = open_runner(case.bundle, settings)
    except EdgeExitError as error:
        yield Check("it opens", False, str(error))
        return
    with runner:
        for name, check in CHECKS.items():
            if check is accuracy_is_the_models and case.labels is None:
                continue
            yield _guarded(name, lambda check=check: check(case, runner))  # type: ignore[misc]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """Run one check; an error of edgeexit's own is its failure, and the suite goes on."""
    try:
        return check()
    except EdgeExitError as error:
        return Check(name, False, _told(error))


def _self_checks(case: Case) -> tuple[Check, ...]:
    backend = find_backend(case.settings.backend)
    try:
        return tuple(backend.self_checks(case.bundle, case.settings))
    except EdgeExitError as error:
        return (Check("its own checks run", False, _told(error)),)
