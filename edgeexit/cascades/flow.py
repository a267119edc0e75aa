"""From files of classifiers to one file of a cascade: read, compared, run, policies fitted, written, and what it does on other samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeexit.backends.base import Settings
from edgeexit.backends.onnxruntime.sessions import open_session
from edgeexit.cascades.classifiers import (
    Classifier,
    check_alike,
    check_same_input,
    find_answers,
    read_classifier_file,
)
from edgeexit.cascades.costs import find_costs
from edgeexit.cascades.joining import INPUT, add_policies, join_classifiers
from edgeexit.cascades.outcome import CascadeOutcome
from edgeexit.cascades.policies import PolicyNetwork, PolicySettings, fit_policies
from edgeexit.cascades.result import CascadeResult, ClassifierFacts
from edgeexit.criteria import softmax
from edgeexit.data import Dataset, check_labels, load_data, write_npz
from edgeexit.data.fingerprint import KEY, Fingerprint, compute_fingerprint
from edgeexit.data.model import ModelInfo
from edgeexit.data.reference import DataRecord
from edgeexit.data.splits import split_calibration
from edgeexit.errors import InputError, ModelError
from edgeexit.graph.expected_data import make_input_specs
from edgeexit.graph.model import BATCH
from edgeexit.util import units
from edgeexit.util.atomic import write_bytes
from edgeexit.util.progress import Progress, show_nothing

_PROBE = 64  # samples that show what an output holds
_BATCH = 256
_FEWEST = 100  # samples, of both parts
ALPHAS = tuple(0.1 * 2.0**power for power in (0, 1, -1, 2, -2, 3, -3, -4, -5))
"""Prices that are tried where none is given, in this order."""
_SUSPICIOUS = 200  # right answers without one that is wrong


@dataclass(frozen=True)
class CascadePlan:
    """How a cascade is made.

    Attributes:
        alpha: price of running the whole cascade, as a share of right answers: at 0.1 running everything may cost as much as
            being wrong once in ten. None: 0.1, or the nearest at which policies have something to decide.
        cost: `latency`, `macs` or `parameters`.
        share: share of the samples that the policies are fitted on; the others are kept to calibrate on.
        outputs: names of the outputs with the answers, one per file; empty finds them.
        force: fit although samples are known to be training data of a classifier; the result says so.
        policy: how the policies are fitted.
    """

    alpha: float | None = None
    cost: str = "latency"
    share: float = 0.5
    outputs: tuple[str, ...] = ()
    force: bool = False
    policy: PolicySettings = field(default_factory=PolicySettings)


def make_cascade(
    paths: Sequence[Path | str],
    data: str | Path | Dataset,
    out: Path | str,
    plan: CascadePlan | None = None,
    *,
    record: DataRecord | None = None,
    rest: Path | str | None = None,
    progress: Progress = show_nothing,
) -> CascadeResult:
    """Make one multi-exit network of separate classifiers, with policies fitted from their recorded answers.

    Args:
        paths: ONNX files, cheapest first, of any tool; each takes the same input and gives logits or probabilities [batch, classes].
        data: labelled samples that no classifier was trained on.
        out: the ONNX file to write.
        plan: prices, cost, shares.
        record: preprocessing and class names, before those of the files.
        rest: where the samples go that no policy was fitted on; `<out>-rest.npz` where it is None.
        progress: watches.

    Raises:
        ModelError: a file that is no classifier; classifiers of different inputs or classes.
        InputError: too few samples, samples that a classifier was trained on, or an `alpha` at which all samples stop at once or none does.
    """
    plan, out = plan or CascadePlan(), Path(out)
    rest = out.with_name(f"{out.stem}-rest.npz") if rest is None else Path(rest)
    classifiers, samples, record = _open([Path(path) for path in paths], data, plan, record or DataRecord())
    notes = _check_training_data(classifiers, samples, force=plan.force)
    joined = join_classifiers(classifiers)
    recorded = _record_answers(joined, samples.x, progress)
    unit, costs = find_costs(plan.cost, classifiers, samples.x[0], plan.policy.hidden)
    for_policies, for_rest = split_calibration(len(samples), plan.policy.seed, (plan.share, 1 - plan.share))
    progress("fitting the policies", 0, 1)
    alpha, policies, outcome = _fit(recorded, samples.y, costs, plan, fit_on=for_policies, look_at=for_rest)
    progress("fitting the policies", 1, 1)
    known = _merge_fingerprints(classifiers, samples.take(for_policies))
    model = add_policies(joined, policies, {KEY: known.as_text(), **record.as_metadata()})
    write_bytes(out, model.SerializeToString())
    write_npz(rest, samples.take(for_rest))
    return CascadeResult(
        path=str(out),
        rest=str(rest),
        classifiers=tuple(_describe(classifiers, outcome)),
        unit=unit,
        alpha=alpha,
        fitted_on=len(for_policies),
        checked_on=len(for_rest),
        accuracy=outcome.accuracy,
        accuracy_alone=outcome.accuracy_alone,
        cost=outcome.cost,
        notes=(*notes, *_list_notes(classifiers, outcome)),
    )


def _open(
    paths: Sequence[Path], data: str | Path | Dataset, plan: CascadePlan, record: DataRecord
) -> tuple[list[Classifier], Dataset, DataRecord]:
    """The classifiers, the samples as they take them, and what is known of the data."""
    _check_plan(plan, len(paths))
    files = [read_classifier_file(path) for path in paths]
    for file in files:
        record = record.merge(file.record)
    info = ModelInfo(str(paths[0]), make_input_specs([files[0].input]), None, record.class_names, record.preprocess)
    samples = data if isinstance(data, Dataset) else load_data(data, info, strict=True)
    check_same_input(files)
    names = plan.outputs or (None,) * len(files)
    classifiers = [find_answers(f, samples.x[:_PROBE], name) for f, name in zip(files, names, strict=True)]
    check_alike(classifiers)
    if len(samples) < _FEWEST:
        msg = f"{samples.name} has {len(samples)} samples; {_FEWEST} or more are needed to fit policies, and thousands are better"
        raise InputError(msg)
    check_labels(samples, classifiers[0].classes)
    for c in classifiers:
        record = record.merge(c.record)
    return classifiers, samples, record


def _check_plan(plan: CascadePlan, files: int) -> None:
    if files < 2:
        msg = f"a cascade needs two classifiers or more, cheapest first; got {files}"
        raise InputError(msg)
    if plan.outputs and len(plan.outputs) != files:
        msg = f"answers are named for {len(plan.outputs)} files and there are {files}: name one output of each file"
        raise InputError(msg)
    if not 0 < plan.share < 1 or not (plan.alpha is None or 0 < plan.alpha < float("inf")):
        msg = f"the share of samples must lie between 0 and 1 and alpha above 0; got {plan.share} and {plan.alpha}"
        raise InputError(msg)


def _check_training_data(classifiers: Sequence[Classifier], samples: Dataset, *, force: bool) -> tuple[str, ...]:
    """Notes on samples that are training data of a classifier where that is wanted all the same.

    Raises:
        InputError: they are, and it is not wanted.
    """
    notes = []
    for c in classifiers:
        shared = c.training.find_shared(samples) if c.training is not None else []
        if shared:
            text = (
                f"{samples.name} has samples that {c.file.path} was trained on ({len(shared)} of them are known): a classifier is right and"
                " sure on those, so that a policy fitted on them is over-confident and stops too early on new samples"
            )
            if not force:
                msg = f"{text}. Give samples that no classifier has seen, or --force."
                raise InputError(msg)
            notes.append(f"{text}.")
    return tuple(notes)


def _record_answers(joined: onnx.ModelProto, x: NDArray[np.generic], progress: Progress) -> NDArray[np.float32]:
    """Logits of every classifier on every sample, [n, K, classes]."""
    session = open_session(joined.SerializeToString(), Settings(threads=1, spin=False), batch_1=False, quiet=True)
    dynamic = joined.graph.input[0].type.tensor_type.shape.dim[0].dim_param == BATCH
    size, found = _BATCH if dynamic else 1, []
    for start in range(0, len(x), size):
        progress("running the classifiers", start, len(x))
        found.append(np.stack(session.run(None, {INPUT: x[start : start + size]}), axis=1))
    logits: NDArray[np.float32] = np.concatenate(found)
    if not np.isfinite(logits).all():
        k = int(np.argwhere(~np.isfinite(logits))[0][1]) + 1
        msg = f"classifier {k} answers a sample with numbers that are not finite"
        raise ModelError(msg)
    return logits


def _fit(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    costs: Sequence[float],
    plan: CascadePlan,
    *,
    fit_on: NDArray[np.int64],
    look_at: NDArray[np.int64],
) -> tuple[float, tuple[PolicyNetwork, ...], CascadeOutcome]:
    """Policies for the errors of the answers that are given, costs as shares of running everything; with the alpha they are for.

    Raises:
        InputError: all samples stop at once, or none before the last, at the plan's alpha or at any.
    """
    wrong, p = logits.argmax(-1) != labels[:, None], softmax(logits)
    shares = [cost / sum(costs) for cost in costs]
    for alpha in ALPHAS if plan.alpha is None else (plan.alpha,):
        policies = fit_policies(p[fit_on], wrong[fit_on], shares, alpha=alpha, settings=plan.policy)
        outcome = CascadeOutcome.find(logits[look_at], labels[look_at], costs, policies)
        if plan.alpha is not None:
            outcome.check_alpha(alpha)
        if not outcome.is_one_sided:
            return alpha, policies, outcome
    msg = (
        f"at every alpha from {min(ALPHAS):g} to {max(ALPHAS):g} all samples stop at the first classifier, or none before the last: its"
        " probabilities do not tell on which samples it is right. A cascade of these classifiers is of no use."
    )
    raise InputError(msg)


def _merge_fingerprints(classifiers: Sequence[Classifier], fitted_on: Dataset) -> Fingerprint:
    """Of what the policies were fitted on and what is known that classifiers were trained on: calibrating on it is refused."""
    known = [c.training for c in classifiers if c.training is not None]
    parts = [*{f.hashes: f for f in known}.values(), replace(compute_fingerprint(fitted_on), name=_name(fitted_on))]
    return Fingerprint(
        " and ".join(dict.fromkeys(f.name for f in parts)),
        sum(f.samples for f in parts),
        frozenset().union(*(f.hashes for f in parts)),
    )


def _name(fitted_on: Dataset) -> str:
    return f"the part of {fitted_on.name} that the policies were fitted on"


def _describe(classifiers: Sequence[Classifier], outcome: CascadeOutcome) -> Iterator[ClassifierFacts]:
    for c, accuracy, cost, stopped in zip(classifiers, outcome.accuracies, outcome.costs, outcome.stopped, strict=True):
        yield ClassifierFacts(str(c.file.path), c.answers, c.output, accuracy, cost, stopped)


def _list_notes(classifiers: Sequence[Classifier], outcome: CascadeOutcome) -> Iterator[str]:
    for c, accuracy in zip(classifiers, outcome.accuracies, strict=True):
        if accuracy == 1.0 and outcome.samples >= _SUSPICIOUS:
            yield (
                f"{c.file.path} is right on every one of {outcome.samples} samples: if it was trained on them, a policy fitted on them"
                " is over-confident and stops too early on new samples."
            )
    better = outcome.find_better_single()
    if better is not None:
        yield (
            f"{classifiers[better].file.path} by itself is as accurate as the cascade ({units.percent(outcome.accuracies[better])} and "
            f"{units.percent(outcome.accuracy)}) and costs no more: at this alpha use it alone."
        )
    for k in range(1, len(classifiers)):
        if outcome.costs[k] < 0.9 * outcome.costs[k - 1]:
            yield f"{classifiers[k].file.path} costs less than the classifier before it: name the cheapest first."
