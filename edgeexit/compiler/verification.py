"""Compare both modes of a bundle, exit by exit, with the original model, run by ONNX Runtime.

The inputs are those of `verification_inputs`. One engine is open at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgeexit.backends import Settings, find_backend
from edgeexit.backends.base import Array
from edgeexit.backends.example_inputs import is_steady
from edgeexit.backends.stopping import enforce_run_limit, may_run_forever
from edgeexit.bundle import Bundle, VerificationSummary
from edgeexit.compiler.probe import explain_missing_examples, open_model
from edgeexit.compiler.tolerances import EXTREME, get_rounding_tolerance, name_arithmetic
from edgeexit.compiler.verification_inputs import VerificationInput, make_verification_inputs
from edgeexit.compiler.verification_references import (
    Original,
    Reference,
    apply_criterion,
    list_criterion_inputs,
    make_file_reference,
    make_split_reference,
)
from edgeexit.criteria import Criterion, criterion
from edgeexit.errors import InternalError, ModelError
from edgeexit.graph.arithmetic import find_exit_precisions
from edgeexit.runtime.answers import (
    ExitAnswers,
    adapt_to_rounding,
    compute_difference,
    compute_precision_loss,
    refuse_useless,
    replace_non_finite,
)
from edgeexit.runtime.inputs import Inputs
from edgeexit.runtime.loading import open_runner
from edgeexit.runtime.runner import Runner
from edgeexit.stage_choices import join_stage_names, list_stage_names
from edgeexit.util.progress import Progress

_OF_LEFT_OUT = "onnxruntime"
"""Used to check a mode that the bundle's backend does not support, because another backend may open the bundle."""
_BATCH = 8
_LEAST_SCORE = 3e-3
"""Learned scores that are smaller are compared in absolute terms: to 3e-7 in float32."""


def verify(
    draft: Bundle, settings: Settings, original: Original, given: Inputs | None, progress: Progress
) -> VerificationSummary:
    """Compare both modes with the original, every exit, on random and given inputs.

    Raises:
        InternalError: the split network does not give the original's answers.
        ModelError: in its new precision the network is of no use.
    """
    with np.errstate(all="ignore"):  # infinities are compared, not computed with
        return _verify(draft, settings, original, given, progress)


def _verify(
    draft: Bundle, settings: Settings, original: Original, given: Inputs | None, progress: Progress
) -> VerificationSummary:
    numbers = find_exit_precisions(original.net, [(s.logits, s.score) for s in draft.manifest.stages])
    wide = not original.converted and set(numbers) == {"float32"}
    numbers = _name_exit_arithmetic(numbers, settings.backend)
    # A loop that waits for a value to grow would never leave zeros.
    extreme = not may_run_forever(original.net.proto.graph)
    samples = make_verification_inputs(original.net.inputs, given, wide=wide, extreme=extreme)
    reference, wanted = _run_original(draft, original, samples)
    with explain_missing_examples(original.examples):
        _refuse_nan(samples, wanted)
    samples, truth = _select_known(samples, wanted)
    expected = truth
    if original.converted:
        _, expected = _select_known(samples, _run_samples(make_split_reference(draft, original), samples))
        refuse_useless(truth, expected, draft.manifest.precision)
    found = _check_modes(draft, settings, samples, progress)
    rule = criterion(draft.manifest.criterion)
    adapted_for = {
        mode: _adapt_all_to_rounding(expected, answers, samples, numbers, rule) for mode, answers in found.items()
    }
    result = VerificationSummary(
        sum(not (s.given or s.extreme) for s in samples),
        sum(s.given for s in samples),
        _check_logits(found["staged"], adapted_for["staged"], samples, numbers, "staged"),
        _check_logits(found["fused"], adapted_for["fused"], samples, numbers, "fused"),
        reference=reference,
    )
    if draft.manifest.dynamic_batch:
        _check_batch(draft, settings, samples, expected, numbers)
    left_out = find_backend(settings.backend).explain_unsupported("fused", draft.manifest.exits, settings.options)
    result = replace(
        result,
        fused_left_out=left_out,
        score_error=_check_scores(found, adapted_for, samples, numbers, learned=rule.learned),
    )
    if not original.converted:
        return result
    judged = [i for i, s in enumerate(samples) if s.given] or list(range(len(samples)))
    truth_for = {
        mode: _adapt_all_to_rounding(truth, answers, samples, numbers, rule) for mode, answers in found.items()
    }
    error, same = compute_precision_loss(found, truth_for, judged)
    return replace(result, precision_error=error, same_labels=same)


def _run_original(
    draft: Bundle, original: Original, samples: Sequence[VerificationInput]
) -> tuple[str, list[ExitAnswers | None]]:
    """The reference and its outputs; None for inputs that the original model rejects."""
    try:
        return "original", _run_samples(make_file_reference(draft, original), samples)
    except ModelError:  # the file itself may hold what ONNX Runtime refuses and the rewriting has removed
        if original.converted:
            run = open_model(original.rewritten(), list_criterion_inputs(draft, original))
            reference = apply_criterion(run, draft, original)
        else:
            reference = make_split_reference(draft, original)
        with explain_missing_examples(original.examples):
            return "rewritten", _run_samples(reference, samples)


def _run_samples(reference: Reference, samples: Sequence[VerificationInput]) -> list[ExitAnswers | None]:
    return [_run_sample(reference, s) for s in samples]


def _run_sample(reference: Reference, sample: VerificationInput) -> ExitAnswers | None:
    try:
        answers = reference(sample.inputs)
    except ModelError:
        if not sample.optional:
            raise
        return None
    if sample.optional and not answers.masked_at_most:
        return None
    return answers if not sample.extreme or _is_deterministic(reference, sample) else None


def _is_deterministic(reference: Reference, sample: VerificationInput) -> bool:
    def run(inputs: Mapping[str, Array]) -> list[Array]:
        answers = reference(inputs)
        return [answers.logits, *([] if answers.scores is None else [answers.scores])]

    try:
        return is_steady(run, sample.inputs, EXTREME)
    except ModelError:  # values near it are refused
        return False


def _refuse_nan(samples: Sequence[VerificationInput], wanted: Sequence[ExitAnswers | None]) -> None:
    given = 0  # the inputs given stand in their order
    for sample, answers in zip(samples, wanted, strict=True):
        place, given = given, given + sample.given
        if answers is not None and answers.holds_nan:
            which = (
                f"sample {place} of the inputs given (numbered from 0)" if sample.given else "inputs between 0 and 1"
            )
            msg = f"the network gives NaN on {which}, so that there is nothing to compare."
            raise ModelError(msg)


def _select_known(
    samples: Sequence[VerificationInput], wanted: Sequence[ExitAnswers | None]
) -> tuple[list[VerificationInput], list[ExitAnswers]]:
    both = [(s, a) for s, a in zip(samples, wanted, strict=True) if a is not None]
    return [s for s, _ in both], [a for _, a in both]


def _check_modes(
    draft: Bundle, settings: Settings, samples: Sequence[VerificationInput], progress: Progress
) -> dict[str, list[ExitAnswers]]:
    found: dict[str, list[ExitAnswers]] = {"staged": [], "fused": []}
    for place, (mode, answers) in enumerate(found.items()):
        how = settings.with_mode(mode)
        if find_backend(settings.backend).explain_unsupported(mode, draft.manifest.exits, settings.options):
            how = replace(how, backend=_OF_LEFT_OUT, options="")
        with open_runner(draft, how) as runner:
            for i, sample in enumerate(samples):
                with enforce_run_limit():
                    answers.append(_run_forced(runner, sample.inputs))
                progress("verifying", place * len(samples) + i + 1, 2 * len(samples))
    return found


def _run_forced(runner: Runner, inputs: Mapping[str, Array]) -> ExitAnswers:
    answers = []
    for exit in range(1, runner.exits + 1):
        answer = runner.forced(dict(inputs), exit=exit)
        if answer.exit != exit:
            msg = f"forced to exit {exit}, {runner.settings.mode} mode left at exit {answer.exit}. Please report it with the model."
            raise InternalError(msg)
        answers.append(answer)
    return ExitAnswers(np.stack([a.logits for a in answers]), np.asarray([a.score for a in answers], np.float32))


def _check_batch(
    draft: Bundle,
    settings: Settings,
    samples: Sequence[VerificationInput],
    expected: Sequence[ExitAnswers],
    numbers: Sequence[str],
) -> None:
    """A few samples at once give what each must give, at every exit."""
    places = range(0, len(samples), max(1, len(samples) // _BATCH))[:_BATCH]
    few, wanted = [samples[i] for i in places], [expected[i] for i in places]
    found = {"batch": _run_in_batch(draft, settings, few)}
    rule = criterion(draft.manifest.criterion)
    wanted = _adapt_all_to_rounding(wanted, found["batch"], few, numbers, rule)
    _check_logits(found["batch"], wanted, few, numbers, "batch")
    _check_scores(found, {"batch": wanted}, few, numbers, learned=rule.learned)


def _run_in_batch(draft: Bundle, settings: Settings, samples: Sequence[VerificationInput]) -> list[ExitAnswers]:
    """What the stages as they are written give for samples at once, every exit.

    ONNX Runtime runs single samples on stages extracted from the optimised model, so these files are not run anywhere else during a
    compile.
    """
    tensors = {n: np.concatenate([s.inputs[n] for s in samples]) for n in samples[0].inputs}
    batch = find_backend(settings.backend).open_batch(draft, settings)
    try:
        for stage in draft.manifest.stages:
            tensors |= batch.run(stage.exit, tensors)
    finally:
        batch.close()
    sign = np.float32(criterion(draft.manifest.criterion).sign)
    logits, scores = (
        np.stack([tensors[getattr(s, end)] for s in draft.manifest.stages], axis=1) for end in ("logits", "score")
    )
    return [ExitAnswers(z, sign * h) for z, h in zip(logits, scores, strict=True)]


def _adapt_all_to_rounding(
    expected: Sequence[ExitAnswers],
    found: Sequence[ExitAnswers],
    samples: Sequence[VerificationInput],
    numbers: Sequence[str],
    rule: Criterion,
) -> list[ExitAnswers]:
    """Expected answers of one mode, where rounding may decide which exit is the most confident."""
    pairs = zip(expected, found, samples, strict=True)
    return [
        adapt_to_rounding(wanted, answers, max(_get_limits(numbers, sample)), rule) for wanted, answers, sample in pairs
    ]


def _name_exit_arithmetic(precisions: Sequence[str], backend: str) -> tuple[str, ...]:
    """Rows of the tolerances, by exit: of the precision and the backends of the stages up to it."""
    stages = list_stage_names(backend)
    return tuple(name_arithmetic(precision, join_stage_names(stages[:k])) for k, precision in enumerate(precisions, 1))


def _get_limits(numbers: Sequence[str], sample: VerificationInput) -> list[float]:
    """The tolerance of each exit: that of the coarsest numbers that it is made from."""
    return [get_rounding_tolerance(precision, extreme=sample.loose) for precision in numbers]


def _check_logits(
    found: Sequence[ExitAnswers],
    expected: Sequence[ExitAnswers],
    samples: Sequence[VerificationInput],
    numbers: Sequence[str],
    mode: str,
) -> float:
    """Largest difference of a logit over the largest of its sample; of large inputs only that it is allowed."""
    worst = 0.0
    for a, b, sample in zip(found, expected, samples, strict=True):
        for k, limit in enumerate(_get_limits(numbers, sample)):
            error = compute_difference(a.logits[k], b.logits[k], b.scale[k])
            if not error <= limit:
                _refuse(f"exit {k + 1} in {mode} mode by {error:.1e} of the largest logit", limit)
            worst = max(worst, 0.0 if sample.loose else error)
    return worst


def _refuse(what: str, limit: float) -> None:
    msg = f"the split network differs from the original: {what}, allowed {limit:.0e}. Nothing was written. Please report it with the model."
    raise InternalError(msg)


def _check_scores(
    found: Mapping[str, Sequence[ExitAnswers]],
    expected: Mapping[str, Sequence[ExitAnswers]],
    samples: Sequence[VerificationInput],
    numbers: Sequence[str],
    *,
    learned: bool,
) -> float | None:
    """Largest difference of a score, over the scale of its exit or, of one computed from logits, over max(1, largest logit)."""
    if any(e.scores is None for answers in expected.values() for e in answers):
        return None
    own = _score_scale(next(iter(expected.values())), samples)
    worst = 0.0
    for mode, answers in found.items():
        for a, b, sample in zip(answers, expected[mode], samples, strict=True):
            assert a.scores is not None
            assert b.scores is not None
            if not np.array_equal(a.logits.argmax(axis=1), b.logits.argmax(axis=1)):
                continue  # two classes equal to rounding: a criterion that counts labels may differ by whole numbers
            scale = (
                np.maximum(own, np.abs(replace_non_finite(b.scores)) if sample.extreme else 0)
                if learned
                else np.maximum(b.scale, 1)
            )
            for k, limit in enumerate(_get_limits(numbers, sample)):
                error = compute_difference(a.scores[k : k + 1], b.scores[k : k + 1], scale[k])
                if not error <= limit:
                    _refuse(f"a score in {mode} mode, of exit {k + 1}, by {error:.1e}", limit)
                worst = max(worst, 0.0 if sample.loose else error)
    return worst


def _score_scale(expected: Sequence[ExitAnswers], samples: Sequence[VerificationInput]) -> Array:
    """Largest magnitude of each exit's own scores, [N], extreme inputs aside; at least what makes a few roundings near 1 no difference.

    A sigmoid is exact to about 6e-8 in absolute terms, however small its value.
    """
    plain = [e.scores for e, s in zip(expected, samples, strict=True) if e.scores is not None and not s.extreme]
    return np.asarray(np.abs(replace_non_finite(np.stack(plain))).max(axis=0, initial=_LEAST_SCORE))
