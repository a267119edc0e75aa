"""The whole policy chosen on this device: precision, backend, mode, threads, exits kept, criterion, thresholds.

    compile in each precision ─► record every exit's answers once ─► time the setups by successive halving
      ─► search thresholds of every criterion and subset of exits ─► compile, calibrate and measure the last two ─► write the better one

The folder beside the bundle (`best.tune` of `best.eexit`) holds what was compiled and recorded, so that an interrupted run goes on.
Everything is chosen on the choose part of the data; the validation part, which `calibrate` holds back too, only judges.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeexit.bundle import Bundle, PreferredSettings, check_replaceable, copy_bundle
from edgeexit.bundle.store import compute_sha256
from edgeexit.calibration import Target, parse_target
from edgeexit.calibration.decision import NOT_MET
from edgeexit.calibration.plausibility import Evidence, find_implausible, refuse_implausible
from edgeexit.choices import PRECISIONS
from edgeexit.data import Dataset, make_dataset, split_calibration
from edgeexit.errors import InputError
from edgeexit.graph import find_exits, read_model
from edgeexit.graph.expected_data import read_model_info
from edgeexit.hardware import find_device_key
from edgeexit.runtime import CalibrationWarning
from edgeexit.tuning.answers import Judged, NetworkBuilder, PreparedNetwork
from edgeexit.tuning.choice import Chooser, FoundPolicy, make_absolute, make_not_met_error, pick_finalists
from edgeexit.tuning.collect import Tuned, make_result
from edgeexit.tuning.confirm import (
    CalibratedFinalist,
    FinalistTrial,
    MeasuredFinalist,
    choose_finalist,
    measure_finalists,
    prepare_finalist,
)
from edgeexit.tuning.result import TuningResult
from edgeexit.tuning.space import (
    EngineSetup,
    LeftOut,
    TuningSpace,
    find_backends,
    find_criteria,
    list_setups,
)
from edgeexit.tuning.timing import SetupTiming, Stopwatch, time_setups
from edgeexit.util.arguments import as_path, as_seconds, as_whole, check_progress
from edgeexit.util.atomic import write_text
from edgeexit.util.documents import dumps, read_json
from edgeexit.util.progress import Progress, show_in_notebooks
from edgeexit.util.units import percent

SECONDS = 60.0
"""Wall time of all timing, by default; compiling and recording come on top."""
NOISY_SPREAD = 0.25
"""Blocks of the same network that differ by more than this, relative, are told at once."""
RESULT, PLAN = "tuning.json", "plan.json"
_SETUPS_SHARE, _CALIBRATION_SHARE = 0.5, 0.15
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
        seconds: wall time of all timing, seconds.
        seed: random seed of splits and orders.
        name: name of the data, recorded.
        resume: take what an interrupted run of the same model and data has compiled and recorded.
        force: tune although the data are implausible (`edgeexit.calibration.plausibility`).
        progress: called with what is being done.

    Returns:
        what was tried, measured and chosen; it is also in `<name>.tune/tuning.json`.

    Raises:
        InputError: an argument, implausible data, or a bound that tuning cannot judge (energy, exit rates).
        ModelError: the model cannot be taken.
        TargetNotMet: no candidate meets the target; names the nearest that one of them meets, and which.

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
    check_progress(progress)
    wanted = parse_target(target)
    _refuse_bounds(wanted)
    check_replaceable(folder)
    data = make_dataset(name, inputs, labels, read_model_info(read_model(source), str(source)))
    if len(data) < _FEWEST:
        msg = f"{name} has {len(data)} samples; tuning needs {_FEWEST} at least; a few thousand are recommended."
        raise InputError(msg)
    plan = _Plan(
        source,
        folder,
        data,
        wanted,
        space or TuningSpace(),
        as_seconds("seconds", seconds),
        as_whole("seed", seed, 0, _LARGEST_SEED),
        progress,
        force,
    )
    plan.start(resume=resume)
    return _Session(plan).run()


def _warn_of_noise(watch: Stopwatch) -> None:
    """Say before the long part that times cannot be compared here."""
    if watch.spread > NOISY_SPREAD:
        what = f"the same network takes {percent(watch.spread, 0)} longer in some blocks than in others"
        advice = "Stop other work, or nothing about time can be decided."
        warnings.warn(
            f"this machine is noisy: {what}. {advice}",
            CalibrationWarning,
            stacklevel=4,
        )


def _refuse_bounds(target: Target) -> None:
    """Bounds that cannot be judged before it is known which exits stay, or without a meter."""
    for bound in target.bounds:
        if bound.kind.numbered:
            msg = f"{bound}: tuning chooses which exits stay, so the rate of one cannot be bounded; bound it with edgeexit calibrate."
            raise InputError(msg)
        if bound.kind.metered:
            msg = f"{bound}: tuning measures no energy; bound mean<= or macs<=, or use edgeexit calibrate."
            raise InputError(msg)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is asked for, and the data in parts."""

    model: Path
    output: Path
    data: Dataset
    target: Target
    space: TuningSpace
    seconds: float
    seed: int
    progress: Progress
    force: bool
    began_s: float = field(default_factory=time.monotonic)

    @property
    def work(self) -> Path:
        """Folder of what is compiled and recorded on the way."""
        return self.output.with_name(f"{self.output.name.removesuffix('.eexit')}.tune")

    @property
    def parts(self) -> list[NDArray[np.int64]]:
        """Indices of the choose and the validation part, the same as `calibrate` takes with this seed."""
        return split_calibration(len(self.data), self.seed)

    def start(self, *, resume: bool) -> None:
        """Make the work folder, or take the one that is there.

        Raises:
            InputError: it is there and `resume` was not asked for, or it is of another model or other data.
        """
        identity = {"model": compute_sha256(self.model), "data": self.data.sha256, "seed": str(self.seed)}
        if not self.work.exists():
            self.work.mkdir(parents=True)
            write_text(self.work / PLAN, dumps(identity))
            return
        if not resume:
            msg = f"{self.work} holds an earlier run: take what it recorded with --resume (resume=True), or remove it."
            raise InputError(msg)
        if not (self.work / PLAN).exists() or read_json(self.work / PLAN, "plan") != identity:
            msg = f"{self.work} is of another model, other data or another seed: remove it, or choose another output."
            raise InputError(msg)


@dataclass(frozen=True, eq=False)
class _Session:
    """One run of tuning."""

    plan: _Plan

    def run(self) -> TuningResult:
        plan = self.plan
        backends, missing = find_backends(plan.space)
        choose = plan.data.take(plan.parts[0])
        builder = NetworkBuilder(plan.model, plan.work, plan.data, choose, plan.progress)
        network = builder.prepare(plan.space.precisions or PRECISIONS)
        judged = Judged(network.answers, plan.data.labels, network.answers[network.own].labels)
        self._refuse_implausible(network, judged)
        chooser = Chooser(plan.target, judged.take(plan.parts[0]), len(plan.data))
        criteria, unusable = self._find_criteria(network)
        timings, slower, watch = self._time(network, backends, chooser, criteria)
        found = self._search(timings, chooser, criteria)
        finalists = pick_finalists(found)
        if not finalists:
            raise make_not_met_error(plan.target, found)
        ready, measured = self._confirm(finalists, judged, watch)
        chosen = choose_finalist(ready, measured, plan.target)
        bundle = self._install(ready[chosen])
        left_out = (*missing, *network.left_out, *unusable, *slower)
        result = make_result(
            Tuned(
                target=plan.target,
                data=plan.data,
                parts=(len(plan.parts[0]), len(plan.parts[1])),
                seed=plan.seed,
                seconds=time.monotonic() - plan.began_s,
                watch=watch,
                network=network,
                validate=judged.take(plan.parts[1]),
                found=found,
                finalists=tuple(zip(ready, measured, strict=True)),
                chosen=chosen,
                left_out=left_out,
                bundle=bundle.path,
            )
        )
        write_text(plan.work / RESULT, dumps(result))
        return result

    def _refuse_implausible(self, network: PreparedNetwork, judged: Judged) -> None:
        """What calibration would refuse in the end is refused before anything is timed."""
        plan, manifest = self.plan, network.bundles[network.own].manifest
        if not plan.force:
            evidence = Evidence(plan.data, judged.reference, manifest.classes, plan.target, manifest)
            refuse_implausible(find_implausible(evidence), plan.data.name)

    def _find_criteria(self, network: PreparedNetwork) -> tuple[tuple[str, ...], tuple[LeftOut, ...]]:
        own = network.answers[network.own]
        return find_criteria(self.plan.space, own_scores=own.scores is not None, costs_known=own.macs is not None)

    def _time(
        self, network: PreparedNetwork, backends: Sequence[str], chooser: Chooser, criteria: Sequence[str]
    ) -> tuple[tuple[SetupTiming, ...], tuple[LeftOut, ...], Stopwatch]:
        plan = self.plan
        setups, impossible = list_setups(plan.space, network.bundles, backends, network.exits)
        reference = EngineSetup(network.own, "onnxruntime", "staged", 1)
        watch = Stopwatch.start(network.bundles, reference, plan.data, plan.seed, max(0.3, 0.02 * plan.seconds))
        _warn_of_noise(watch)
        every_exit = tuple(range(1, network.exits))
        timings, slower = time_setups(
            watch,
            setups,
            lambda timing: chooser.find(timing, criteria[0], every_exit).key,
            plan.seconds * _SETUPS_SHARE,
            plan.progress,
        )
        return timings, (*impossible, *slower), watch

    def _search(
        self, timings: Sequence[SetupTiming], chooser: Chooser, criteria: Sequence[str]
    ) -> tuple[FoundPolicy, ...]:
        found: list[FoundPolicy] = []
        for place, timing in enumerate(timings):
            self.plan.progress("searching thresholds", place, len(timings))
            found += chooser.find_all(timing, criteria)
        self.plan.progress("searching thresholds", len(timings), len(timings))
        return tuple(sorted(found, key=lambda one: one.key, reverse=True))

    def _confirm(
        self, finalists: Sequence[FoundPolicy], judged: Judged, watch: Stopwatch
    ) -> tuple[tuple[CalibratedFinalist, ...], tuple[MeasuredFinalist | None, ...]]:
        plan = self.plan
        exits = find_exits(read_model(plan.model))
        trial = FinalistTrial(
            model=plan.model,
            exits=tuple(e.logits for e in exits),
            scores=tuple(e.score for e in exits),
            data=plan.data,
            ranges=plan.data.take(plan.parts[0]),
            plain=judged.reference,
            target=make_absolute(plan.target, watch.reference_s),
            seed=plan.seed,
            force=plan.force,
            seconds=plan.seconds * _CALIBRATION_SHARE,
        )
        ready = tuple(
            prepare_finalist(one, trial, plan.work / f"finalist-{place}.eexit", plan.progress)
            for place, one in enumerate(finalists, 1)
        )
        rest_s = plan.seconds * (1 - _SETUPS_SHARE - len(ready) * _CALIBRATION_SHARE)
        validate = plan.data.take(plan.parts[1])
        return ready, measure_finalists(ready, watch, validate, rest_s, plan.progress)

    def _install(self, one: CalibratedFinalist) -> Bundle:
        """The chosen bundle at its place, with the settings that it is to be opened with.

        Thresholds whose bounds stayed undecided are active too: the bundle runs as it was measured, and `load` says that they are.
        """
        setup = one.found.candidate.setup
        bundle = copy_bundle(Bundle.open(one.bundle.path), self.plan.output)
        assert one.calibration is not None, "what was measured is calibrated"
        if one.calibration.verdict.bounds != NOT_MET:
            bundle = bundle.use(bundle.history[-1].name)
        key = find_device_key(backend=setup.backend)
        return bundle.prefer(key, PreferredSettings(setup.backend, setup.mode, setup.threads))
