"""Comparing results that were measured apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from edgeexit.errors import InputError
from edgeexit.measure import BenchResult, compare_results
from edgeexit.measure.result.parts import Latency, ValidityReport


def _timed(latency: Latency, processes: Sequence[float]) -> Latency:
    return replace(latency, process_typical_s=tuple(processes), process_mean_s=tuple(processes))


def _with(
    result: BenchResult, mixture: Sequence[float], backbone: Sequence[float] = (9.9e-5, 1e-4, 1.01e-4)
) -> BenchResult:
    """The result with other latencies per process, and valid."""
    latency = replace(
        result.latency,
        mixture=_timed(result.latency.mixture, mixture),
        backbone=_timed(result.latency.backbone, backbone),
    )
    return replace(result, latency=latency, validity=ValidityReport("valid"))


@pytest.fixture
def reference(result: BenchResult) -> BenchResult:
    """Three processes around 50 µs."""
    return _with(result, [4.98e-5, 5e-5, 5.02e-5])


def test_a_slower_run_is_called_slower(reference: BenchResult) -> None:
    """And a faster one faster."""
    slower = _with(reference, [5.98e-5, 6e-5, 6.02e-5])
    assert "SLOWER" == compare_results(reference, slower).comparison.verdict
    assert "FASTER" == compare_results(slower, reference).comparison.verdict
    assert "SAME" == compare_results(reference, reference).comparison.verdict


def test_a_backbone_that_changed_makes_the_comparison_ambiguous(reference: BenchResult) -> None:
    """Nothing in it differs, so the machine did."""
    slower = _with(reference, [5.98e-5, 6e-5, 6.02e-5], [1.19e-4, 1.2e-4, 1.21e-4])
    compared = compare_results(reference, slower)
    assert "AMBIGUOUS" == compared.comparison.verdict
    assert "the machine changed" in compared.comparison.reasons[0]


def test_unlike_runs_are_refused_with_key_and_both_values(reference: BenchResult) -> None:
    """Every difference in one message, and the option that allows it."""
    other = replace(reference, subject=replace(reference.subject, threads=2, mode="staged"))
    with pytest.raises(InputError) as caught:
        compare_results(reference, other)
    assert all(part in str(caught.value) for part in ("mode: fused and staged", "threads: 1 and 2", "--vary threads"))


def test_what_is_meant_to_differ_may(reference: BenchResult) -> None:
    """It is recorded; a control that depends on it is left out."""
    other = replace(reference, subject=replace(reference.subject, threads=2))
    compared = compare_results(reference, other, vary=["threads"])
    assert {"threads": ("1", "2")} == compared.varied
    assert compared.control is None


def test_an_unknown_key_names_the_near_miss(reference: BenchResult) -> None:
    """`--vary threshold` is not silently nothing."""
    with pytest.raises(InputError, match="Did you mean 'thresholds'"):
        compare_results(reference, reference, vary=["threshold"])


def test_an_invalid_result_makes_the_comparison_invalid(reference: BenchResult) -> None:
    """With the reason and which of the two it is."""
    invalid = replace(reference, validity=ValidityReport("invalid", ("clocks were lowered",)))
    compared = compare_results(reference, invalid)
    assert "INVALID" == compared.comparison.verdict
    assert ("the second result is invalid: clocks were lowered",) == compared.comparison.reasons


def test_the_comparison_is_a_document(reference: BenchResult) -> None:
    """Of its own schema."""
    assert "edgeexit.compare/1" == compare_results(reference, reference).to_document()["schema"]


def test_two_criteria_of_one_model_are_allowed_by_one_key(reference: BenchResult) -> None:
    """Their thresholds, and the mode that is faster for each, differ along with them; the model is the file that was compiled."""
    known = replace(reference, subject=replace(reference.subject, source="net.onnx", source_sha256="a" * 64))
    subject = replace(known.subject, criterion="margin", thresholds=(0.1, 0.2), mode="staged", model_sha256="b" * 64)
    other = replace(known, subject=subject)

    assert {"criterion", "thresholds", "mode"} == set(compare_results(known, other, vary=["criterion"]).varied)
    with pytest.raises(InputError) as caught:
        compare_results(known, other)
    assert str(caught.value).endswith("add: --vary criterion")


def test_models_are_named_with_short_digests(reference: BenchResult) -> None:
    """Names of files and twelve digits, so that a person can tell them apart."""
    first, second = (
        replace(reference, subject=replace(reference.subject, source=f"{name}.onnx", source_sha256=digit * 64))
        for name, digit in (("small", "a"), ("large", "b"))
    )
    with pytest.raises(InputError, match=r"model: small\.onnx \(aaaaaaaaaaaa\) and large\.onnx \(bbbbbbbbbbbb\)"):
        compare_results(first, second)


def test_a_result_that_does_not_know_its_source_is_distinguished_by_its_model(reference: BenchResult) -> None:
    """As results of older versions are."""
    older = replace(reference, subject=replace(reference.subject, source=None, source_sha256=None))
    assert {} == compare_results(older, reference).varied
    with pytest.raises(InputError, match="model"):
        compare_results(older, replace(reference, subject=replace(reference.subject, model_sha256="c" * 64)))
