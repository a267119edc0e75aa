"""Another target from what an earlier run has recorded and timed: nothing is measured, everything is predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeexit.bundle import Bundle
from edgeexit.criteria import criterion
from edgeexit.errors import InputError
from edgeexit.stage_choices import is_mixed, list_distinct_names
from edgeexit.tuning.choice import FoundPolicy
from edgeexit.tuning.collect import Tuned, make_result
from edgeexit.tuning.plan import RESULT, TuningPlan
from edgeexit.tuning.result import TuningResult
from edgeexit.tuning.session import Prepared, make_builder, make_trial, prefer_setup, prepare, start_watch
from edgeexit.tuning.space import choose_precisions, find_backends, require_final_setup
from edgeexit.tuning.store import SetupTiming, TuningStore
from edgeexit.tuning.timing import Stopwatch
from edgeexit.util.atomic import write_text
from edgeexit.util.documents import dumps, read_json


def choose_again(plan: TuningPlan, given: Path) -> TuningResult:
    """Choose the best candidate for a target on the setups that an earlier run timed to the end, and write its bundle.

    Args:
        plan: what is asked for now; its space narrows that of the earlier run.
        given: the folder of that run, or its `tuning.json`.

    Raises:
        InputError: there is no such run, it was interrupted before its setups were timed, or it is of another model, data, seed or machine.
        TargetNotMet: no candidate meets the target.
    """
    folder = given.parent if given.is_file() else given
    if folder.resolve() == plan.work.resolve():
        msg = f"{folder} is the folder of this output too: name another output, so that the earlier result stays."
        raise InputError(msg)
    store = TuningStore.open(folder, plan.identity)
    timings = tuple(one for one in store.list_timings(finished=True) if _is_asked_for(one, plan))
    if not timings:
        msg = f"{folder} has no setup of this space that was timed to the end: go on with that run (--resume), or tune anew."
        raise InputError(msg)
    builder = make_builder(plan, store)
    own = builder.prepare_own()
    watch = start_watch(plan, store, own)
    mixed = dict.fromkeys(one.setup.precision for one in timings if is_mixed(one.setup.precision))
    precisions, _ = choose_precisions(plan.space, find_backends(plan.space)[0])
    prepared = prepare(plan, builder.without_compiling(), own, (*precisions, *mixed))
    prepared = prepared.count_candidates(timings, plan)
    found = prepared.search(timings, plan)
    best = found[0]
    bundle = _write_bundle(plan, prepared, watch, best)
    validate = prepared.judged.take(plan.parts[1])
    timing = next(one for one in timings if one.setup == best.candidate.setup)
    assert best.policy is not None, "the search raises where nothing meets the target"
    table = validate.build_table(best.candidate, timing.costs, timing.reference_s)
    result = make_result(
        Tuned(
            target=plan.target,
            data=plan.data,
            parts=(len(plan.parts[0]), len(plan.parts[1])),
            seed=plan.seed,
            seconds=plan.budget.elapsed_s,
            watch=watch,
            network=prepared.network,
            validate=validate,
            found=found,
            independent=prepared.chooser.candidates,
            steps=prepared.compare(best, store, watch),
            finalists=(),
            chosen=0,
            left_out=prepared.left_out,
            bundle=bundle.path,
            predicted=table.evaluate(best.policy.thresholds),
            measured_at=_find_date(folder),
        )
    )
    plan.work.mkdir(parents=True, exist_ok=True)
    write_text(plan.work / RESULT, dumps(result))
    return result


def _is_asked_for(timing: SetupTiming, plan: TuningPlan) -> bool:
    """Whether a setup lies in the space of this run."""
    setup, space = timing.setup, plan.space
    wanted = (
        (list_distinct_names(setup.backend), space.backends),
        (list_distinct_names(setup.precision), space.precisions),
        ((setup.mode,), space.modes),
    )
    mixed = is_mixed(setup.backend) or is_mixed(setup.precision)
    named = all(values is None or set(names) <= set(values) for names, values in wanted)
    return named and (space.threads is None or setup.threads in space.threads) and (space.mixed or not mixed)


def _write_bundle(plan: TuningPlan, prepared: Prepared, watch: Stopwatch, best: FoundPolicy) -> Bundle:
    """The candidate compiled at its place, with its thresholds as those that are used without a calibration."""
    assert best.policy is not None
    bundle = make_trial(plan, prepared, watch).compile(best, plan.output, plan.progress)
    rule, largest = criterion(best.candidate.rule.criterion), float(np.finfo(np.float32).max)
    own = (
        rule.own(float(np.clip(t, -largest, largest))) for t in best.policy.thresholds
    )  # those of a manifest are finite
    return prefer_setup(bundle, require_final_setup(best.candidate), *own)


def _find_date(folder: Path) -> str:
    """When the earlier run ended; empty where it has no result yet."""
    path = folder / RESULT
    return str(read_json(path, "a result of tuning").get("created", "")) if path.is_file() else ""
