"""One run of tuning, step by step; see `flow`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edgeexit.bundle import Bundle, PreferredSettings, copy_bundle
from edgeexit.calibration.decision import NOT_MET
from edgeexit.calibration.judge import list_busy_reasons
from edgeexit.calibration.plausibility import Evidence, find_implausible, refuse_implausible
from edgeexit.choices import MODES
from edgeexit.graph import find_exits, read_model
from edgeexit.hardware import find_device_key, read_device_state
from edgeexit.runtime import CalibrationWarning
from edgeexit.stage_choices import is_mixed
from edgeexit.tuning.answers import Judged, NetworkBuilder, PreparedNetwork
from edgeexit.tuning.budget import CALIBRATED, REPLAYS, WorkToCome
from edgeexit.tuning.choice import (
    Chooser,
    FoundPolicy,
    make_absolute,
    make_not_met_error,
)
from edgeexit.tuning.collect import Tuned, make_result
from edgeexit.tuning.confirm import (
    CalibratedFinalist,
    CompiledContender,
    FinalistTrial,
    MeasuredFinalist,
    choose_finalist,
    measure_finalists,
    time_contenders,
)
from edgeexit.tuning.contributions import ComparedStep, compare_steps
from edgeexit.tuning.finalists import CONTENDERS, pick_by_hand, pick_contenders, pick_finalists
from edgeexit.tuning.mixes import MOST, ProposedMixes, StageSurvey
from edgeexit.tuning.plan import RESULT, TuningPlan
from edgeexit.tuning.result import TuningResult
from edgeexit.tuning.rivals import SetupJudge
from edgeexit.tuning.space import (
    EXHAUSTIVE,
    DecisionRule,
    EngineSetup,
    LeftOut,
    choose_precisions,
    find_backends,
    find_rules,
    list_setups,
    list_thread_counts,
    require_final_setup,
)
from edgeexit.tuning.store import SetupTiming, TuningStore, make_rising_timing
from edgeexit.tuning.timing import FINALISTS, Stopwatch, time_setups
from edgeexit.util.atomic import write_text
from edgeexit.util.documents import dumps
from edgeexit.util.units import duration, format_ratio, percent

NOISY_SPREAD = 0.25
"""Blocks of the same network that differ by more than this, relative, are told at once."""
_LAST = 2
_OVERRUN = 0.1
"""Ending later than the budget by more than this share of it is told before anything is timed."""
_HOPELESS = "its answers cannot keep {target}, not even with each sample at the exit that is best for it"
_SURVEYED = 32
"""Samples that single stages are timed on."""
_REFERENCE_S, _REFERENCE_SHARE = 0.3, 0.01
"""The reference is measured first for this long at least, and for this share of the budget."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Prepared:
    """A network compiled and recorded, and what its answers allow.

    Attributes:
        network: compiled with all exits in each precision.
        judged: answers of all samples, with temperatures fitted on the choose part.
        chooser: searches on the choose part.
        rules: the rules that it can leave by.
        left_out: precisions and criteria that cannot be used.
    """

    network: PreparedNetwork
    judged: Judged
    chooser: Chooser
    rules: tuple[DecisionRule, ...]
    left_out: tuple[LeftOut, ...]

    def count_candidates(self, timings: Sequence[SetupTiming], plan: TuningPlan) -> Prepared:
        """The same, whose searches keep bounds by the room that so many candidates call for."""
        plan.progress("counting independent candidates", 0, 1)
        every = self.chooser.find_all_without_room(timings, self.rules)
        chooser = self.chooser.account_for_candidates(every, timings)
        plan.progress("counting independent candidates", 1, 1)
        return replace(self, chooser=chooser)

    def search(self, timings: Sequence[SetupTiming], plan: TuningPlan) -> tuple[FoundPolicy, ...]:
        """The best thresholds of every candidate on these setups, best first.

        Raises:
            TargetNotMet: no candidate meets the target.
        """
        found: list[FoundPolicy] = []
        for place, timing in enumerate(timings):
            plan.progress("searching thresholds", place, len(timings))
            found += self.chooser.find_all(timing, self.rules)
        plan.progress("searching thresholds", len(timings), len(timings))
        found.sort(key=lambda one: one.key, reverse=True)
        if found[0].policy is None:
            raise make_not_met_error(plan.target, found)
        return tuple(found)

    def compare(self, best: FoundPolicy, store: TuningStore, watch: Stopwatch) -> tuple[ComparedStep, ...]:
        """What each choice of the best candidate brings."""
        timings = {one.setup: one for one in store.list_timings(finished=False)}
        return compare_steps(best, self.chooser, timings, watch.reference)


def make_builder(plan: TuningPlan, store: TuningStore) -> NetworkBuilder:
    """What compiles and records into the folder of the run; ranges of int8 come from the choose part."""
    return NetworkBuilder(
        plan.model,
        store.folder,
        plan.data,
        plan.data.take(plan.parts[0]),
        plan.progress,
        observe=plan.budget.observe_for(store),
    )


def start_watch(plan: TuningPlan, store: TuningStore, own: Bundle) -> Stopwatch:
    """The reference, measured before the long part begins."""
    reference = EngineSetup(own.manifest.precision, "onnxruntime", "staged", 1)
    length_s = max(_REFERENCE_S, _REFERENCE_SHARE * plan.budget.seconds)
    return Stopwatch.start(own, reference, plan.data, store, length_s)


def prepare(plan: TuningPlan, builder: NetworkBuilder, own: Bundle, precisions: Sequence[str]) -> Prepared:
    """Compile in these precisions and record, or take what is there.

    Raises:
        InputError: the data are implausible, or no criterion can be used.
    """
    network = builder.prepare(own, precisions)
    judged = Judged(network.answers, plan.data.labels, network.answers[network.own].labels)
    if not plan.force:  # what calibration would refuse in the end is refused before anything is timed
        evidence = Evidence(plan.data, judged.reference, own.manifest.classes, plan.target, own.manifest)
        refuse_implausible(find_implausible(evidence), plan.data.name)
    choose = judged.take(plan.parts[0]).fit()
    recorded = network.answers[network.own]
    rules, unusable = find_rules(
        plan.space, own_scores=recorded.scores is not None, costs_known=recorded.macs is not None
    )
    return Prepared(
        network=network,
        judged=choose.share_temperatures(judged),
        chooser=Chooser(plan.target, choose, len(plan.data)),
        rules=rules,
        left_out=(*network.left_out, *unusable),
    )


def _warn_of_noise(watch: Stopwatch, reasons: tuple[str, ...]) -> None:
    """Say before the long part that times cannot be compared here."""
    if watch.spread > NOISY_SPREAD:
        reasons = (f"the same network takes {percent(watch.spread, 0)} longer in some blocks than in others", *reasons)
    if reasons:
        what = "; ".join(reasons)
        advice = "Stop other work, or nothing about time can be decided."
        warnings.warn(f"this machine is noisy: {what}. {advice}", CalibrationWarning, stacklevel=5)


@dataclass(frozen=True, eq=False)
class TuningSession:
    """One run of tuning.

    Attributes:
        plan: what is asked for.
        store: what was measured so far.
    """

    plan: TuningPlan
    store: TuningStore

    def run(self) -> TuningResult:
        """All of it; the result is also in the folder of the run."""
        plan = self.plan
        backends, missing = find_backends(plan.space)
        builder = make_builder(plan, self.store)
        own = builder.prepare_own()
        before = read_device_state()
        watch = start_watch(plan, self.store, own)
        _warn_of_noise(watch, tuple(list_busy_reasons((before, read_device_state()), watch.reference.threads)))
        precisions, useless = choose_precisions(plan.space, backends)
        mixes = self._propose_mixes(builder, own, backends, precisions)
        prepared = prepare(plan, builder, own, (*precisions, *mixes.precisions))
        watch = watch.with_bundles(prepared.network.bundles)
        timings, left_out = self._time(prepared, backends, watch, mixes)
        prepared = prepared.count_candidates(timings, plan)
        found = prepared.search(timings, plan)
        steps = prepared.compare(found[0], self.store, watch)
        finalists, behind = self._pick_finalists(found, prepared, watch)
        ready, measured = self._confirm(finalists, prepared, watch)
        chosen = choose_finalist(ready, measured, plan.target, watch.reference)
        bundle = self._install(ready[chosen])
        result = make_result(
            Tuned(
                target=plan.target,
                data=plan.data,
                parts=(len(plan.parts[0]), len(plan.parts[1])),
                seed=plan.seed,
                seconds=plan.budget.elapsed_s,
                watch=watch,
                network=prepared.network,
                validate=prepared.judged.take(plan.parts[1]),
                found=found,
                independent=prepared.chooser.candidates,
                steps=steps,
                finalists=tuple(zip(ready, measured, strict=True)),
                chosen=chosen,
                left_out=(*missing, *useless, *prepared.left_out, *left_out, *behind),
                bundle=bundle.path,
            )
        )
        write_text(plan.work / RESULT, dumps(result))
        return result

    def _propose_mixes(
        self, builder: NetworkBuilder, own: Bundle, backends: Sequence[str], precisions: Sequence[str]
    ) -> ProposedMixes:
        plan = self.plan
        if not plan.space.mixed or "staged" not in (plan.space.modes or MODES):
            return ProposedMixes()
        network = builder.prepare(own, precisions)
        few = plan.data.take(slice(_SURVEYED)).inputs
        named = few if isinstance(few, Mapping) else {own.manifest.inputs[0].name: few}
        threads = list_thread_counts(plan.space)
        seconds = self._allot("stages", WorkToCome(CONTENDERS + MOST, CALIBRATED * REPLAYS + MOST))
        return StageSurvey(network, backends, threads, named, seconds, plan.progress).propose()

    def _allot(self, part: str, work: WorkToCome) -> float:
        """Seconds for a part of the timing that begins now, before so much other work."""
        return self.plan.budget.allot(part, work.estimate(self.store))

    def _time(
        self, prepared: Prepared, backends: Sequence[str], watch: Stopwatch, mixes: ProposedMixes
    ) -> tuple[tuple[SetupTiming, ...], tuple[LeftOut, ...]]:
        plan, network = self.plan, prepared.network
        judge = SetupJudge(prepared.chooser, prepared.rules, network.exits - 1)
        hopeless = [p for p in network.bundles if p != network.own and not judge.can_meet_answers(p)]
        whole = [precision for precision in network.bundles if not is_mixed(precision) and precision not in hopeless]
        setups, impossible = list_setups(plan.space, whole, backends, network.exits)
        setups = (
            *setups,
            *(mix for mix in mixes.setups if mix.precision in network.bundles and mix.precision not in hopeless),
        )
        impossible += tuple(LeftOut(f"precision {p}", _HOPELESS.format(target=plan.target)) for p in hopeless)
        work = WorkToCome(CONTENDERS, CALIBRATED * REPLAYS, self._estimate_search(prepared, len(setups)))
        self._warn_of_overrun(work)
        timings, slower = time_setups(
            watch, setups, judge, self._allot("setups", work), plan.progress, clock=plan.budget.clock
        )
        return timings, (*impossible, *mixes.left_out, *slower)

    def _estimate_search(self, prepared: Prepared, setups: int) -> float:
        """Seconds that searching all candidates takes, from the search of one; half of it where it keeps few exits."""
        clock, early = self.plan.budget.clock, prepared.network.exits - 1
        timing = make_rising_timing(prepared.network.own, early)
        began_s = clock()
        prepared.chooser.find(timing, prepared.rules[0], tuple(range(1, early + 1)))
        subsets = 2**early - 1 if early <= EXHAUSTIVE else early * (early + 1) / 2
        return (clock() - began_s) / 2 * len(prepared.rules) * subsets * min(setups, FINALISTS + 1)

    def _warn_of_overrun(self, work: WorkToCome) -> None:
        """Say before anything is timed that the budget is too small for what has to be done besides."""
        plan = self.plan
        work_s = work.estimate(self.store)
        over_s = plan.budget.find_overrun("setups", work_s)
        if over_s > _OVERRUN * plan.budget.seconds:
            what = f"other work took {duration(plan.budget.elapsed_s)} so far and takes about {duration(work_s)} more"
            advice = "Timing gets a fifth of the budget; a larger one, or fewer backends and precisions, give it more."
            warnings.warn(
                f"this run ends about {duration(over_s)} after its budget of {duration(plan.budget.seconds)}: {what}. {advice}",
                CalibrationWarning,
                stacklevel=5,
            )

    def _pick_finalists(
        self, found: Sequence[FoundPolicy], prepared: Prepared, watch: Stopwatch
    ) -> tuple[tuple[CompiledContender, ...], tuple[LeftOut, ...]]:
        """The last candidates, compiled: the best two; where times decide, the fastest two of those that predicted times cannot tell apart,
        and what one would choose by hand.
        """
        plan, trial = self.plan, make_trial(self.plan, prepared, watch)
        times_decide = plan.target.minimises_mean
        picked = pick_contenders(found) if times_decide else pick_finalists(found)
        by_hand = pick_by_hand(found, watch.reference) if times_decide else ()
        every = tuple({one.candidate: one for one in (*picked, *by_hand)}.values())
        compiled = tuple(
            CompiledContender(one, trial.compile(one, plan.work / f"finalist-{place}.eexit", plan.progress))
            for place, one in enumerate(every, 1)
        )
        if len(compiled) <= _LAST:
            return compiled, ()
        seconds = self._allot("contenders", WorkToCome(replays=CALIBRATED * REPLAYS))
        means = time_contenders(compiled, watch, seconds, plan.progress)
        ranked = sorted(range(len(compiled)), key=lambda place: means[place])
        last = [k for k in ranked if k in ranked[:_LAST] or every[k] in by_hand]
        behind = tuple(
            LeftOut(
                str(every[k].candidate),
                f"compiled with its own criterion and exits it takes {format_ratio(means[k] / means[ranked[0]])} times as long as "
                f"{every[ranked[0]].candidate}",
                timed=True,
            )
            for k in ranked
            if k not in last
        )
        return tuple(compiled[k] for k in last), behind

    def _confirm(
        self, finalists: Sequence[CompiledContender], prepared: Prepared, watch: Stopwatch
    ) -> tuple[tuple[CalibratedFinalist, ...], tuple[MeasuredFinalist | None, ...]]:
        plan, count = self.plan, len(finalists)
        seconds = self._allot("calibrations", WorkToCome(replays=count * REPLAYS)) / count
        trial = make_trial(plan, prepared, watch, seconds)
        ready = tuple(one.calibrate(trial, plan.progress) for one in finalists)
        validate = plan.data.take(plan.parts[1])
        rest_s = self._allot("last", WorkToCome(replays=count * (REPLAYS - 1)))
        return ready, measure_finalists(ready, watch, validate, rest_s, plan.progress)

    def _install(self, one: CalibratedFinalist) -> Bundle:
        """The chosen bundle at its place, with the settings that it is to be opened with.

        Thresholds whose bounds stayed undecided are active too: the bundle runs as it was measured, and `load` says that they are.
        """
        bundle = copy_bundle(Bundle.open(one.bundle.path), self.plan.output)
        assert one.calibration is not None, "what was measured is calibrated"
        if one.calibration.verdict.bounds != NOT_MET:
            bundle = bundle.use(bundle.history[-1].name)
        return prefer_setup(bundle, require_final_setup(one.found.candidate))


def make_trial(plan: TuningPlan, prepared: Prepared, watch: Stopwatch, seconds: float = 0.0) -> FinalistTrial:
    """How candidates are compiled, and calibrated with so many seconds of timing each."""
    exits = find_exits(read_model(plan.model))
    return FinalistTrial(
        model=plan.model,
        exits=tuple(e.logits for e in exits),
        scores=tuple(e.score for e in exits),
        temperatures=prepared.judged.temperatures,
        data=plan.data,
        ranges=plan.data.take(plan.parts[0]),
        plain=prepared.judged.reference,
        candidates=prepared.chooser.candidates,
        target=make_absolute(plan.target, watch.reference_s),
        seed=plan.seed,
        force=plan.force,
        seconds=seconds,
    )


def prefer_setup(bundle: Bundle, setup: EngineSetup, *thresholds: float) -> Bundle:
    """The bundle, which opens with these settings on this machine where the caller names none; and see `Bundle.prefer`."""
    key = find_device_key(backend=setup.backend)
    return bundle.prefer(key, PreferredSettings(setup.backend, setup.mode, setup.threads), *thresholds)
