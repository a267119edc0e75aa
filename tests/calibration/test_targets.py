"""The grammar of targets."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeexit.calibration import Bound, Target, parse_target
from edgeexit.errors import InputError

POSITIVE = st.floats(1e-12, 1e12, allow_nan=False)
SHARE = st.floats(0.0, 1.0)
BOUNDS = st.one_of(
    st.builds(Bound, st.sampled_from(["mean", "p50", "p90", "p95", "p99", "p99.9", "energy", "macs"]), POSITIVE),
    st.builds(Bound, st.just("mean"), st.floats(1e-3, 1e3), st.just(True)),
    st.builds(Bound, st.sampled_from(["accuracy", "agreement"]), SHARE),
    st.builds(Bound, st.just("drop"), st.floats(-100, 100)),
    st.builds(Bound, st.just("rate"), st.floats(0, 0.1), st.just(False), st.integers(1, 9)),
)


@given(st.lists(BOUNDS, min_size=1, max_size=6, unique_by=lambda b: b.slot))
def test_a_target_written_out_reads_back_as_the_same_target(bounds: list[Bound]) -> None:
    """str() loses nothing: not a digit of a limit, not the order."""
    target = Target(tuple(bounds))

    assert target == parse_target(str(target))


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("mean<=5ms", Bound("mean", 0.005)),
        ("mean <= 5000 µs", Bound("mean", 0.005)),
        ("mean≤0.6x", Bound("mean", 0.6, relative=True)),
        ("p99.9<=10ms", Bound("p99.9", 0.01)),
        ("energy<=2mJ", Bound("energy", 0.002)),
        ("macs<=40M", Bound("macs", 40e6)),
        ("macs<=1234", Bound("macs", 1234.0)),
        ("accuracy>=0.985", Bound("accuracy", 0.985)),
        ("drop<=-0.5", Bound("drop", -0.5)),
        ("rate12>=0.5", Bound("rate", 0.5, exit=12)),
        ("offload<=5%", Bound("offload", 0.05)),
        ("offload<=0.05", Bound("offload", 0.05)),
    ],
)
def test_every_metric_is_read_into_si_units(text: str, bound: Bound) -> None:
    """Limits are seconds, joules, multiply-accumulates, shares or points, whatever unit they were written in."""
    assert (bound,) == parse_target(text).bounds


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("mean<=5", "'mean<=5' has no unit; write one of s, ms, us, ns, x (of the backbone's mean), as in mean<=5ms."),
        ("mean<=5min", "unknown unit 'min'"),
        ("p99<=0.6x", "unknown unit 'x'"),
        ("meen<=5ms", "Did you mean 'mean'?"),
        ("mean>=5ms", "takes <=, not >="),
        ("mean<5ms", "takes <=, not <"),
        ("accuracy>=98.5", "for 98.5 % write 0.985"),
        ("accuracy>=98.5%", "has no unit; write a share between 0 and 1, as in accuracy>=0.985."),
        ("drop<=1%", "has no unit; write percentage points, as in drop<=1."),
        ("mean<=5ms, mean<=4ms", "mean is bounded twice"),
        ("rate1>=0.7, rate2>=0.6", "contradictory"),
        ("rate>=0.5", "rate1>=0.5"),
        ("rate0>=0.5", "numbered from 1"),
        ("mean<=0ms", "greater than 0"),
        ("mean<=-1ms", "greater than 0"),
        ("mean<=abcms", "not a number"),
        ("5ms", "cannot read"),
        ("mean<=5, p99<=3", "'p99<=3' has no unit"),
        ("mean<=5ms drop<=1", "Bounds are separated by commas: 'mean<=5ms, drop<=1'."),
        ("mean<=5ms and drop<=1", "Bounds are separated by commas: 'mean<=5ms, drop<=1'."),
        ("mean<=5ms; drop<=1", "Bounds are separated by commas: 'mean<=5ms, drop<=1'."),
        ("mean<=1e400ms", "'mean<=1e400ms': the limit exceeds the range of float64"),
        ("mean<=1e400x", "exceeds the range of float64"),
        ("macs<=1e308G", "exceeds the range of float64"),
        ("drop<=1e999999999999999999999", "exceeds the range of float64"),
        ("mean<=1e-999999999999999999999ms", "greater than 0"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(text: str, told: str) -> None:
    """The message says what is wrong and what to write; all faults of a target come in one message."""
    with pytest.raises(InputError) as fault:
        parse_target(text)

    assert told in str(fault.value)


def test_two_faults_come_in_one_message() -> None:
    """Nobody mends one fault only to be told the next."""
    with pytest.raises(InputError, match=r"(?s)'mean<=5' has no unit.*energie"):
        parse_target("mean<=5, energie<=2mJ")


@given(st.text(max_size=30))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    """Any text is a target or an InputError."""
    with contextlib.suppress(InputError):
        parse_target(text)


def test_only_bounds_on_answers_minimise_the_mean() -> None:
    """Cost bound, or both bound: accuracy is maximised."""
    assert parse_target("drop<=0.5").minimises_mean
    assert not parse_target("drop<=0.5, mean<=5ms").minimises_mean
    assert not parse_target("rate1>=0.5").minimises_mean
